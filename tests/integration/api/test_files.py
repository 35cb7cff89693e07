"""Payment files over HTTP: each line becomes a transaction of its own, once; what is wrong is said; nothing of a bad file is posted."""

from __future__ import annotations

import asyncio
import csv
import io
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ledger.payment_files import MAX_ATOMIC_LINES
from tests.integration.api.bank import Bank, Records, assert_problem, until
from tests.integration.api.payment_files import HEADER, carried_out, csv_of, hand_in, lines_of, look, over


async def test_each_line_is_a_transaction_of_its_own_with_legs_events_and_outcome(bank: Bank, records: Records) -> None:
    payer, payee = await bank.open(funds="100.00"), await bank.open()
    before = records.counts(bank.tenant)
    file = await carried_out(bank, csv_of(f"{payer},{payee},10.00,EUR", f",{payee},2.50,EUR", f"{payer},,1.25,EUR"))
    assert (file["status"], file["lines"], file["completed"], file["rejected"]) == ("completed", 3, 3, 0)
    transfer, deposit, withdrawal = await lines_of(bank, file["file_id"])
    assert (transfer["place"], transfer["status"], transfer["reason"]) == ("line 2", "completed", None)
    found = (await bank.http.get(f"/v1/transactions/{transfer['transaction_id']}")).json()
    assert (found["status"], found["debtor"], found["creditor"], found["amount"]) == ("completed", payer, payee, "10.00")
    assert [leg["leg"] for leg in found["legs"]] == ["debit", "credit"]
    for line, count in ((transfer, 2), (deposit, 1), (withdrawal, 1)):
        assert records.postings(bank.tenant, line["transaction_id"]) == count
    added = Counter(records.counts(bank.tenant)) - Counter(before)
    assert (added["transaction"], added["decision"], added["event_outbox"]) == (3, 4, 7)
    assert (await bank.ledger(payer), await bank.ledger(payee)) == ("88.75", "12.50")
    statement = (await bank.http.get(f"/v1/accounts/{payee}/statement")).json()
    assert {line["transaction_id"] for line in statement["lines"]} == {transfer["transaction_id"], deposit["transaction_id"]}
    await until(lambda: records.unpublished(bank.tenant, transfer["transaction_id"]) == 0)


async def test_refused_line_stops_no_other_and_an_unknown_account_is_a_refusal(bank: Bank) -> None:
    payer, payee = await bank.open(funds="10.00"), await bank.open()
    file = await carried_out(
        bank, csv_of(f"{payer},{payee},8.00,EUR", f"{payer},{payee},8.00,EUR", f"{payer},X{payee},1.00,EUR", f"{payer},{payee},2.00,EUR")
    )
    assert (file["completed"], file["rejected"]) == (2, 2)
    lines = await lines_of(bank, file["file_id"])
    assert [line["status"] for line in lines] == ["completed", "rejected", "rejected", "completed"]
    assert [line["reason"]["code"] for line in lines if line["reason"]] == ["insufficient-funds", "unknown-account"]
    assert (await bank.http.get(f"/v1/transactions/{lines[1]['transaction_id']}")).json()["status"] == "rejected"
    assert_problem(await bank.http.get(f"/v1/transactions/{lines[2]['transaction_id']}"), 404, "not-found")
    assert [line["number"] for line in await lines_of(bank, file["file_id"], status="rejected")] == [2, 3]
    assert [line["number"] for line in await lines_of(bank, file["file_id"], after=1, limit=2)] == [2, 3]
    outcome = await bank.http.get(f"/v1/files/{file['file_id']}/outcome")
    assert outcome.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(outcome.text)))
    assert [(row["number"], row["status"], row["reason_code"]) for row in rows] == [
        ("1", "completed", ""), ("2", "rejected", "insufficient-funds"), ("3", "rejected", "unknown-account"), ("4", "completed", ""),
    ]  # fmt: skip


async def test_all_problems_are_listed_with_their_lines_and_nothing_is_posted(bank: Bank, records: Records) -> None:
    payer, payee, other = await bank.open(funds="10.00"), await bank.open(), await bank.open("CZK")
    before = records.counts(bank.tenant)
    good = f"{payer},{payee},1.00,EUR"
    file = await carried_out(
        bank, csv_of(good, f"{payer},{payee},1.005,EUR", good, f"{payer},{payee},-1,EUR", f"{payer},{other},1.00,EUR", ",,1.00,EUR")
    )
    assert (file["status"], file["reason"]["code"], file["problem_count"]) == ("rejected", "malformed", 4)
    assert {(found["place"], found["field"]) for found in file["problems"]} == {
        ("line 3", "amount"), ("line 5", "amount"), ("line 6", "currency"), ("line 7", "debtor"),
    }  # fmt: skip
    assert records.counts(bank.tenant) == before
    nothing = await carried_out(bank, csv_of())
    assert (nothing["status"], nothing["problems"][0]["field"]) == ("rejected", "lines")
    strange = await carried_out(bank, b"a,b,c\n1,2,3\n")
    assert strange["problems"][0]["rule"].startswith("must name the columns debtor, creditor, amount, currency")


