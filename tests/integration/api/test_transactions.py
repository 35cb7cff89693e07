from __future__ import annotations

import asyncio
import uuid

from tests.integration.api.bank import Bank, Records, assert_problem


async def test_deposit_is_final_within_the_wait(bank: Bank) -> None:
    account = await bank.open()
    body = {
        "transaction_id": str(uuid.uuid4()),
        "creditor": account,
        "amount": "12.50",
        "currency": "EUR",
        "settlement": "clearing",
        "reference": "E2E-1",
        "remittance_information": "Invoice 7, \u00fcber",
        "value_date": "2026-01-31",
        "metadata": {"channel": "branch"},
    }
    answer = await bank.submit(body)
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/transactions/{body['transaction_id']}"
    assert answer.headers["Preference-Applied"] == "wait=30"
    content = answer.json()
    assert {name: content[name] for name in body} == body
    assert (content["status"], content["kind"], content["reason"], content["rate"]) == ("completed", "deposit", None, None)
    assert content["submitted_by"] == "teller"
    (leg,) = content["legs"]
    assert (leg["leg"], leg["account_id"], leg["outcome"], leg["amount"]) == ("credit", account, "posted", "12.50")
    assert leg["value_date"] == "2026-01-31"
    assert (await bank.http.get(answer.headers["Location"])).json() == content
    assert await bank.ledger(account) == "12.50"


async def test_withdrawal_tells_the_balances_after_it(bank: Bank) -> None:
    account = await bank.open(funds="10.00", overdraft_limit="5.00")
    content = (await bank.submit({"debtor": account, "amount": "12.50", "currency": "EUR"})).json()
    assert (content["status"], content["kind"]) == ("completed", "withdrawal")
    (leg,) = content["legs"]
    assert (leg["ledger_balance_after"], leg["available_balance_after"], leg["version"]) == ("-2.50", "2.50", 1)


async def test_transfer_moves_money_in_two_legs(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds="10.00"), await bank.open()
    content = (await bank.submit({"debtor": debtor, "creditor": creditor, "amount": "4.00", "currency": "EUR"})).json()
    assert (content["status"], content["kind"]) == ("completed", "transfer")
    assert [(leg["leg"], leg["account_id"]) for leg in content["legs"]] == [("debit", debtor), ("credit", creditor)]
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("6.00", "4.00")


async def test_transfer_across_currencies_tells_the_rate_it_used(bank: Bank) -> None:
    debtor, creditor = await bank.open("USD", funds="100.00"), await bank.open("EUR")
    content = (await bank.submit({"debtor": debtor, "creditor": creditor, "amount": "100.00", "currency": "USD"})).json()
    assert content["status"] == "completed"
    rate = content["rate"]
    assert (rate["base"], rate["quote"], rate["source_amount"], rate["rounding"]) == ("USD", "EUR", "100.00", "half-even")
    assert content["legs"][1]["amount"] == rate["target_amount"] == await bank.ledger(creditor)
    quoted = (await bank.http.get("/v1/rates", params={"base": "USD", "quote": "EUR"})).json()
    assert quoted == {name: rate[name] for name in quoted}


async def test_insufficient_funds_is_a_final_result_and_not_an_error(bank: Bank, records: Records) -> None:
    account = await bank.open(funds="1.00")
    body = {"transaction_id": str(uuid.uuid4()), "debtor": account, "amount": "1.01", "currency": "EUR"}
    answer = await bank.submit(body)
    assert answer.status_code == 201
    content = answer.json()
    assert (content["status"], content["reason"]["code"]) == ("rejected", "insufficient-funds")
    assert "1.00 EUR" in content["reason"]["detail"]
    assert content["legs"][0]["outcome"] == "refused"
    assert records.postings(bank.tenant, body["transaction_id"]) == 0
    assert await bank.ledger(account) == "1.00"
    # The refusal is stored: money that arrives later doesn't change the answer.
    await bank.submit({"creditor": account, "amount": "5.00", "currency": "EUR"})
    again = await bank.submit(body)
    assert (again.status_code, again.json()) == (200, content)


