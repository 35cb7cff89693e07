"""Whatever is sent: the API accepts exactly what an independent model of the rules accepts, and never fails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.api.bank import Bank, assert_problem

DECIMALS = {"EUR": 2, "JPY": 0, "BHD": 3}
"""By ISO 4217, written down here once more."""
HEADERS = {"Content-Type": "application/json", "Prefer": "wait=0"}
_ONCE_A_MODULE = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
async def accounts(bank: Bank) -> dict[str, str]:
    return {currency: await bank.open(currency) for currency in DECIMALS}


@pytest.fixture(scope="module")
def answered() -> Iterator[Counter[int]]:
    counted: Counter[int] = Counter()
    yield counted
    print(f"answers by status: {dict(counted)}")  # noqa: T201  shows that neither side is empty
    assert min(counted[202], counted[422]) > 0


def _is_valid(amount: object, currency: str) -> bool:
    if not isinstance(amount, str) or not amount.isascii() or len(amount) > 40:
        return False
    whole, dot, decimals = amount.partition(".")
    if not whole.isdigit() or (dot and not decimals.isdigit()) or len(decimals) > DECIMALS[currency]:
        return False
    minor_units = Fraction(amount) * Fraction(10) ** DECIMALS[currency]
    return bool(0 < minor_units <= 10**15)


def _written(minor_units: int, decimals: int) -> str:
    whole, rest = divmod(minor_units, 10**decimals)
    return f"{whole}.{rest:0{decimals}}" if decimals else str(whole)


_units = st.integers(1, 10**6) | st.sampled_from([0, 1, 10**15 - 1, 10**15, 10**15 + 1])
_anything = st.one_of(
    st.builds(_written, _units, st.integers(0, 4)),
    st.text("0123456789.-+eE, _\u0661", max_size=45),
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def _asked(draw: st.DrawFn) -> tuple[object, str]:
    """An amount and a currency; about half of them fit together."""
    currency = draw(st.sampled_from(sorted(DECIMALS)))
    fits = draw(st.booleans())
    return draw(st.builds(_written, _units, st.just(DECIMALS[currency])) if fits else _anything), currency


@_ONCE_A_MODULE
@given(asked=_asked())
async def test_amount_is_accepted_where_the_model_accepts_it(
    bank: Bank, accounts: dict[str, str], answered: Counter[int], asked: tuple[object, str]
) -> None:
    amount, currency = asked
    body = {"creditor": accounts[currency], "amount": amount, "currency": currency}
    answer = await bank.http.post("/v1/transactions", content=json.dumps(body).encode("ascii"), headers=HEADERS)
    answered[answer.status_code] += 1
    if _is_valid(amount, currency):
        assert answer.status_code == 202, (amount, answer.text)
    else:
        assert assert_problem(answer, 422, "invalid-input")["errors"][0]["field"] == "amount"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.text("\ud800\udfff\x00", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(
    ["transaction_id", "debtor", "currency", "settlement", "reference", "remittance_information", "value_date", "metadata", "x", "\ud800"]
)


@_ONCE_A_MODULE
@given(changes=st.dictionaries(_names, _json, min_size=1, max_size=3), cut=st.none() | st.integers(0, 200))
async def test_any_body_is_accepted_or_refused_as_bad_input(
    bank: Bank, accounts: dict[str, str], changes: dict[str, Any], cut: int | None
) -> None:
    content = json.dumps({"creditor": accounts["EUR"], "amount": "1.00", "currency": "EUR", **changes}).encode("ascii")[:cut]
    answer = await bank.http.post("/v1/transactions", content=content, headers=HEADERS)
    if answer.status_code != 202:
        assert answer.status_code == 422, answer.text
        assert_problem(answer, 422, answer.json()["code"])
