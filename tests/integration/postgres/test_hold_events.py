"""What a hold tells: each change once, stored in the change's own database transaction."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import Any

import psycopg
import pytest

from infra.postgres.event_rules import EVENT_RULES
from ledger.errors import LedgerIntegrityError, NotFoundError
from ledger.holds import HoldStatus
from tests.integration.postgres.bank import Bank, new_id
from tests.integration.postgres.linked import assert_nothing_is_wrong


async def _events(bank: Bank, hold_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Of a hold, in order: its change, who publishes it, and what it says."""
    rows = await bank.select(
        "SELECT substring(type FROM 'hold-([a-z]+)') AS change, CAST(transaction_id AS text) AS of, payload, key, topic FROM event_outbox"
        " WHERE tenant = %(tenant)s AND subject = %(id)s ORDER BY created_at, position",
        id=hold_id,
    )
    assert {row["topic"] for row in rows} <= {"casa.balance-updated"}
    return [(row["change"], row["of"], json.loads(row["payload"])) for row in rows]


async def _wrong(bank: Bank) -> list[str]:
    """What the rules about holds' events find."""
    found: list[str] = []
    for rule in EVENT_RULES:
        if "casaflow.casa.hold-%" in rule.query.text:
            async with await psycopg.AsyncConnection.connect(bank.url) as connection:
                rows = await (await connection.execute(rule.query.text.replace("%", "%%"), {})).fetchall()
                found.extend(row[0] for row in rows if bank.tenant in row[0])
    return found


