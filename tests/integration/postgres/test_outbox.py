from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from ledger.event_writer import events_of_leg
from ledger.events import CREDITED_V1, DEBITED_V1, TOPIC_BALANCE_UPDATED, TOPIC_TRANSACTION_FINISHED, Event
from ledger.ids import event_id
from tests.integration.postgres.bank import Bank


async def test_events_come_back_as_they_were_stored_in_the_order_of_the_legs(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open()
    debit = bank.transfer(debtor, creditor, 400, remittance_information="čaj „ö“ \\u0041 %s :x", metadata={"a": "'"})
    debited, credited = await bank.post_transfer(debit)
    transaction_id = debit.request.transaction_id

    events = await bank.outbox.unpublished(bank.tenant, transaction_id)

    assert events[0] == events_of_leg(debit, debited)[0]
    assert [(event.topic, event.type, event.key) for event in events] == [
        (TOPIC_BALANCE_UPDATED, DEBITED_V1, f"{bank.tenant}/{debtor}"),
        (TOPIC_BALANCE_UPDATED, CREDITED_V1, f"{bank.tenant}/{creditor}"),
        (TOPIC_TRANSACTION_FINISHED, "casaflow.accounting.transaction-completed.v1", f"{bank.tenant}/{transaction_id}"),
    ]
    assert [event.event_id for event in events] == [
        event_id(bank.tenant, transaction_id, DEBITED_V1, "debit"),
        event_id(bank.tenant, transaction_id, CREDITED_V1, "credit"),
        event_id(bank.tenant, transaction_id, "casaflow.accounting.transaction-completed.v1"),
    ]
    assert [event.time for event in events] == [debited.decided_at, credited.decided_at, credited.decided_at]
    assert {event.source for event in events} == {f"/casaflow/tenants/{bank.tenant}"}
    assert [leg["leg"] for leg in json.loads(events[2].data)["legs"]] == ["debit", "credit"]


async def test_published_events_are_not_published_again_and_marking_twice_keeps_the_first_time(bank: Bank) -> None:
    account = await bank.open()
    deposit, other = bank.deposit(account, 5), bank.deposit(account, 6)
    for posting in (deposit, other):
        await bank.post(posting)
    credited, completed = await bank.outbox.unpublished(bank.tenant, deposit.request.transaction_id)

    await _mark(bank, [credited])

    assert await bank.outbox.unpublished(bank.tenant, deposit.request.transaction_id) == (completed,)
    query = "SELECT event_id, published_at FROM event_outbox WHERE tenant = %(tenant)s AND transaction_id = %(id)s ORDER BY position"
    first, _ = await bank.select(query, id=deposit.request.transaction_id)
    await asyncio.gather(*(_mark(bank, [credited, completed]) for _ in range(4)))
    await _mark(bank, [])
    again, second = await bank.select(query, id=deposit.request.transaction_id)
    assert again == first
    assert second["published_at"] > first["published_at"]
    assert await bank.outbox.unpublished(bank.tenant, deposit.request.transaction_id) == ()
    assert len(await bank.outbox.unpublished(bank.tenant, other.request.transaction_id)) == 2
    await bank.post(deposit)
    assert await bank.outbox.unpublished(bank.tenant, deposit.request.transaction_id) == ()


async def test_events_of_another_tenant_are_its_own(bank: Bank) -> None:
    other = Bank(url=bank.url, database=bank.database, rows=bank.rows)
    mine, theirs = bank.deposit(await bank.open(), 5), None
    await bank.post(mine)
    theirs = other.deposit(await other.open(), 6, transaction_id=mine.request.transaction_id)
    await other.post(theirs)
    events = await bank.outbox.unpublished(bank.tenant, mine.request.transaction_id)
    assert {event.source for event in events} == {f"/casaflow/tenants/{bank.tenant}"}
    assert len(events) == 2
    assert not {event.event_id for event in events} & {
        event.event_id for event in await other.outbox.unpublished(other.tenant, mine.request.transaction_id)
    }


async def _mark(bank: Bank, events: Sequence[Event]) -> None:
    outbox = bank.outbox
    outbox.note_published(events)
    await outbox.drain()