async def test_duplicate_is_refused_and_names_the_earlier_file_unless_that_was_rejected(bank: Bank, records: Records) -> None:
    payer, payee = await bank.open(), await bank.open()
    content = csv_of(f"{payer},{payee},5.00,EUR")
    refused = await carried_out(bank, content, mode="atomic")
    assert refused["status"] == "rejected"
    assert (await bank.submit({"creditor": payer, "amount": "5.00", "currency": "EUR"})).json()["status"] == "completed"
    file = await carried_out(bank, content)
    assert (file["status"], file["completed"]) == ("completed", 1)
    counted = records.counts(bank.tenant)
    problem = assert_problem(await hand_in(bank, content), 409, "duplicate-file")
    assert problem["errors"][0]["value"] == file["file_id"]
    assert file["file_id"] in problem["detail"]
    assert records.counts(bank.tenant) == counted


async def test_atomic_file_is_posted_as_a_whole_or_not_at_all(bank: Bank, records: Records) -> None:
    payer, payee = await bank.open(funds="10.00"), await bank.open()
    before = records.counts(bank.tenant)
    file = await carried_out(
        bank, csv_of(f"{payer},{payee},6.00,EUR", f"{payer},{payee},4.50,EUR", f"{payer},{payee},1.00,EUR"), mode="atomic"
    )
    assert (file["status"], file["completed"], file["rejected"], file["reason"]["code"]) == ("rejected", 0, 3, "line-refused")
    assert "line 3 is refused" in file["reason"]["detail"]
    assert [line["reason"]["code"] for line in await lines_of(bank, file["file_id"])] == [
        "line-refused",
        "insufficient-funds",
        "line-refused",
    ]
    assert records.counts(bank.tenant) == before
    assert (await bank.ledger(payer), await bank.ledger(payee)) == ("10.00", "0.00")
    whole = await carried_out(bank, csv_of(f"{payer},{payee},6.00,EUR", f"{payer},{payee},4.00,EUR"), mode="atomic")
    assert (whole["status"], whole["completed"]) == ("completed", 2)
    assert await bank.ledger(payer) == "0.00"


async def test_atomic_file_of_too_many_lines_is_refused_and_the_largest_one_is_posted(bank: Bank) -> None:
    payer = await bank.open(funds="100000.00")
    payees = [await bank.open() for _ in range(3)]
    lines = [f"{payer},{payees[number % 3]},1.00,EUR" for number in range(MAX_ATOMIC_LINES + 1)]
    refused = await carried_out(bank, csv_of(*lines), mode="atomic")
    assert (refused["status"], refused["problems"][0]["field"]) == ("rejected", "lines")
    assert (await carried_out(bank, csv_of(*lines[1:]), mode="atomic"))["completed"] == MAX_ATOMIC_LINES


async def test_line_whose_id_exists_gets_the_old_outcome_or_is_a_conflict(bank: Bank, records: Records) -> None:
    payer, payee = await bank.open(funds="100.00"), await bank.open()
    done, refused, new = (str(uuid.uuid4()) for _ in range(3))
    body = {"debtor": payer, "creditor": payee, "currency": "EUR", "settlement": "clearing"}
    await bank.submit({**body, "transaction_id": done, "amount": "7.00"})
    await bank.submit({**body, "transaction_id": refused, "amount": "700.00"})
    header = f"{HEADER},transaction_id"
    lines = [f"{payer},{payee},7.00,EUR,{done}", f"{payer},{payee},700.00,EUR,{refused}", f"{payer},{payee},8.00,EUR,{done}"]
    lines += [f"{payer},{payee},1.00,EUR,{new}", f"{payer},{payee},1.00,EUR,{new}"]
    file = await carried_out(bank, csv_of(*lines, header=header))
    outcomes = [(line["status"], (line["reason"] or {}).get("code")) for line in await lines_of(bank, file["file_id"])]
    assert outcomes == [
        ("completed", None), ("rejected", "insufficient-funds"), ("rejected", "transaction-conflict"),
        ("completed", None), ("completed", None),
    ]  # fmt: skip
    assert (file["completed"], file["rejected"]) == (3, 2)
    assert records.postings(bank.tenant, new) == 2
    assert (await bank.ledger(payer), await bank.ledger(payee)) == ("92.00", "8.00")


