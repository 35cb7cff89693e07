"""Bad input is named by field, value and rule, and leaves no row, no workflow and no event."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import psycopg
import pytest

from tests.integration.api.bank import Bank, Records, assert_problem, until
from tests.stack_fixtures import RunningStack

OWN, OTHER, INTERNAL, UNKNOWN = "<own account>", "<other account>", "<internal account>", "Unknown1"
"""Put in for the accounts of the fixture."""


@pytest.fixture(scope="module")
async def accounts(bank: Bank, stack: RunningStack) -> dict[str, str]:
    internal = f"I{uuid.uuid4().hex[:16]}"
    with psycopg.connect(stack.postgres_dsn) as connection:
        for statement in (
            "INSERT INTO account (tenant, account_id, currency, kind) VALUES (%s, %s, 'EUR', 'internal')",
            "INSERT INTO online_balance (tenant, account_id) VALUES (%s, %s)",
        ):
            connection.execute(statement, (bank.tenant, internal))
    return {OWN: await bank.open(funds="100.00"), OTHER: await bank.open("USD"), INTERNAL: internal}


INVALID: list[tuple[str, str, dict[str, Any], object]] = [
    # what is wrong, the field that is named, the change to a valid body, the value that is shown
    ("unknown currency", "currency", {"currency": "XXX"}, "XXX"),
    ("lower-case currency", "currency", {"currency": "eur"}, "eur"),
    ("no currency", "currency", {"currency": None}, None),
    ("currency of neither account", "currency", {"debtor": OTHER, "currency": "GBP"}, "GBP"),
    ("more decimals than EUR has", "amount", {"amount": "1.001"}, "1.001"),
    ("decimals in JPY", "amount", {"amount": "1.0", "currency": "JPY"}, "1.0"),
    ("four decimals in BHD", "amount", {"amount": "1.0001", "currency": "BHD"}, "1.0001"),
    ("zero", "amount", {"amount": "0.00"}, "0.00"),
    ("negative", "amount", {"amount": "-5.00"}, "-5.00"),
    ("one cent too much", "amount", {"amount": "10000000000000.01"}, "10000000000000.01"),
    ("huge", "amount", {"amount": "9" * 5000}, "9" * 200 + "\u2026"),
    ("NaN as text", "amount", {"amount": "NaN"}, "NaN"),
    ("infinity as text", "amount", {"amount": "Infinity"}, "Infinity"),
    ("exponent", "amount", {"amount": "1e2"}, "1e2"),
    ("text", "amount", {"amount": "ten"}, "ten"),
    ("empty amount", "amount", {"amount": ""}, ""),
    ("blanks", "amount", {"amount": " 1.00"}, " 1.00"),
    ("plus sign", "amount", {"amount": "+1.00"}, "+1.00"),
    ("comma", "amount", {"amount": "1,00"}, "1,00"),
    ("other digits", "amount", {"amount": "\u0661\u0662"}, "\u0661\u0662"),
    ("JSON number", "amount", {"amount": 12.5}, 12.5),
    ("JSON integer", "amount", {"amount": 12}, 12),
    ("JSON true", "amount", {"amount": True}, True),
    ("JSON object", "amount", {"amount": {"value": "1.00"}}, "{'value': '1.00'}"),
    ("null amount", "amount", {"amount": None}, None),
    ("unknown creditor", "creditor", {"creditor": UNKNOWN}, UNKNOWN),
    ("unknown debtor", "debtor", {"debtor": UNKNOWN}, UNKNOWN),
    ("same account on both sides", "creditor", {"debtor": OWN}, OWN),
    ("no account", "debtor", {"creditor": None}, None),
    ("internal creditor", "creditor", {"creditor": INTERNAL}, INTERNAL),
    ("internal debtor", "debtor", {"debtor": INTERNAL}, INTERNAL),
    ("GL account", "debtor", {"debtor": "cash"}, "cash"),
    ("malformed account", "creditor", {"creditor": "a/b"}, "a/b"),
    ("account id with a NUL", "creditor", {"creditor": "a\u0000"}, "a\u0000"),
    ("account id that is a number", "creditor", {"creditor": 7}, 7),
    ("malformed UUID", "transaction_id", {"transaction_id": "17"}, "17"),
    ("UUID in braces", "transaction_id", {"transaction_id": "{6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11}"}, None),
    ("UUID without hyphens", "transaction_id", {"transaction_id": "6f1f3a0e2f0b5c479a525b6c1f0d7a11"}, None),
    ("UUID that is a number", "transaction_id", {"transaction_id": 17}, 17),
    ("unknown field", "ammount", {"ammount": "1.00"}, "1.00"),
    ("unknown settlement", "settlement", {"settlement": "cheque"}, "cheque"),
    ("over-long reference", "reference", {"reference": "r" * 36}, "r" * 36),
    ("empty reference", "reference", {"reference": ""}, ""),
    ("over-long remittance information", "remittance_information", {"remittance_information": "r" * 141}, "r" * 141),
    ("control character", "remittance_information", {"remittance_information": "a\u0007b"}, "a\u0007b"),
    ("line break", "remittance_information", {"remittance_information": "a\nb"}, "a\nb"),
    ("NUL", "reference", {"reference": "a\u0000b"}, "a\u0000b"),
    ("text direction", "reference", {"reference": "a\u202eb"}, "a\u202eb"),
    ("lone surrogate", "reference", {"reference": "a\ud800b"}, "a\ud800b"),
    ("lone surrogate as amount", "amount", {"amount": "\udfff"}, "\udfff"),
    ("lone surrogate as account", "creditor", {"creditor": "\ud800"}, "\ud800"),
    ("too many metadata", "metadata", {"metadata": {str(number): "x" for number in range(51)}}, None),
    ("over-long metadata value", "metadata.k", {"metadata": {"k": "v" * 501}}, "v" * 200 + "\u2026"),
    ("metadata of numbers", "metadata.k", {"metadata": {"k": 1}}, 1),
    ("metadata named body", "metadata.body", {"metadata": {"body": 1}}, 1),
    ("control character in metadata", "metadata.k", {"metadata": {"k": "a\u0000"}}, "a\u0000"),
    ("metadata that is a list", "metadata", {"metadata": ["a"]}, "['a']"),
    ("day that does not exist", "value_date", {"value_date": "2026-02-30"}, "2026-02-30"),
    ("date in words", "value_date", {"value_date": "tomorrow"}, "tomorrow"),
    ("date that is a number", "value_date", {"value_date": 20260101}, 20260101),
    ("date that is zero", "value_date", {"value_date": 0}, 0),
    ("date as a Unix time", "value_date", {"value_date": "1767225600"}, "1767225600"),
    ("date without hyphens", "value_date", {"value_date": "20260101"}, "20260101"),
    ("date with a time", "value_date", {"value_date": "2026-01-01T00:00:00"}, "2026-01-01T00:00:00"),
]


async def _assert_nothing_happened(bank: Bank, records: Records, before: dict[str, int], transaction_id: object) -> None:
    assert records.counts(bank.tenant) == before
    if isinstance(transaction_id, str) and len(transaction_id) == 36:
        assert not await records.workflow_exists(bank.tenant, transaction_id)
        assert (await bank.http.get(f"/v1/transactions/{transaction_id}")).status_code == 404


@pytest.mark.parametrize(("field", "change", "shown"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID])
async def test_invalid_field_is_named_and_nothing_happens(
    bank: Bank, records: Records, accounts: dict[str, str], field: str, change: dict[str, Any], shown: object
) -> None:
    valid: dict[str, Any] = {"transaction_id": str(uuid.uuid4()), "creditor": OWN, "amount": "1.00", "currency": "EUR"}
    body = {name: accounts.get(value, value) if isinstance(value, str) else value for name, value in {**valid, **change}.items()}
    before = records.counts(bank.tenant)
    # With a key, which must not be claimed by a request that is refused. ASCII escapes carry what has no UTF-8 form.
    answer = await bank.http.post(
        "/v1/transactions",
        content=json.dumps(body).encode("ascii"),
        headers={"Content-Type": "application/json", "Prefer": "wait=30", "Idempotency-Key": uuid.uuid4().hex},
    )
    assert answer.status_code == 422, answer.text
    code = {"currency": "unknown-currency", "creditor": "unknown-account", "debtor": "unknown-account"}
    problem = assert_problem(answer, 422, answer.json()["code"])
    assert problem["code"] in {"invalid-input", code.get(field)}
    error = problem["errors"][0]
    assert set(error) == {"field", "value", "rule"}
    assert error["field"] == field
    assert error["rule"]
    if shown is not None:
        assert error["value"] == accounts.get(shown, shown) if isinstance(shown, str) else error["value"] == shown
    assert field in problem["detail"]
    await _assert_nothing_happened(bank, records, before, body["transaction_id"])


_NESTED = b'{"amount": ' + b"[" * 900 + b"]" * 900 + b', "currency": "EUR", "creditor": "A1"}'
RAW = [
    ("a name with a lone surrogate", b'{"x\\ud800": "y"}'),
    ("nested as deeply as the parser allows", _NESTED),
    ("no JSON", b"not json"),
    ("cut off", b'{"amount": "1.00"'),
    ("empty", b""),
    ("a list", b"[]"),
    ("a string", b'"x"'),
    ("null", b"null"),
    ("not UTF-8", b'{"reference": "\xff\xfe"}'),
    ("one level too deep", b'{"metadata": ' + b"[" * 32 + b"]" * 32 + b"}"),
    ("deeply nested", b"[" * 30_000),
    ("a number of 5000 digits", b'{"amount": ' + b"9" * 5_000 + b"}"),
    ("a number of 4000 digits", b'{"amount": ' + b"9" * 4_000 + b', "currency": "EUR", "creditor": "A1"}'),
    ("NaN", b'{"amount": NaN, "currency": "EUR", "creditor": "A1"}'),
    ("infinity", b'{"amount": -Infinity, "currency": "EUR", "creditor": "A1"}'),
    ("a float beyond all", b'{"amount": 1e999, "currency": "EUR", "creditor": "A1"}'),
    ("NaN in an unknown field", b'{"amount": "1.00", "currency": "EUR", "creditor": "A1", "x": NaN}'),
    ("NaN deep inside", b'{"amount": {"x": [NaN]}, "currency": "EUR", "creditor": "A1"}'),
    ("a field given twice", b'{"amount": "1.00", "amount": "2.00", "currency": "EUR", "creditor": "A1"}'),
]


@pytest.mark.parametrize("path", ["/v1/transactions", "/v1/accounts"])
@pytest.mark.parametrize("content", [case[1] for case in RAW], ids=[case[0] for case in RAW])
async def test_malformed_json_is_bad_input_and_nothing_happens(bank: Bank, records: Records, path: str, content: bytes) -> None:
    before = records.counts(bank.tenant)
    answer = await bank.http.post(path, content=content, headers={"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex})
    problem = assert_problem(answer, 422, "invalid-input")
    json.loads(answer.content, parse_constant=_refuse_constant)
    assert all(set(error) == {"field", "value", "rule"} for error in problem["errors"])
    assert len(answer.content) < 2_000
    assert records.counts(bank.tenant) == before


def _refuse_constant(constant: str) -> None:
    message = f"{constant} is no JSON"
    raise ValueError(message)


async def test_body_that_is_not_declared_as_json_is_refused(bank: Bank, records: Records) -> None:
    before = records.counts(bank.tenant)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", None):
        headers = {"Content-Type": content_type} if content_type else {}
        answer = await bank.http.post("/v1/transactions", content=b'{"amount": "1.00"}', headers=headers)
        assert_problem(answer, 415, "unsupported-media-type")
    assert records.counts(bank.tenant) == before


@pytest.mark.parametrize("size", [512 * 1024, 5_000_000])
@pytest.mark.parametrize("announced", [True, False])
async def test_body_over_the_limit_is_refused(bank: Bank, records: Records, size: int, announced: bool) -> None:
    before = records.counts(bank.tenant)
    body = b'{"reference": "' + b"x" * size + b'"}'

    async def chunks() -> Any:
        for start in range(0, len(body), 32_768):
            yield body[start : start + 32_768]

    content = body if announced else chunks()
    answer = await bank.http.post("/v1/transactions", content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, 413, "request-too-large")
    assert records.counts(bank.tenant) == before


@pytest.mark.parametrize("letter", ["x", "\u20ac", "\U0001f3e6"])
async def test_largest_valid_metadata_are_accepted_kept_and_published(bank: Bank, records: Records, letter: str) -> None:
    account = await bank.open()
    metadata = {f"{number:02}{letter * 38}": letter * 500 for number in range(50)}
    body = {"creditor": account, "amount": "1.00", "currency": "EUR", "metadata": metadata}
    # As ASCII, which takes the most bytes: up to two escapes of six bytes for a character.
    answer = await bank.http.post(
        "/v1/transactions", content=json.dumps(body).encode("ascii"), headers={"Content-Type": "application/json", "Prefer": "wait=30"}
    )
    assert (answer.status_code, answer.json()["status"], answer.json()["metadata"]) == (201, "completed", metadata)
    await until(lambda: records.unpublished(bank.tenant, answer.json()["transaction_id"]) == 0)


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "\xe9"])
async def test_malformed_idempotency_key_is_bad_input(bank: Bank, records: Records, accounts: dict[str, str], key: str) -> None:
    before = records.counts(bank.tenant)
    identifier = str(uuid.uuid4())
    answer = await bank.http.post(
        "/v1/transactions",
        json={"transaction_id": identifier, "creditor": accounts[OWN], "amount": "1.00", "currency": "EUR"},
        headers=[(b"Idempotency-Key", key.encode("latin-1"))],
    )
    problem = assert_problem(answer, 422, "invalid-input")
    assert problem["errors"][0]["field"] == "Idempotency-Key"
    await _assert_nothing_happened(bank, records, before, identifier)


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("base=XXX&quote=EUR", "base", "unknown-currency"),
        ("base=USD&quote=eur", "quote", "unknown-currency"),
        ("base=USD", "quote", "invalid-input"),
        ("base=USD&quote=USD", "quote", "invalid-input"),
        ("base=USD&quote=EUR&date=2026-13-01", "date", "invalid-input"),
        ("base=USD&quote=EUR&date=0", "date", "invalid-input"),
        ("base=USD&quote=EUR&date=20260101", "date", "invalid-input"),
    ],
)
async def test_malformed_question_for_a_rate_is_bad_input(bank: Bank, query: str, field: str, code: str) -> None:
    problem = assert_problem(await bank.http.get(f"/v1/rates?{query}"), 422, code)
    assert problem["errors"][0]["field"] == field


async def test_several_bad_fields_are_all_named(bank: Bank) -> None:
    body = {"creditor": 7, "amount": "1.00", "currency": "EUR", "settlement": "x", "y": 1}
    problem = assert_problem(await bank.http.post("/v1/transactions", json=body), 422, "invalid-input")
    assert {error["field"] for error in problem["errors"]} == {"creditor", "settlement", "y"}


async def test_wrong_method_and_unknown_path_are_problems(bank: Bank) -> None:
    wrong = await bank.http.delete("/v1/transactions")
    assert_problem(wrong, 405, "method-not-allowed")
    assert wrong.headers["Allow"]
    assert_problem(await bank.http.get("/v1/nothing"), 404, "not-found")


async def test_problem_is_the_same_over_a_kept_connection(bank: Bank, stack: RunningStack) -> None:
    """A refused body must not be taken for the next request of the connection."""
    async with httpx.AsyncClient(base_url=stack.api, headers=bank.http.headers, limits=httpx.Limits(max_connections=1), timeout=30) as one:
        for _ in range(3):
            answer = await one.post("/v1/accounts", content=b"x" * 600_000, headers={"Content-Type": "application/json"})
            assert_problem(answer, 413, "request-too-large")
            assert (await one.get("/v1/rates?base=USD&quote=EUR")).status_code == 200
