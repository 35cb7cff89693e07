"""Events as a consumer group gets them: those that a ledger has stored, and made-up ones of a day of the test's own."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

from infra.kafka.cloud_events import headers_of
from infra.kafka.records import Partition, Record
from infra.postgres.consumption import GroupStore
from ledger.decisions import LegName
from ledger.events import CREDITED_V1, DEBITED_V1, TOPIC_BALANCE_UPDATED, Amount, BalanceUpdatedV1, Event, Instruction
from tests.integration.postgres.bank import Bank

PLACE = Partition(TOPIC_BALANCE_UPDATED, 0)


async def stored_events(bank: Bank, topic: str = TOPIC_BALANCE_UPDATED) -> list[Event]:
    """What the bank's outbox has for a topic."""
    rows = await bank.select(
        "SELECT CAST(event_id AS text) AS event_id, topic, key, type, source, subject, time, payload AS data FROM event_outbox "
        "WHERE tenant = %(tenant)s AND topic = %(topic)s ORDER BY created_at, position",
        topic=topic,
    )
    return [Event.model_validate(row) for row in rows]


def record_of_event(event: Event, offset: int) -> Record:
    """As the broker has it."""
    return Record(offset=offset, key=event.key.encode(), value=event.data.encode(), headers=tuple(headers_of(event)))


async def read(store: GroupStore, events: Sequence[Event], *, place: Partition = PLACE) -> int:
    """Have a group read events as the next ones of a partition; how many were new."""
    expected = (await store.next_offsets({place: 0}))[place]
    records = [record_of_event(event, expected + number) for number, event in enumerate(events)]
    return await store.apply(place, records, expected=expected) if records else 0


def told(tenant: str, account_id: str, amount: str, booked_at: dt.datetime, *, version: int | None = None, currency: str = "EUR") -> Event:
    """The event of a posted leg; a debit where the amount is negative, with its version."""
    is_debit = amount.startswith("-")
    money = Amount(value=amount.removeprefix("-"), currency=currency)
    transaction_id = str(uuid.uuid4())
    data = BalanceUpdatedV1(
        instruction=Instruction(
            tenant=tenant,
            transaction_id=transaction_id,
            kind="withdrawal" if is_debit else "deposit",
            debtor=account_id if is_debit else None,
            creditor=None if is_debit else account_id,
            instructed=money,
            reference=None,
            remittance_information=None,
            metadata={},
            submitted_by="teller",
            submitted_at=booked_at,
        ),
        leg=LegName.DEBIT if is_debit else LegName.CREDIT,
        account_id=account_id,
        amount=money,
        conversion=None,
        value_date=booked_at.date(),
        booked_at=booked_at,
        version=(version or 1) if is_debit else None,
        ledger_balance_after=money if is_debit else None,
        available_balance_after=money if is_debit else None,
    )
    return Event(
        event_id=str(uuid.uuid4()),
        topic=TOPIC_BALANCE_UPDATED,
        key=f"{tenant}/{account_id}",
        type=DEBITED_V1 if is_debit else CREDITED_V1,
        source=f"/casaflow/tenants/{tenant}",
        subject=transaction_id,
        time=booked_at,
        data=data.model_dump_json(),
    )
