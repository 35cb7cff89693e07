"""A transaction explained: all that PostgreSQL, Kafka's consumers and Temporal hold of it, in one timeline."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import httpx

from infra.temporal.client import connect
from ledger.ids import workflow_id
from starter.submit import TemporalConnection
from tests.integration.api.bank import Bank, assert_problem
from tests.integration.defects import credits_are_refused
from tests.stack_fixtures import RunningStack


async def _explained(bank: Bank, transaction_id: str, *, consumed: int = 0) -> dict[str, Any]:
    """The explanation, once the audit group has applied so many events."""
    async with asyncio.timeout(60):
        while True:
            answer = await bank.http.get(f"/v1/transactions/{transaction_id}/explanation")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            if len(_of(found, "consumer")) >= consumed and (not consumed or not _unpublished(found)):
                return found
            await asyncio.sleep(0.1)


def _of(found: dict[str, Any], part: str) -> list[dict[str, Any]]:
    return [moment for moment in found["timeline"] if moment["part"] == part]


def _unpublished(found: dict[str, Any]) -> bool:
    return len(_of(found, "published")) < len(_of(found, "event"))


async def test_a_conversion_is_told_from_the_request_to_the_consumer(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds="100.00"), await bank.open("CZK")
    body = {"debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR", "reference": "invoice 7"}
    submitted = (await bank.submit(body)).json()
    found = await _explained(bank, submitted["transaction_id"], consumed=3)
    assert (found["status"], found["reason"], found["gaps"]) == ("completed", None, [])
    (request,) = _of(found, "request")
    assert request["what"] == f"teller asks for a transfer of 12.50 EUR from {debtor} to {creditor}"
    (rate,) = _of(found, "rate")
    assert rate["detail"]["quote_id"] == submitted["rate"]["quote_id"]
    decisions = [
        (moment["detail"]["leg"], moment["detail"]["account_id"], moment["detail"]["outcome"]) for moment in _of(found, "decision")
    ]
    assert decisions == [("debit", debtor, "posted"), ("credit", creditor, "posted")]
    sums = dict.fromkeys(("EUR", "CZK"), Decimal(0))
    for entry in _of(found, "entry"):
        sums[entry["detail"]["currency"]] += Decimal(entry["detail"]["amount"])
    assert sums == {"EUR": 0, "CZK": 0}
    (debit,) = [entry for entry in _of(found, "entry") if entry["detail"]["account_id"] == debtor]
    assert (debit["detail"]["amount"], debit["detail"]["balance_after"]) == ("-12.50", "87.50")
    stored, published, consumed = (
        {moment["detail"]["event_id"] for moment in _of(found, part)} for part in ("event", "published", "consumer")
    )
    assert len(stored) == 3
    assert stored == published == consumed
    assert found["workflow"]["workflow_id"] == workflow_id(bank.tenant, submitted["transaction_id"])
    told = [moment["what"] for moment in _of(found, "workflow")]
    assert told[0].startswith("the workflow starts (Transfer of 12.50 EUR")
    assert any("exchange_rate.quote (rate EUR/CZK) is done" in what for what in told)
    assert "the workflow shows the transaction as completed" in told


async def test_the_timeline_is_in_order_and_begins_with_the_request(bank: Bank) -> None:
    account = await bank.open()
    submitted = (await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR"})).json()
    found = await _explained(bank, submitted["transaction_id"], consumed=2)
    times = [dt.datetime.fromisoformat(moment["at"]) for moment in found["timeline"]]
    assert times == sorted(times)
    assert found["timeline"][0]["part"] == "request"
    posted = next(place for place, moment in enumerate(found["timeline"]) if "casa.post" in moment["what"])
    published = next(place for place, moment in enumerate(found["timeline"]) if "notification.publish" in moment["what"])
    # A local activity stands where it was done, and not where the history wrote it down.
    assert posted < published


async def test_a_rejection_says_why_and_has_no_entries(bank: Bank) -> None:
    account = await bank.open(funds="1.00")
    submitted = (await bank.submit({"debtor": account, "amount": "2.00", "currency": "EUR"})).json()
    found = await _explained(bank, submitted["transaction_id"], consumed=1)
    assert (found["status"], found["reason"]["code"]) == ("rejected", "insufficient-funds")
    assert _of(found, "entry") == []
    (decision,) = _of(found, "decision")
    assert decision["detail"]["reason"] == "insufficient-funds"


async def test_a_reversal_is_told_with_its_original_and_the_original_with_its_reversal(bank: Bank) -> None:
    account = await bank.open()
    submitted = (await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR"})).json()
    path = f"/v1/transactions/{submitted['transaction_id']}/reverse"
    taken_back = (await bank.http.post(path, headers={"Prefer": "wait=30"})).json()
    assert (await _explained(bank, submitted["transaction_id"]))["reversed_by"] == [taken_back["transaction_id"]]
    (request,) = _of(await _explained(bank, taken_back["transaction_id"]), "request")
    assert request["what"].endswith(f"which takes back {submitted['transaction_id']}")


async def test_a_parked_transaction_tells_what_failed(saga_bank: Bank, stack: RunningStack) -> None:
    bank = saga_bank
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    with credits_are_refused(stack, "account_id", creditor):
        await bank.park(body)
        found = await _explained(bank, transaction_id)
    assert (found["status"], found["workflow"]["status"], found["workflow"]["shows"]) == ("parked", "running", "parked")
    failed = [moment["what"] for moment in _of(found, "workflow") if moment["detail"] == {"failed": "true"}]
    assert any("casa.post" in what and what.count("LedgerIntegrityError") == 1 for what in failed)
    assert [entry["detail"]["account_id"] for entry in _of(found, "entry")] == [debtor, "transit"]
    await (await connect(stack.temporal_settings)).get_workflow_handle(workflow_id(bank.tenant, transaction_id)).terminate()
    assert (await _explained(bank, transaction_id))["status"] == "parked"


async def test_what_nobody_has_submitted_is_not_found_and_neither_is_what_another_tenant_has(bank: Bank, other_bank: Bank) -> None:
    assert_problem(await bank.http.get(f"/v1/transactions/{uuid.uuid4()}/explanation"), 404, "not-found")
    account = await bank.open()
    submitted = (await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR"})).json()
    path = f"/v1/transactions/{submitted['transaction_id']}/explanation"
    assert_problem(await other_bank.http.get(path), 404, "not-found")
    assert_problem(await bank.http.get("/v1/transactions/nonsense/explanation"), 422, "invalid-input")


async def test_without_temporal_the_ledgers_part_is_told_and_the_gap_is_named(bank: Bank, stack: RunningStack) -> None:
    from infra.postgres.database import Database  # noqa: PLC0415
    from infra.postgres.explanation import PostgresExplanations  # noqa: PLC0415
    from starter.explanations import Explanations  # noqa: PLC0415

    account = await bank.open()
    submitted = (await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR"})).json()
    database = Database.open(stack.postgres_dsn, pool_size=1)
    away = TemporalConnection(stack.temporal_settings.model_copy(update={"temporal_address": None}))
    try:
        found = await Explanations(PostgresExplanations(database), away).of(bank.tenant, submitted["transaction_id"])
    finally:
        await database.close()
    assert (found.status, found.workflow) == ("completed", None)
    assert "CASAFLOW_TEMPORAL_ADDRESS is not set" in found.gaps[0]
    assert {"request", "decision", "entry", "event", "result"} <= {moment.part for moment in found.timeline}


async def test_the_search_attributes_tell_the_amounts_band_and_not_the_amount(bank: Bank, stack: RunningStack) -> None:
    account = await bank.open()
    submitted = (await bank.submit({"creditor": account, "amount": "1234.56", "currency": "EUR"})).json()
    client = await connect(stack.temporal_settings)
    described = await client.get_workflow_handle(workflow_id(bank.tenant, submitted["transaction_id"])).describe()
    attributes = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert attributes["CasaflowAmountBand"] == "1000-10000"
    assert not any("1234" in str(value) for value in attributes.values())


async def test_the_views_that_status_names_are_lists_that_the_server_can_make(bank: Bank, stack: RunningStack) -> None:
    from starter.web_ui import view_link, views  # noqa: PLC0415

    lists = views(dt.datetime.now(dt.UTC))
    client = await connect(stack.temporal_settings)
    account = await bank.open(funds="1.00")
    rejected = (await bank.submit({"debtor": account, "amount": "2.00", "currency": "EUR"})).json()["transaction_id"]
    for name, query in lists.items():
        found = [execution.id async for execution in client.list_workflows(f"({query}) AND `CasaflowTenant`='{bank.tenant}'")]
        assert (workflow_id(bank.tenant, rejected) in found) == (name == "rejected"), name
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(view_link(stack.temporal_ui, "default", lists["rejected"]))).status_code == 200