async def test_each_change_of_a_hold_is_told_once_and_by_whoever_publishes_it(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    request = bank.hold_request(account, 400, reference="hotel")
    await bank.holds.authorise(request)
    await bank.holds.authorise(request)
    part, last = (bank.capture(request.hold_id, account, amount, final=final) for amount, final in ((150, False), (100, True)))
    for posting in (part, last, part):
        assert (await bank.post(posting)).posted
    authorised, first, second = await _events(bank, request.hold_id)
    assert [(authorised[0], authorised[1])] == [("authorised", request.hold_id)]
    assert [first[:2], second[:2]] == [("captured", part.request.transaction_id), ("captured", last.request.transaction_id)]
    assert (authorised[2]["reference"], authorised[2]["status"], authorised[2]["remaining"]["value"]) == ("hotel", "open", "4.00")
    told = [
        (event["status"], *(event[name]["value"] for name in ("capture", "released", "captured", "remaining")))
        for *_, event in (first, second)
    ]
    assert told == [("open", "1.50", "0.00", "1.50", "2.50"), ("captured", "1.00", "1.50", "2.50", "0.00")]
    assert await _wrong(bank) == []
    await assert_nothing_is_wrong(bank)


async def test_a_void_is_told_once(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    await bank.post(bank.capture(hold_id, account, 150))
    for _ in range(2):
        assert (await bank.holds.void(bank.tenant, hold_id)).status is HoldStatus.VOIDED
    *_, (change, of, event) = told = await _events(bank, hold_id)
    assert ([each[0] for each in told], of) == (["authorised", "captured", "voided"], hold_id)
    assert (change, event["released"]["value"], event["capture"], event["transaction_id"]) == ("voided", "2.50", None, None)
    assert await _wrong(bank) == []


@pytest.mark.parametrize("swept", [True, False], ids=["swept before", "not swept"])
async def test_an_expiry_is_told_once_though_several_come_by(bank: Bank, swept: bool) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    assert (await bank.holds.expire_one(bank.tenant, hold_id)).status is HoldStatus.OPEN
    await bank.let_expire(hold_id)
    if swept:
        await bank.holds.expire()
    expired = await asyncio.gather(*(bank.holds.expire_one(bank.tenant, hold_id) for _ in range(4)))
    assert {hold.status for hold in expired} == {HoldStatus.EXPIRED}
    told = await _events(bank, hold_id)
    assert [each[0] for each in told] == ["authorised", "expired"]
    assert told[-1][2]["released"]["value"] == "4.00"
    assert await bank.value("SELECT status FROM hold WHERE hold_id = CAST(%(id)s AS uuid)", id=hold_id) == "expired"
    assert (await bank.balance(account)).held == 0
    assert await _wrong(bank) == []
    with pytest.raises(NotFoundError):
        await bank.holds.expire_one(bank.tenant, new_id())


async def _untold(bank: Bank, older_than: dt.timedelta = dt.timedelta()) -> list[str]:
    found = await bank.holds.untold(older_than=older_than, at_most=10_000)
    return [request.hold_id for request in found if request.tenant == bank.tenant]


@pytest.mark.parametrize("swept", [True, False], ids=["closed before", "not closed"])
async def test_an_expired_hold_is_untold_until_its_event_is_stored(bank: Bank, swept: bool) -> None:
    account = await bank.open(funds=1000)
    expired, _open = [await bank.hold(account, 100) for _ in range(2)]
    voided = await bank.hold(account, 100)
    await bank.holds.void(bank.tenant, voided)
    await _publish_all(bank)
    await bank.let_expire(expired)
    if swept:
        await bank.holds.expire()
    assert await _untold(bank) == [expired]
    assert await _untold(bank, dt.timedelta(minutes=1)) == []
    await bank.holds.expire_one(bank.tenant, expired)
    await _publish_all(bank)
    assert await _untold(bank) == []


async def test_a_hold_whose_events_wait_is_untold_until_they_are_published(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    first, second = [await bank.hold(account, 100) for _ in range(2)]
    assert await _untold(bank) == [first, second]
    assert await _untold(bank, dt.timedelta(minutes=1)) == []
    (asked, *_) = [each for each in await bank.holds.untold(older_than=dt.timedelta(), at_most=10_000) if each.hold_id == first]
    hold = await bank.holds.get(bank.tenant, first)
    assert hold is not None
    assert (asked, (await bank.holds.authorise(asked))) == (hold.request, (hold, False))
    await _publish_all(bank)
    assert await _untold(bank) == []


async def _publish_all(bank: Bank) -> None:
    await bank.rows.execute("UPDATE event_outbox SET published_at = now() WHERE tenant = %s AND published_at IS NULL", (bank.tenant,))


async def test_a_hold_that_expired_before_the_flag_was_there_is_marked_by_whoever_comes_by(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 100)
    await bank.let_expire(hold_id)
    await bank.holds.expire_one(bank.tenant, hold_id)
    await _publish_all(bank)
    # As a worker from before leaves it: the event is stored, and nothing says so.
    await bank.rows.execute("UPDATE hold SET expiry_told = false WHERE tenant = %s", (bank.tenant,))
    assert await _untold(bank) == [hold_id]
    await bank.holds.expire_one(bank.tenant, hold_id)
    assert await _untold(bank) == []
    assert [each[0] for each in await _events(bank, hold_id)] == ["authorised", "expired"]


async def test_a_refused_hold_tells_nothing(bank: Bank) -> None:
    account = await bank.open(funds=10)
    request = bank.hold_request(account, 400)
    hold, _ = await bank.holds.authorise(request)
    assert hold.status is HoldStatus.REFUSED
    assert await _events(bank, request.hold_id) == []
    assert await _wrong(bank) == []


async def test_a_hold_from_before_its_changes_were_told_tells_nothing_to_its_end(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    captured, voided, expired = [await bank.hold(account, 100) for _ in range(3)]
    await bank.rows.execute("DELETE FROM event_outbox WHERE tenant = %s AND type LIKE 'casaflow.casa.hold-%%'", (bank.tenant,))
    await bank.rows.execute("UPDATE hold SET announced = false WHERE tenant = %s", (bank.tenant,))
    assert (await bank.post(bank.capture(captured, account, 100))).posted
    await bank.holds.void(bank.tenant, voided)
    await bank.let_expire(expired)
    await bank.holds.expire_one(bank.tenant, expired)
    assert [await _events(bank, hold_id) for hold_id in (captured, voided, expired)] == [[], [], []]
    assert await _wrong(bank) == []


async def test_a_change_whose_event_cannot_be_stored_is_not_made(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    await bank.rows.execute("ALTER TABLE event_outbox ADD CONSTRAINT refuse_all CHECK (false) NOT VALID")
    try:
        for change in (bank.holds.void(bank.tenant, hold_id), bank.hold(account, 100), bank.post(bank.capture(hold_id, account, 1))):
            with pytest.raises(LedgerIntegrityError):
                await change
    finally:
        await bank.rows.execute("ALTER TABLE event_outbox DROP CONSTRAINT refuse_all")
    balance = await bank.balance(account)
    assert (balance.held, balance.ledger) == (400, 1000)


@pytest.mark.parametrize("type_", ["authorised", "captured", "voided"])
async def test_a_missing_event_of_a_hold_is_found_by_check(bank: Bank, type_: str) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    await bank.post(bank.capture(hold_id, account, 1))
    await bank.holds.void(bank.tenant, hold_id)
    assert await _wrong(bank) == []
    await bank.rows.execute("DELETE FROM event_outbox WHERE subject = %s AND type LIKE %s", (hold_id, f"%hold-{type_}%"))
    (violation,) = await _wrong(bank)
    assert hold_id in violation
