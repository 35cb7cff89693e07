"""What is stored for an event: one message per customer and channel, however often and with whatever else it is read."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json

import pytest

from infra.postgres.notification_preferences import PostgresNotificationPreferences
from infra.postgres.notifications import NotificationEffects
from infra.postgres.proof import PostgresProof
from ledger.events import CREDITED_V1
from ledger.notifications import QuietHours
from tests.integration.notifications.conftest import PostOffice

SECOND = dt.timedelta(seconds=1)
MINUTE = dt.timedelta(minutes=1)


async def test_one_message_for_each_customer_and_channel_of_a_transfer(office: PostOffice) -> None:
    await office.enter("jana", accounts=("A", "B"), email="jana@example.org", webhook_url=office.hook.url)
    await office.enter("petr", accounts=("B",), email="petr@example.org")
    await office.enter("joint", accounts=("A", "B"), webhook_url=office.hook.url)
    await office.enter("other", accounts=("C",), email="other@example.org")

    await office.tell(debtor="A", creditor="B")

    found = [(row["customer_id"], row["channel"], row["kind"]) for row in await office.messages()]
    assert found == [
        ("jana", "email", "debit"),
        ("jana", "webhook", "debit"),
        ("joint", "webhook", "debit"),
        ("petr", "email", "credit"),
    ]


async def test_an_event_that_is_applied_again_adds_nothing(office: PostOffice) -> None:
    await office.enter(email="jana@example.org", webhook_url=office.hook.url)
    event = office.event(creditor="A")
    await asyncio.gather(*(office.apply(event, office.event(creditor="Z")) for _ in range(4)))
    assert len(await office.messages()) == 2


async def test_many_events_at_once_each_lead_to_their_messages(office: PostOffice) -> None:
    for number in range(5):
        await office.enter(f"customer-{number}", accounts=(f"A{number}",), email=f"c{number}@example.org")
    await office.apply(*(office.event(debtor=f"A{number % 5}", creditor=f"A{(number + 1) % 5}") for number in range(50)))
    messages = await office.messages()
    assert len(messages) == 100
    assert len({row["event_id"] for row in messages}) == 50


async def test_events_of_balances_and_of_nobody_lead_to_nothing(office: PostOffice) -> None:
    await office.enter()
    event = office.event(creditor="A")
    await office.apply(dataclasses.replace(event, type=CREDITED_V1), office.event(creditor="B"))
    assert await office.messages() == []
    assert not NotificationEffects.handled_types & NotificationEffects.ignored_types


async def test_another_tenants_customer_hears_nothing(office: PostOffice) -> None:
    await office.enter()
    event = office.event(creditor="A")
    other = json.loads(event.data)
    other["instruction"]["tenant"] = "bank-2"
    await office.apply(dataclasses.replace(event, key="bank-2/x", data=json.dumps(other)))
    assert await office.messages() == []


@pytest.mark.parametrize("change", ["no JSON", "no instruction", "no amount", "another tenant"])
async def test_an_event_that_can_not_be_read_is_a_value_error_and_stores_nothing(office: PostOffice, change: str) -> None:
    await office.enter(minimum_amounts={"EUR": "1.00"})
    good = office.event(creditor="A")
    content = json.loads(good.data)
    if change == "no instruction":
        del content["instruction"]
    if change == "no amount":
        content["legs"][0]["amount"]["value"] = "much"
    data = "{" if change == "no JSON" else json.dumps(content)
    bad = dataclasses.replace(good, data=data, key="bank-2/x" if change == "another tenant" else good.key)
    with pytest.raises(ValueError, match=r".+"):
        await office.apply(office.event(creditor="A"), bad)
    assert await office.messages() == []


async def test_a_message_in_quiet_hours_is_due_at_their_end_and_an_urgent_rejection_at_once(office: PostOffice) -> None:
    office.now = dt.datetime(2027, 1, 10, 23, tzinfo=dt.UTC)
    night = QuietHours(start=dt.time(22), end=dt.time(6), time_zone="Europe/Prague")
    await office.enter("calm", quiet_hours=night)
    await office.enter("urgent", quiet_hours=night, urgent=True)
    morning = dt.datetime(2027, 1, 11, 5, tzinfo=dt.UTC)

    await office.tell(creditor="A")
    await office.tell(debtor="A", rejected=True)

    due = {(row["customer_id"], row["kind"]): row["not_before"] for row in await office.messages()}
    assert due == {
        ("calm", "credit"): morning,
        ("calm", "rejected"): morning,
        ("urgent", "credit"): morning,
        ("urgent", "rejected"): office.now,
    }


async def test_disabled_preferences_stand_and_are_recorded_with_who_changed_them(office: PostOffice) -> None:
    store = PostgresNotificationPreferences(office.database)
    entered = await office.enter(email="jana@example.org", webhook_url=office.hook.url)
    assert await store.get(office.tenant, "jana") == entered
    await store.disable(office.tenant, "jana", by="operator", now=office.now)
    assert (await store.disable(office.tenant, "jana", by="another", now=office.now)).enabled is False
    await office.tell()
    assert await office.messages() == []
    changes = await office.rows.execute(
        "SELECT version, action, by FROM notification.preference_change WHERE tenant = %s ORDER BY version", [office.tenant]
    )
    assert [tuple(row.values()) for row in await changes.fetchall()] == [(1, "set", "teller"), (2, "disable", "operator")]


async def test_preferences_that_are_set_at_the_same_time_are_set_one_after_the_other(office: PostOffice) -> None:
    await asyncio.gather(*(office.enter(accounts=(f"A{number}",)) for number in range(8)))
    versions = await office.rows.execute(
        "SELECT version FROM notification.preference_change WHERE tenant = %s ORDER BY version", [office.tenant]
    )
    assert [row["version"] for row in await versions.fetchall()] == list(range(1, 9))


async def test_each_endpoint_has_its_first_message_claimed_before_any_has_its_second(office: PostOffice) -> None:
    for number in range(3):
        await office.enter(f"customer-{number}", accounts=(f"A{number}",), webhook_url=f"http://127.0.0.{number + 1}/hook")
        await office.apply(*(office.event(creditor=f"A{number}") for _ in range(3)))
        office.now += SECOND
    claimed = await office.queue.claim(now=office.now, lease=MINUTE, at_most=3, per_endpoint=2, rooms={})
    assert sorted(message.customer_id for message in claimed) == ["customer-0", "customer-1", "customer-2"]
    rest = await office.queue.claim(now=office.now, lease=MINUTE, at_most=9, per_endpoint=9, rooms={"127.0.0.1:80": 0, "127.0.0.2:80": 1})
    assert sorted(message.customer_id for message in rest) == ["customer-1", "customer-2", "customer-2"]


async def test_who_has_lost_a_message_can_neither_delay_nor_kill_it(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    queue = office.queue
    (first,) = await queue.claim(now=office.now, lease=MINUTE, at_most=1, per_endpoint=1, rooms={})
    assert await queue.claim(now=office.now + SECOND, lease=MINUTE, at_most=1, per_endpoint=1, rooms={}) == ()
    office.now += MINUTE
    (second,) = await queue.claim(now=office.now, lease=MINUTE, at_most=1, per_endpoint=1, rooms={})
    assert (first.attempts, second.attempts) == (1, 2)

    await queue.failed(first, error="late", not_before=office.now + dt.timedelta(days=9))
    await queue.dead(first, error="late", endpoint_gone=False, now=office.now)
    await queue.postponed(first, not_before=office.now)
    message = await office.message()
    assert (message["status"], message["not_before"], message["last_error"]) == ("waiting", office.now + MINUTE, None)

    await queue.delivered(first, now=office.now)
    assert (await office.message())["status"] == "delivered", "what is delivered is delivered, whoever has it"
    await queue.failed(second, error="late", not_before=office.now)
    assert (await office.message())["status"] == "delivered"


async def test_the_check_finds_nothing_wrong_with_what_the_application_may_do(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    evidence = await PostgresProof(office.database).ledger()
    assert [violation for found in evidence.violations.values() for violation in found.shown] == []
