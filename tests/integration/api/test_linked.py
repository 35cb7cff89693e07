"""Fees, several creditors, balancing amounts and overrides over HTTP: all legs or none, and bad input named by field, value and rule."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.integration.api.bank import Bank, Records, assert_problem


def _legs(content: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(leg["leg"], leg["account_id"], leg["outcome"], leg["amount"]) for leg in content["legs"]]


async def test_a_fee_is_taken_with_the_transfer(bank: Bank, records: Records) -> None:
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    fee = {"amount": "0.50", "currency": "EUR"}
    answer = await bank.submit({"debtor": debtor, "creditor": creditor, "amount": "40.00", "currency": "EUR", "fee": fee})
    assert answer.status_code == 201
    content = answer.json()
    assert (content["status"], content["fee"], content["kind"]) == ("completed", fee, "transfer")
    assert _legs(content) == [
        ("debit", debtor, "posted", "40.00"),
        ("fee", debtor, "posted", "0.50"),
        ("credit", creditor, "posted", "40.00"),
    ]
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("59.50", "40.00")
    assert (await bank.http.get(answer.headers["Location"])).json() == content
    earned = "SELECT sum(amount) FROM gl_entry WHERE tenant = %s AND transaction_id = %s::uuid AND account_id = 'fees'"
    assert records.one(earned, bank.tenant, content["transaction_id"]) == 50


async def test_a_refused_fee_moves_nothing(bank: Bank, records: Records) -> None:
    debtor, creditor = await bank.open(funds="40.00"), await bank.open()
    body = {"debtor": debtor, "creditor": creditor, "amount": "40.00", "currency": "EUR", "fee": {"amount": "0.50", "currency": "EUR"}}
    content = (await bank.submit(body)).json()
    assert (content["status"], content["reason"]["code"]) == ("rejected", "insufficient-funds")
    assert _legs(content) == [("fee", debtor, "refused", "0.50")]
    assert records.postings(bank.tenant, content["transaction_id"]) == 0
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("40.00", "0.00")


async def test_the_fee_of_a_transfer_across_currencies_is_the_debtors(bank: Bank) -> None:
    debtor, creditor = await bank.open("USD", funds="100.00"), await bank.open("EUR")
    body = {"debtor": debtor, "creditor": creditor, "amount": "10.00", "currency": "EUR", "fee": {"amount": "1.00", "currency": "USD"}}
    content = (await bank.submit(body)).json()
    assert (content["status"], await bank.ledger(creditor)) == ("completed", "10.00")
    assert [leg["currency"] for leg in content["legs"]] == ["USD", "USD", "EUR"]
    assert content["rate"]["quote"] == "USD"


async def test_several_creditors_are_paid_by_one_debit(bank: Bank) -> None:
    debtor, creditors = await bank.open(funds="100.00"), [await bank.open() for _ in range(3)]
    parts = [{"creditor": creditor, "amount": f"{number}.10"} for number, creditor in enumerate(creditors, 1)]
    answer = await bank.submit({"debtor": debtor, "creditors": parts, "amount": "6.30", "currency": "EUR", "reference": "salaries 11/26"})
    content = answer.json()
    assert (answer.status_code, content["status"], content["creditors"], content["creditor"]) == (201, "completed", parts, None)
    assert _legs(content)[1:] == [("credit", part["creditor"], "posted", part["amount"]) for part in parts]
    assert [await bank.ledger(account) for account in (debtor, *creditors)] == ["93.70", "1.10", "2.10", "3.10"]


async def test_as_many_creditors_as_there_may_be_are_paid_by_the_bank(bank: Bank, records: Records) -> None:
    creditors = [await bank.open() for _ in range(255)]
    parts = [{"creditor": creditor, "amount": "0.01"} for creditor in creditors]
    answer = await bank.submit({"creditors": parts, "amount": "2.55", "currency": "EUR"})
    content = answer.json()
    assert (answer.status_code, content["status"], content["kind"]) == (201, "completed", "deposit")
    assert records.postings(bank.tenant, content["transaction_id"]) == 255
    back = await bank.http.post(f"{answer.headers['Location']}/reverse", headers={"Prefer": "wait=30"})
    assert (back.json()["status"], back.json()["kind"], len(back.json()["debtors"])) == ("completed", "withdrawal", 255)
    assert await bank.ledger(creditors[-1]) == "0.00"
    too_many = [*parts, {"creditor": await bank.open(), "amount": "0.01"}]
    problem = assert_problem(await bank.submit({"creditors": too_many, "amount": "2.56", "currency": "EUR"}), 422, "invalid-input")
    assert problem["errors"][0]["field"] == "creditors"
    debtor = await bank.open(funds="10.00")
    body = {"debtor": debtor, "creditors": parts, "amount": "2.55", "currency": "EUR", "fee": {"amount": "0.01", "currency": "EUR"}}
    problem = assert_problem(await bank.submit(body), 422, "invalid-input")
    assert problem["errors"] == [{"field": "creditors", "value": 255, "rule": "must be 255 at most, one less beside a fee"}]


async def test_a_balancing_amount_takes_what_is_there(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds="7.00"), await bank.open()
    body = {"debtor": debtor, "creditor": creditor, "amount": "10.00", "currency": "EUR", "balancing": True}
    content = (await bank.submit(body)).json()
    assert (content["status"], content["balancing"], content["amount"]) == ("completed", True, "10.00")
    assert {leg["amount"] for leg in content["legs"]} == {"7.00"}
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("0.00", "7.00")
    again = (await bank.submit(body)).json()
    assert (again["status"], again["reason"]["code"]) == ("rejected", "insufficient-funds")


async def test_an_override_is_recorded_with_who_gave_it(bank: Bank, records: Records) -> None:
    account = await bank.open(funds="1.00")
    override = {"reason": "court order 7/26"}
    content = (await bank.submit({"debtor": account, "amount": "5.00", "currency": "EUR", "override": override})).json()
    assert (content["status"], content["override"]) == ("completed", {"by": "teller", **override})
    assert content["legs"][0]["available_balance_after"] == "-4.00"
    stored = records.one("SELECT override FROM online_entry WHERE tenant = %s AND account_id = %s", bank.tenant, account)
    assert stored == {"by": "teller", **override}


OWN, OTHER, FOREIGN = "<own>", "<other>", "<foreign>"
INVALID: list[tuple[str, dict[str, Any], str, object]] = [
    # what is wrong, the change to a valid transfer, the field that is named, the value that is shown
    ("fee in another currency", {"fee": {"amount": "1.00", "currency": "USD"}}, "fee.currency", "USD"),
    ("fee of zero", {"fee": {"amount": "0.00", "currency": "EUR"}}, "fee.amount", "0.00"),
    ("fee with too many decimals", {"fee": {"amount": "0.001", "currency": "EUR"}}, "fee.amount", "0.001"),
    ("fee of no currency", {"fee": {"amount": "1.00", "currency": "XXX"}}, "fee.currency", "XXX"),
    ("fee as text", {"fee": "1.00"}, "fee", "1.00"),
    ("fee of nobody", {"debtor": None, "fee": {"amount": "1.00", "currency": "EUR"}}, "fee", "1.00 EUR"),
    ("unknown field of a fee", {"fee": {"amount": "1.00", "currency": "EUR", "x": 1}}, "fee.x", 1),
    ("balancing of nobody", {"debtor": None, "balancing": True}, "balancing", True),
    ("balancing with a fee", {"balancing": True, "fee": {"amount": "1.00", "currency": "EUR"}}, "balancing", True),
    ("balancing across currencies", {"balancing": True, "creditor": FOREIGN}, "creditor", FOREIGN),
    ("override of nobody", {"debtor": None, "override": {"reason": "why"}}, "override", "why"),
    ("override without a reason", {"override": {"reason": ""}}, "override.reason", ""),
    ("override with a name of its own", {"override": {"reason": "why", "by": "the boss"}}, "override.by", "the boss"),
    ("no creditors", {"creditor": None, "creditors": []}, "creditors", "[]"),
    ("creditors beside a creditor", {"creditors": [{"creditor": OTHER, "amount": "1.00"}]}, "creditor", OTHER),
    ("sum that differs", {"creditor": None, "creditors": [{"creditor": OTHER, "amount": "0.99"}]}, "amount", "1.00"),
    (
        "a creditor twice",
        {"creditor": None, "creditors": [{"creditor": OTHER, "amount": "0.50"}] * 2},
        "creditors.1.creditor",
        OTHER,
    ),
    ("the debtor as creditor", {"creditor": None, "creditors": [{"creditor": OWN, "amount": "1.00"}]}, "creditors.0.creditor", OWN),
    ("an unknown creditor", {"creditor": None, "creditors": [{"creditor": "Nobody", "amount": "1.00"}]}, "creditors.0.creditor", "Nobody"),
    ("a foreign creditor", {"creditor": None, "creditors": [{"creditor": FOREIGN, "amount": "1.00"}]}, "creditors.0.creditor", FOREIGN),
    ("nothing for a creditor", {"creditor": None, "creditors": [{"creditor": OTHER, "amount": "0"}]}, "creditors.0.amount", "0"),
    (
        "balancing for several",
        {"creditor": None, "creditors": [{"creditor": OTHER, "amount": "1.00"}], "balancing": True},
        "balancing",
        True,
    ),
]


@pytest.fixture(scope="module")
async def accounts(bank: Bank) -> dict[str, str]:
    return {OWN: await bank.open(funds="100.00"), OTHER: await bank.open(), FOREIGN: await bank.open("USD")}


def _put_in(value: Any, accounts: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _put_in(each, accounts) for name, each in value.items()}
    if isinstance(value, list):
        return [_put_in(each, accounts) for each in value]
    return accounts.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize(("change", "field", "value"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID])
async def test_bad_input_is_named_and_nothing_happens(
    bank: Bank, records: Records, accounts: dict[str, str], change: dict[str, Any], field: str, value: object
) -> None:
    body = {"transaction_id": str(uuid.uuid4()), "debtor": OWN, "creditor": OTHER, "amount": "1.00", "currency": "EUR", **change}
    body = _put_in({name: given for name, given in body.items() if given is not None}, accounts)
    before = records.counts(bank.tenant)
    answer = await bank.submit(body)
    problem = assert_problem(answer, 422, answer.json()["code"])
    (wrong,) = problem["errors"]
    assert (wrong["field"], wrong["value"]) == (field, _put_in(value, accounts))
    assert wrong["rule"]
    assert records.counts(bank.tenant) == before
    assert not await records.workflow_exists(bank.tenant, body["transaction_id"])


@pytest.mark.parametrize(
    "change", [{"fee": {"amount": "0.02", "currency": "EUR"}}, {"balancing": True, "fee": None}, {"override": {"reason": "other"}}]
)
async def test_other_content_under_the_same_id_is_a_conflict(bank: Bank, change: dict[str, Any]) -> None:
    debtor, creditor = await bank.open(funds="10.00"), await bank.open()
    body = {"debtor": debtor, "creditor": creditor, "amount": "1.00", "currency": "EUR", "fee": {"amount": "0.01", "currency": "EUR"}}
    body["transaction_id"] = str(uuid.uuid4())
    assert (await bank.submit(body)).status_code == 201
    changed = {name: value for name, value in {**body, **change}.items() if value is not None}
    assert_problem(await bank.submit(changed), 409, "transaction-conflict")
    again = await bank.submit(body)
    assert (again.status_code, await bank.ledger(debtor)) == (200, "8.99")


# ---- reversals ----


async def _transfer(bank: Bank, amount: str = "10.00", **fields: Any) -> tuple[str, str, str]:
    """Debtor, creditor and id of a completed transfer; the debtor had 100.00."""
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    content = (await bank.submit({"debtor": debtor, "creditor": creditor, "amount": amount, "currency": "EUR", **fields})).json()
    assert content["status"] == "completed"
    return debtor, creditor, content["transaction_id"]


async def _reverse(bank: Bank, transaction_id: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
    return await bank.http.post(
        f"/v1/transactions/{transaction_id}/reverse",
        json=body,
        headers={"Prefer": "wait=30", **{k.replace("_", "-"): v for k, v in headers.items()}},
    )


async def test_a_reversal_is_a_transaction_of_its_own_that_names_the_original(bank: Bank) -> None:
    debtor, creditor, original = await _transfer(bank)
    answer = await _reverse(bank, original, {"reference": "sent twice"})
    assert answer.status_code == 201
    content = answer.json()
    assert (content["status"], content["reverses"], content["amount"]) == ("completed", original, "10.00")
    assert (content["debtor"], content["creditor"], content["reference"]) == (creditor, debtor, "sent twice")
    assert answer.headers["Location"] == f"/v1/transactions/{content['transaction_id']}"
    assert content["transaction_id"] != original
    told = (await bank.http.get(f"/v1/transactions/{original}")).json()
    assert (told["status"], told["reversed_amount"], told["reverses"]) == ("completed", "10.00", None)
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("100.00", "0.00")


async def test_the_same_whole_is_reversed_once_however_often_it_is_asked_for(bank: Bank) -> None:
    debtor, _, original = await _transfer(bank)
    answers = await asyncio.gather(*(_reverse(bank, original) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    later = await _reverse(bank, original)
    assert later.status_code == 200
    assert len({answer.json()["transaction_id"] for answer in (*answers, later)}) == 1
    assert await bank.ledger(debtor) == "100.00"


async def test_parts_are_reversed_and_then_what_is_left(bank: Bank) -> None:
    debtor, creditor, original = await _transfer(bank)
    assert (await _reverse(bank, original, {"amount": "3.00"})).json()["status"] == "completed"
    assert (await _reverse(bank, original, {"amount": "3.00"})).json()["status"] == "completed"
    above = (await _reverse(bank, original, {"amount": "4.01"})).json()
    assert (above["status"], above["reason"]["code"]) == ("rejected", "reversal-exceeds-original")
    rest = (await _reverse(bank, original)).json()
    assert (rest["status"], rest["amount"]) == ("completed", "4.00")
    assert (await _reverse(bank, original)).json() == rest
    assert (await _reverse(bank, original, {"transaction_id": str(uuid.uuid4())})).json()["reason"]["code"] == "reversal-exceeds-original"
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("100.00", "0.00")


@pytest.mark.parametrize("body", [{}, {"amount": "4.00"}])
@pytest.mark.parametrize("by", ["transaction_id", "Idempotency-Key"])
async def test_a_repeat_by_id_or_key_reverses_once(bank: Bank, by: str, body: dict[str, str]) -> None:
    debtor, _, original = await _transfer(bank)
    identifier = str(uuid.uuid4())
    sent, headers = ({**body, by: identifier}, {}) if by == "transaction_id" else (body, {by: identifier})
    first, again = await _reverse(bank, original, sent, **headers), await _reverse(bank, original, sent, **headers)
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    assert await bank.ledger(debtor) == ("94.00" if body else "100.00")
    _, _, another = await _transfer(bank)
    code = (409, "transaction-conflict") if by == "transaction_id" else (422, "idempotency-key-conflict")
    assert_problem(await _reverse(bank, another, sent, **headers), *code)
    other = await _reverse(bank, original, {**sent, "amount": "5.00"}, **headers)
    assert_problem(other, *code)


async def test_what_can_not_be_reversed_says_why_for_good(bank: Bank) -> None:
    debtor, creditor, original = await _transfer(bank)
    reversal = (await _reverse(bank, original)).json()["transaction_id"]
    rejected = (await bank.submit({"debtor": creditor, "creditor": debtor, "amount": "500.00", "currency": "EUR"})).json()
    unpaid = (await bank.submit({"creditor": await bank.open("KWD"), "amount": "5.00", "currency": "EUR"})).json()
    for identifier in (reversal, rejected["transaction_id"], unpaid["transaction_id"]):
        answer = await _reverse(bank, identifier)
        assert answer.status_code == 201
        assert (answer.json()["status"], answer.json()["reason"]["code"]) == ("rejected", "not-reversible")
        assert (await _reverse(bank, identifier)).json() == answer.json()
    assert_problem(await _reverse(bank, str(uuid.uuid4())), 404, "not-found")


async def test_taking_back_what_was_spent_needs_an_override(bank: Bank) -> None:
    _, creditor, original = await _transfer(bank)
    await bank.submit({"debtor": creditor, "amount": "9.00", "currency": "EUR"})
    refused = (await _reverse(bank, original)).json()
    assert (refused["status"], refused["reason"]["code"]) == ("rejected", "insufficient-funds")
    # The refusal stands, as any: another try has an id of its own, and here other content as well.
    assert_problem(await _reverse(bank, original, {"override": {"reason": "fraud"}}), 409, "transaction-conflict")
    forced = (await _reverse(bank, original, {"override": {"reason": "fraud"}, "transaction_id": str(uuid.uuid4())})).json()
    assert (forced["status"], forced["override"]) == ("completed", {"by": "teller", "reason": "fraud"})
    assert await bank.ledger(creditor) == "-9.00"


async def test_a_reversal_across_currencies_takes_back_what_was_booked(bank: Bank) -> None:
    debtor, creditor = await bank.open("USD", funds="100.00"), await bank.open("EUR")
    original = (await bank.submit({"debtor": debtor, "creditor": creditor, "amount": "33.33", "currency": "USD"})).json()
    for body in ({"amount": "11.11"}, {"amount": "0.01"}, None):
        content = (await _reverse(bank, original["transaction_id"], body)).json()
        assert (content["status"], content["rate"]) == ("completed", None)
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("100.00", "0.00")


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"amount": "0.00"}, "amount", "0.00"),
        ({"amount": "1.001"}, "amount", "1.001"),
        ({"amount": 1}, "amount", 1),
        ({"currency": "EUR"}, "currency", "EUR"),
        ({"transaction_id": "17"}, "transaction_id", "17"),
        ({"override": {}}, "override.reason", None),
        ({"reference": "r" * 36}, "reference", "r" * 36),
    ],
)
async def test_a_malformed_reversal_is_named_and_nothing_happens(
    bank: Bank, records: Records, body: dict[str, Any], field: str, value: object
) -> None:
    _, _, original = await _transfer(bank)
    before = records.counts(bank.tenant)
    answer = await _reverse(bank, original, body)
    problem = assert_problem(answer, 422, "invalid-input")
    assert [(wrong["field"], wrong["value"]) for wrong in problem["errors"]] == [(field, value)]
    assert records.counts(bank.tenant) == before


async def test_a_part_of_several_creditors_and_an_override_of_nobody_are_bad_input(bank: Bank) -> None:
    debtor, creditors = await bank.open(funds="10.00"), [await bank.open(), await bank.open()]
    parts = [{"creditor": creditor, "amount": "1.00"} for creditor in creditors]
    paid = (await bank.submit({"debtor": debtor, "creditors": parts, "amount": "2.00", "currency": "EUR"})).json()["transaction_id"]
    assert assert_problem(await _reverse(bank, paid, {"amount": "1.00"}), 422, "invalid-input")["errors"][0]["field"] == "amount"
    whole = (await _reverse(bank, paid)).json()
    assert (whole["status"], whole["creditor"]) == ("completed", debtor)
    assert whole["debtors"] == [{"debtor": creditor, "amount": "1.00"} for creditor in creditors]
    assert (await _reverse(bank, whole["transaction_id"])).json()["reason"]["code"] == "not-reversible"
    drawn = (await bank.submit({"debtor": debtor, "amount": "2.00", "currency": "EUR"})).json()["transaction_id"]
    problem = assert_problem(await _reverse(bank, drawn, {"override": {"reason": "why"}}), 422, "invalid-input")
    assert problem["errors"][0]["field"] == "override"
    assert (await _reverse(bank, drawn)).json()["status"] == "completed"
    assert await bank.ledger(debtor) == "10.00"


async def test_another_tenants_transaction_is_not_found(bank: Bank, other_bank: Bank) -> None:
    debtor, _, original = await _transfer(bank)
    assert_problem(await _reverse(other_bank, original), 404, "not-found")
    assert await bank.ledger(debtor) == "90.00"
