from __future__ import annotations

import json
from collections.abc import AsyncIterator

from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine


async def _until_position(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line.startswith("id: "):
            return


async def test_events_are_shown_behind_a_position(cli: CommandLine, bank: Bank) -> None:
    account = await bank.open()
    async with bank.http.stream("GET", "/v1/events") as response:
        position = [line async for line in _until_position(response.aiter_lines())][-1].removeprefix("id: ")
    paid = await bank.submit({"creditor": account, "amount": "1.25", "currency": "EUR"})
    watched = await cli.run("events", "watch", "--account", account, "--after", position, "--count", "2", "--json")
    events = [json.loads(line) for line in watched.out.splitlines()]
    assert (watched.code, {event["subject"] for event in events}) == (0, {paid.json()["transaction_id"]}), watched.err
    rest = await cli.run("events", "watch", "--account", account, "--after", events[0]["casaflowposition"], "--count", "1")
    assert "1.25 EUR" in rest.out
    assert (await cli.run("events", "watch", "--account", "a b")).code == 2
