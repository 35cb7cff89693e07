"""The release before on the schema of this one, and an upgrade from it to this one under load: nothing refused, nothing lost."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.integration.observed.processes import free_port
from tests.integration.stack.conftest import Home
from tests.upgrade.load import Load, open_accounts
from tests.upgrade.releases import GROUPS, Installation, Process, Release, previous_release, this_release

pytestmark = pytest.mark.slow

_ENOUGH = 60
"""Outcomes of each state: some seconds."""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return previous_release(tmp_path_factory.mktemp("releases"))


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """Servers of its own, with a database that no release has migrated yet."""
    home = Home(tmp_path / ".casaflow")
    installed: Installation | None = None
    try:
        started = home.casaflow("up", "--detach", "--servers-only")
        assert started.returncode == 0, started.stdout + started.stderr
        servers = home.stack()
        with psycopg.connect(servers["postgres_dsn"], autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE bank"))
        environment = {
            "CASAFLOW_HOME": str(tmp_path / "nothing here"),
            "CASAFLOW_POSTGRES_URL": servers["postgres_dsn"].rpartition("/")[0] + "/bank",
            "CASAFLOW_TEMPORAL_ADDRESS": servers["temporal_address"],
            "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": servers["kafka_bootstrap_servers"],
            "CASAFLOW_KAFKA_REPLICATION_FACTOR": "1",
            "CASAFLOW_KAFKA_MIN_INSYNC_REPLICAS": "1",
            "CASAFLOW_COMMAND_SECRETS": secrets.token_urlsafe(32),
            "CASAFLOW_WORKER_DEPLOYMENT": "casaflow",
            "CASAFLOW_RATES_SOURCE": "ecb-history",
        }
        installed = Installation(environment, tmp_path)
        yield installed
    finally:
        if installed is not None:
            installed.end()
        home.remove()


async def test_an_upgrade_from_the_release_before_under_load_refuses_and_loses_nothing(
    installation: Installation, previous: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    bank, new = installation, this_release()
    await asyncio.to_thread(bank.run, previous, "migrate")
    ports = [free_port(), free_port()]
    old_worker = bank.start(previous, "worker")
    old_consumers = bank.start(previous, "consumer", *GROUPS)
    apis: list[Process] = [await asyncio.to_thread(bank.start_api, previous, port) for port in ports]
    await asyncio.to_thread(bank.run, previous, "promote")
    key = json.loads(await asyncio.to_thread(bank.run, previous, "key", "create", "upgrade", "--json"))["key"]
    open_accounts(apis[0].url, key)
    revision = _revision(bank)

    load = Load([api.url for api in apis], key)
    load.start()
    await load.until(_ENOUGH)

    load.begin("schema migrated, all of the release before")
    await asyncio.to_thread(bank.run, new, "migrate")
    assert _revision(bank) > revision, "the release before has an older schema: name a later one in previous.toml no sooner than that"
    await load.until(_ENOUGH)

    load.begin("workers of both")
    new_worker = bank.start(new, "worker")
    await asyncio.to_thread(bank.run, new, "promote", "--within", "60")
    await load.until(_ENOUGH)

    load.begin("the earlier worker stops")
    stopped_in = {"worker": await asyncio.to_thread(old_worker.stop)}
    await load.until(_ENOUGH)

    for number, port in enumerate(ports):
        load.begin(f"API {number + 1} of {len(ports)} is replaced")
        # As a load balancer would: the address stays, and who asks there meanwhile is refused, and asks at the next one.
        stopped_in[f"API {number + 1}"] = await asyncio.to_thread(apis[number].stop)
        apis[number] = await asyncio.to_thread(bank.start_api, new, port)
        await load.until(_ENOUGH)

    load.begin("consumers are replaced")
    bank.start(new, "consumer", *GROUPS)
    stopped_in["consumers"] = await asyncio.to_thread(old_consumers.stop)
    await load.until(_ENOUGH)

    load.begin("after")
    moved = await asyncio.to_thread(bank.run, new, "promote", "--move-all")
    await load.until(_ENOUGH)
    await load.stop()
    checked = await asyncio.to_thread(bank.run, new, "check")

    with capsys.disabled():
        print()  # noqa: T201  the report is what the test is for
        print(f"release before: installed in {previous.installed_in_seconds:.0f} s; {revision} -> {_revision(bank)}")  # noqa: T201
        print(load.report())  # noqa: T201
        print("; ".join(f"{what} stopped in {seconds:.1f} s" for what, seconds in stopped_in.items()))  # noqa: T201
        print(moved + checked)  # noqa: T201
    assert Counter(load.outcomes.values()) == {"completed": len(load.outcomes)}
    assert _completed(bank, list(load.outcomes)) == len(load.outcomes)
    assert len(load.outcomes) >= _ENOUGH * len(load.phases)
    assert "NOT PROVEN" not in checked
    assert new_worker.process.poll() is None


def _revision(bank: Installation) -> str:
    with psycopg.connect(bank.environment["CASAFLOW_POSTGRES_URL"], autocommit=True) as connection:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert found is not None
    return str(found[0])


def _completed(bank: Installation, identifiers: list[str]) -> int:
    with psycopg.connect(bank.environment["CASAFLOW_POSTGRES_URL"], autocommit=True) as connection:
        statement = "SELECT count(*) FROM transaction WHERE status = 'completed' AND transaction_id = ANY (CAST(%s AS uuid[]))"
        found = connection.execute(statement, [identifiers]).fetchone()
    assert found is not None
    return int(found[0])
