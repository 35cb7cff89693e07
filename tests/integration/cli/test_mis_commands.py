from __future__ import annotations

import asyncio
import datetime as dt
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.bank import Bank, bank_at
from tests.integration.cli.conftest import CommandLine
from tests.stack_fixtures import RunningStack


@pytest.fixture(scope="module")
async def busy(stack: RunningStack) -> AsyncIterator[Bank]:
    """A tenant with four transactions, once they are counted."""
    async with bank_at(stack.api, stack.postgres_dsn) as bank:
        account = await bank.open(funds="500.00")
        for amount in ("12.50", "7.50", "1000000.00"):
            await bank.submit({"debtor": account, "amount": amount, "currency": "EUR"})
        async with asyncio.timeout(60):
            while sum(row["transactions"] for row in (await _chart(bank))["rows"]) < 4:  # noqa: ASYNC110  as in until
                await asyncio.sleep(0.1)
        yield bank


@pytest.fixture
def busy_cli(cli: CommandLine, busy: Bank) -> CommandLine:
    return cli.having(CASAFLOW_API_KEY=busy.key)


async def _chart(bank: Bank, **query: str) -> dict[str, Any]:
    content: dict[str, Any] = (await bank.http.get("/v1/mis/transactions", params=query)).json()
    return content


async def test_totals_as_json_are_what_the_api_answers(busy_cli: CommandLine, busy: Bank) -> None:
    now = dt.datetime.now(dt.UTC)
    period = {"from": (now - dt.timedelta(days=2)).isoformat(), "to": (now + dt.timedelta(days=2)).isoformat()}
    query = {"per": "hour", "by": "currency,kind,outcome", **period}
    ended = await busy_cli.run("mis", "--json", *(part for name, value in query.items() for part in (f"--{name}", value)))
    assert (ended.code, ended.err, ended.json) == (0, "", await _chart(busy, **query))
    assert sum(row["transactions"] for row in ended.json["rows"]) == 4
    shown = await busy_cli.run("mis", "--json", "--by", "kind", "--time-zone", "Etc/GMT-14")
    assert {row["kind"] for row in shown.json["rows"]} == {"deposit", "withdrawal"}
    assert all(row["at"].endswith("+14:00") for row in shown.json["rows"])


async def test_totals_are_a_table_with_a_bar_for_each_row(busy_cli: CommandLine) -> None:
    ended = await busy_cli.run("mis", "--per", "day", "--by", "currency,kind,outcome")
    title, header, *lines = (line.rstrip() for line in ended.out.splitlines())
    assert (ended.code, title) == (0, "Transactions per day, UTC")
    assert header.split() == ["day", "currency", "kind", "outcome", "transactions", "amount"]
    shown = {tuple(line.removeprefix(line[:10]).split()[:5]): line.count("█") for line in lines}
    assert shown == {
        ("EUR", "deposit", "completed", "1", "500.00"): 15,
        ("EUR", "withdrawal", "completed", "2", "20.00"): 30,
        ("EUR", "withdrawal", "rejected", "1", "1000000.00"): 15,
    }
    entries = await busy_cli.run("mis", "entries", "--by", "")
    assert "amount" not in entries.out
    empty = await busy_cli.run("mis", "--to", "2020-01-01T00:00:00Z")
    assert (empty.code, "None from 2019-12-31T00:00:00Z to 2020-01-01T00:00:00Z." in empty.out) == (0, True)


async def test_totals_are_drawn_as_a_picture_or_a_page(busy_cli: CommandLine, tmp_path: Path) -> None:
    picture, page = tmp_path / "totals.png", tmp_path / "totals.html"
    for target in (picture, page):
        ended = await busy_cli.run("mis", "--by", "currency,outcome", "--plot", str(target))
        assert (ended.code, ended.err) == (0, f"drawn: {target}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    written = page.read_text()
    assert "<svg" in written
    assert "EUR rejected" in written
    nothing = tmp_path / "nothing.html"
    assert (await busy_cli.run("mis", "--to", "2020-01-01T00:00:00Z", "--plot", str(nothing))).code == 0
    assert nothing.exists()


async def test_bad_input_is_told_before_anything_is_written(busy_cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "totals.pdf"
    ended = await busy_cli.run("mis", "--plot", str(target))
    assert (ended.code, ended.out) == (2, "")
    assert "plot must end with .png or .html" in ended.err
    assert not target.exists()
    unknown = await busy_cli.run("mis", "--by", "customer")
    assert unknown.code == 2
    assert "by must be some of currency,kind,outcome,reason,band" in unknown.err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    without = await busy_cli.run("mis", "--plot", str(tmp_path / "totals.png"))
    assert without.code == 2
    assert "matplotlib" in without.err