async def test_refused_credit_gives_the_debtor_the_money_back(saga_bank: Bank) -> None:
    debtor, creditor = await saga_bank.open(funds="10.00"), await saga_bank.open()
    await saga_bank.http.post(f"/v1/accounts/{creditor}/freeze")
    answer = await saga_bank.submit({"debtor": debtor, "creditor": creditor, "amount": "4.00", "currency": "EUR"})
    content = answer.json()
    assert (answer.status_code, content["status"], content["reason"]["code"]) == (201, "reversed", "account-frozen")
    assert [(leg["leg"], leg["outcome"]) for leg in content["legs"]] == [
        ("debit", "posted"),
        ("credit", "refused"),
        ("compensation", "posted"),
    ]
    assert (await saga_bank.ledger(debtor), await saga_bank.ledger(creditor)) == ("10.00", "0.00")


async def test_conversion_that_rounds_to_zero_is_rejected_before_any_leg(bank: Bank) -> None:
    debtor, creditor = await bank.open("IDR", funds="1000.00"), await bank.open("EUR")
    content = (await bank.submit({"debtor": debtor, "creditor": creditor, "amount": "1.00", "currency": "IDR"})).json()
    assert (content["status"], content["reason"]["code"], content["legs"]) == ("rejected", "conversion-rounds-to-zero", [])
    assert await bank.ledger(debtor) == "1000.00"


async def test_pair_without_a_rate_is_rejected(bank: Bank) -> None:
    content = (await bank.submit({"creditor": await bank.open("KWD"), "amount": "5.00", "currency": "EUR"})).json()
    assert (content["status"], content["reason"]["code"], content["legs"]) == ("rejected", "rate-unavailable", [])


async def test_without_a_wait_the_answer_is_accepted_and_the_location_tells_the_rest(bank: Bank) -> None:
    account = await bank.open()
    for headers in ({}, {"Prefer": "wait=0"}, {"Prefer": "respond-async"}, {"Prefer": "wait=soon"}):
        answer = await bank.http.post("/v1/transactions", json={"creditor": account, "amount": "1.00", "currency": "EUR"}, headers=headers)
        assert answer.status_code == 202
        assert answer.json()["status"] == "processing"
        assert answer.headers["Location"] == f"/v1/transactions/{answer.json()['transaction_id']}"
        assert "Preference-Applied" not in answer.headers
        assert await _settled(bank, answer.headers["Location"]) == "completed"
    assert await bank.ledger(account) == "4.00"


async def _settled(bank: Bank, location: str) -> str:
    async with asyncio.timeout(30):
        while True:
            found = await bank.http.get(location)
            assert found.status_code == 200, found.text
            status = str(found.json()["status"])
            if status != "processing":
                return status
            await asyncio.sleep(0.02)


async def test_wait_is_read_beside_other_preferences(bank: Bank) -> None:
    account = await bank.open()
    body = {"creditor": account, "amount": "1.00", "currency": "EUR"}
    answer = await bank.http.post("/v1/transactions", json=body, headers={"Prefer": "respond-async, wait=20"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (201, "wait=20")
    longest = await bank.http.post("/v1/transactions", json=body, headers={"Prefer": "wait=86400"})
    assert (longest.status_code, longest.headers["Preference-Applied"]) == (201, "wait=60")


async def test_unknown_transaction_is_not_found(bank: Bank) -> None:
    assert_problem(await bank.http.get(f"/v1/transactions/{uuid.uuid4()}"), 404, "not-found")
    problem = assert_problem(await bank.http.get("/v1/transactions/17"), 422, "invalid-input")
    assert problem["errors"][0]["field"] == "transaction_id"


async def test_largest_amount_is_posted_to_the_last_cent(bank: Bank) -> None:
    account = await bank.open(funds="10000000000000.00")
    await bank.submit({"creditor": account, "amount": "0.01", "currency": "EUR"})
    assert await bank.ledger(account) == "10000000000000.01"
