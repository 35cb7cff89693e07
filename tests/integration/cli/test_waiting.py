"""A server goes away while a file is posted: the command says so, waits, and ends with everything proven."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.api.bank import Bank, Records
from tests.integration.api.outages import Fragile, fragile_stack
from tests.integration.cli.conftest import CommandLine, end, said, until_money_arrives
from tests.stack_fixtures import RunningStack
from tests.unit.starter.entry_files import entry, write


@pytest.fixture(scope="module")
async def fragile(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fragile]:
    async with fragile_stack(stack, tmp_path_factory.mktemp("outages")) as started:
        yield started


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("postgres", "refuse"),
        pytest.param("postgres", "hang", marks=pytest.mark.slow),
        pytest.param("temporal", "refuse", marks=pytest.mark.slow),
        ("temporal", "hang"),
    ],
)
async def test_file_waits_with_a_message_and_is_posted_once(
    fragile: Fragile, cli: CommandLine, bank: Bank, records: Records, tmp_path: Path, part: str, fault: str
) -> None:
    account = f"W{uuid.uuid4().hex[:12]}"
    lines = [entry(number, account, "1.00", f"{number}.00") for number in range(1, 21)]
    file = write(tmp_path / "e.csv", lines)
    await getattr(getattr(fragile, part), fault)()
    process = await cli.having(CASAFLOW_API_URL=fragile.api).start("submit", str(file), "--tenant", bank.tenant, "--json")
    heard = await said(process, "waiting: ")
    assert f"{part} is not available" in heard
    await fragile.restore()
    ended = await end(process, said=heard)
    assert ended.code == 0, ended.err
    assert (ended.json["transactions"], ended.json["proven"]) == (20, True)
    query = "SELECT count(*) FROM offline_entry WHERE tenant = %s AND account_id = %s"
    assert records.one(query, bank.tenant, account) == 20


@pytest.mark.slow
async def test_file_goes_on_when_the_api_is_started_again(
    fragile: Fragile, cli: CommandLine, bank: Bank, records: Records, tmp_path: Path
) -> None:
    account = f"W{uuid.uuid4().hex[:12]}"
    lines = [entry(number, account, "1.00", f"{number}.00") for number in range(1, 121)]
    file = write(tmp_path / "e.csv", lines)
    arguments = ("submit", str(file), "--tenant", bank.tenant, "--json", "--in-flight", "4")
    process = await cli.having(CASAFLOW_API_URL=fragile.api).start(*arguments)
    await until_money_arrives(bank, account)
    await fragile.stop("api")
    heard = await said(process, "waiting: the API does not answer")
    await fragile.start_api()
    ended = await end(process, said=heard)
    assert ended.code == 0, ended.err
    assert (ended.json["transactions"], ended.json["proven"]) == (120, True)
    assert records.one("SELECT count(*) FROM offline_entry WHERE tenant = %s AND account_id = %s", bank.tenant, account) == 120


async def test_other_commands_end_with_3_while_a_server_is_away(fragile: Fragile, cli: CommandLine, bank: Bank) -> None:
    account = await bank.open()
    behind = cli.having(CASAFLOW_API_URL=fragile.api, CASAFLOW_POSTGRES_URL=fragile.environment["CASAFLOW_POSTGRES_URL"])
    await fragile.postgres.refuse()
    try:
        for arguments in (("balance", account), ("account", "open", "A1", "EUR"), ("key", "create", "alice")):
            ended = await behind.run(*arguments)
            assert (ended.code, ended.out) == (3, "")
            assert "postgres is not available" in ended.err
    finally:
        await fragile.restore()
    assert (await behind.run("balance", account)).code == 0
