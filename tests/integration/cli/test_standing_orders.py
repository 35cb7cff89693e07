"""`casaflow standing-order` on the running stack."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine


async def _create(cli: CommandLine, bank: Bank, *options: str, **fields: str) -> Any:
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    start = {"--frequency": "monthly", "--start-date": "2094-01-31", **fields}
    created = await cli.run(
        "standing-order", "create", debtor, creditor, "12.50", "EUR", *(part for pair in start.items() for part in pair), *options, "--json"
    )
    assert created.code == 0, created.err
    return created.json


async def test_an_order_is_created_listed_shown_paused_resumed_and_cancelled(cli: CommandLine, bank: Bank) -> None:
    order_id = str(uuid.uuid4())
    order = await _create(cli, bank, "--order-id", order_id, "--calendar", "following", "--day", "31")
    assert (order["order_id"], order["status"], order["next_due"][0]["due_date"]) == (order_id, "active", "2094-02-01")
    listed = await cli.run("standing-order", "list")
    assert f"{order_id}  active  {order['debtor']}  {order['creditor']}  12.50  EUR  next 2094-02-01" in listed.out
    for change, status in (("pause", "paused"), ("resume", "active"), ("cancel", "cancelled")):
        changed = await cli.run("standing-order", change, order_id, "--reason", "asked for", "--json")
        assert (changed.code, changed.json["status"]) == (0, status)
    shown = await cli.run("standing-order", "show", order_id)
    assert "cancelled" in shown.out
    too_late = await cli.run("standing-order", "pause", order_id)
    assert (too_late.code, "is cancelled" in too_late.err) == (2, True)


async def test_an_order_that_is_due_shows_its_transaction(cli: CommandLine, bank: Bank) -> None:
    now = dt.datetime.now(dt.UTC)
    due = {"--frequency": "daily", "--start-date": now.date().isoformat()}
    order = await _create(cli, bank, "--time", now.strftime("%H:%M"), "--count", "1", **due)
    async with asyncio.timeout(90):
        while "completed, transaction" not in (shown := await cli.run("standing-order", "show", order["order_id"])).out:
            assert shown.code == 0, shown.err
            await asyncio.sleep(0.1)


async def test_bad_input_is_named(cli: CommandLine, bank: Bank) -> None:
    debtor, creditor = await bank.open(), await bank.open()
    given = ("standing-order", "create", debtor, creditor, "12.50", "EUR", "--frequency", "monthly", "--start-date")
    for wrong, field in (
        (("2020-01-01",), "schedule.start_date"),
        (("2094-01-31", "--on-refusal", "retry"), "retry_until"),
        (("2094-01-31", "--every", "2"), "on_refusal"),
        (("2094-01-31", "--day", "40"), "schedule.day"),
    ):
        refused = await cli.run(*given, *wrong)
        assert (refused.code, field in refused.err) == (2, True), refused.err