async def test_paused_file_goes_on_when_it_is_resumed_and_a_cancelled_one_does_not(bank: Bank) -> None:
    payer, payee = await bank.open(funds="100000.00"), await bank.open()
    file_id = await _paused(bank, payer, payee)
    standing = await look(bank, file_id)
    await _stands_still(bank, file_id)
    assert (standing["status"], standing["paused"]) == ("posting", True)
    assert (await bank.http.post(f"/v1/files/{file_id}/pause")).json()["paused"] is True
    assert (await bank.http.post(f"/v1/files/{file_id}/resume", json={"reason": "checked"})).json()["paused"] is False
    assert (await over(bank, file_id))["completed"] == LONG
    assert_problem(await bank.http.post(f"/v1/files/{file_id}/cancel"), 409, "file-ended")
    other_id = await _paused(bank, payer, payee)
    cancelled = (await bank.http.post(f"/v1/files/{other_id}/cancel", json={"reason": "wrong month"})).json()
    assert (cancelled["status"], cancelled["completed"] + cancelled["rejected"]) == ("cancelled", LONG)
    assert "wrong month" in cancelled["reason"]["detail"]
    last = (await lines_of(bank, other_id, after=LONG - 1))[0]
    assert (last["status"], last["reason"]["code"]) == ("rejected", "cancelled")
    assert await bank.ledger(payee) == f"{LONG + cancelled['completed']}.00"


LONG = 6_000


async def _paused(bank: Bank, payer: str, payee: str) -> str:
    header = f"{HEADER},reference"
    taken = await hand_in(bank, csv_of(*(f"{payer},{payee},1.00,EUR,{uuid.uuid4().hex[:20]}" for _ in range(LONG)), header=header))
    file_id = str(taken.json()["file_id"])
    assert (await bank.http.post(f"/v1/files/{file_id}/pause")).status_code == 200
    async with asyncio.timeout(60):
        while (await look(bank, file_id))["status"] == "validating":  # noqa: ASYNC110  as in payment_files.py
            await asyncio.sleep(0.1)
    return file_id


async def _stands_still(bank: Bank, file_id: str) -> None:
    """The pause is taken under the lock that each chunk begins with, so nothing is decided after its answer."""
    first = await look(bank, file_id)
    await bank.ledger((await lines_of(bank, file_id, limit=1))[0]["debtor"])
    assert (await look(bank, file_id))["completed"] == first["completed"] < LONG


async def test_another_tenant_sees_no_file(bank: Bank, other_bank: Bank) -> None:
    payer, payee = await bank.open(funds="10.00"), await bank.open()
    content = csv_of(f"{payer},{payee},1.00,EUR")
    file = await carried_out(bank, content)
    path = f"/v1/files/{file['file_id']}"
    for answer in [
        *[await other_bank.http.get(f"{path}{part}") for part in ("", "/lines", "/outcome")],
        *[await other_bank.http.post(f"{path}/{action}") for action in ("pause", "resume", "cancel")],
    ]:
        assert_problem(answer, 404, "not-found")
    assert file["file_id"] not in (await other_bank.http.get("/v1/files")).text
    assert file["file_id"] in (await bank.http.get("/v1/files")).text
    # The same content is no duplicate there, and its accounts are not the other tenant's.
    foreign = await carried_out(other_bank, content)
    assert [line["reason"]["code"] for line in await lines_of(other_bank, foreign["file_id"])] == ["unknown-account"]


async def test_files_are_listed_by_pages_the_newest_first(bank: Bank) -> None:
    sent = [(await hand_in(bank, csv_of(f"A,B,{number}.00,XXX"))).json()["file_id"] for number in range(1, 4)]
    first = (await bank.http.get("/v1/files", params={"limit": 2})).json()
    assert [file["file_id"] for file in first["files"]] == [sent[2], sent[1]]
    second = (await bank.http.get("/v1/files", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert [file["file_id"] for file in second["files"]] == [sent[0]]


@pytest.mark.parametrize(
    ("send", "status", "code"),
    [
        pytest.param(lambda bank: hand_in(bank, b"{}", media_type="application/json"), 415, "unsupported-media-type", id="media type"),
        pytest.param(lambda bank: bank.http.put("/v1/files", content=b"x"), 405, "method-not-allowed", id="method"),
        pytest.param(lambda bank: hand_in(bank, b"", mode="some"), 422, "invalid-input", id="mode"),
        pytest.param(lambda bank: bank.http.get("/v1/files/x"), 422, "invalid-input", id="id"),
        pytest.param(lambda bank: bank.http.get("/v1/files", params={"cursor": "x"}), 422, "invalid-input", id="cursor"),
        pytest.param(lambda bank: bank.http.get(f"/v1/files/{uuid.uuid4()}"), 404, "not-found", id="unknown"),
    ],
)
async def test_what_can_not_be_is_refused(bank: Bank, send: Callable[[Bank], Any], status: int, code: str) -> None:
    assert_problem(await send(bank), status, code)
