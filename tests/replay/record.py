"""Record workflow histories on a running stack: ``python -m tests.replay.record [--replace] [--all | NAME ...]``.

The stack is the one of ``casaflow up``, or the one whose ``stack.json`` is named by ``CASAFLOW_TEST_STACK``. The worker is this process,
on a task queue of its own, with the stack's PostgreSQL and Kafka; accounts are new ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from infra.settings import Settings
from tests.replay.bank import recorded_bank
from tests.replay.recordings import save
from tests.replay.scenarios import SCENARIOS


async def record(name: str, stack: dict[str, str], *, replace: bool) -> Path:
    """Play one scenario and keep its history.

    Raises:
        AssertionError: it did not end as the scenario says.
    """
    async with recorded_bank(
        postgres_url=stack["postgres_dsn"],
        temporal_address=stack["temporal_address"],
        kafka_bootstrap_servers=stack["kafka_bootstrap_servers"],
    ) as bank:
        handle = await SCENARIOS[name].play(bank)
        return save(name, await handle.fetch_history(), replace=replace)


def main(arguments: list[str]) -> None:
    """Record what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay.record", description="Record workflow histories on a running stack.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(SCENARIOS)}")
    parser.add_argument("--all", action="store_true", help="record every scenario")
    parser.add_argument("--replace", action="store_true", help="take older recordings away: no transaction of their time may be running")
    asked = parser.parse_args(arguments)
    if bool(asked.names) == asked.all:
        parser.error("name what to record, or say --all")
    if unknown := [name for name in asked.names if name not in SCENARIOS]:
        parser.error(f"no scenario is called {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    file = Path(os.environ.get("CASAFLOW_TEST_STACK") or Settings().home / "stack.json")
    stack = json.loads(file.read_text())
    for name in SCENARIOS if asked.all else asked.names:
        path = asyncio.run(record(name, stack, replace=asked.replace))
        sys.stdout.write(f"{path.name}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
