"""Record histories of holds, standing orders and payment files: ``python -m tests.replay.record_waiting [--replace] [--all | NAME ...]``.

As :mod:`tests.replay.record`, which is for transactions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from infra.settings import Settings
from tests.replay.recordings import save
from tests.replay.waiting_scenarios import WAITING_SCENARIOS, folder_of, waiting_bank


async def record(name: str, stack: dict[str, str], home: Path, *, replace: bool) -> Path:
    """Play one scenario and keep its history."""
    scenario = WAITING_SCENARIOS[name]
    async with waiting_bank(stack, home) as bank:
        handle = await scenario.play(bank)
        folder_of(scenario).mkdir(parents=True, exist_ok=True)
        return save(name, await handle.fetch_history(), replace=replace, folder=folder_of(scenario))


def main(arguments: list[str]) -> None:
    """Record what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay.record_waiting")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(WAITING_SCENARIOS)}")
    parser.add_argument("--all", action="store_true", help="record every scenario")
    parser.add_argument("--replace", action="store_true", help="take older recordings away: no workflow of their time may be running")
    asked = parser.parse_args(arguments)
    if bool(asked.names) == asked.all:
        parser.error("name what to record, or say --all")
    file = Path(os.environ.get("CASAFLOW_TEST_STACK") or Settings().home / "stack.json")
    stack = json.loads(file.read_text())
    for name in WAITING_SCENARIOS if asked.all else asked.names:
        path = asyncio.run(record(name, stack, file.parent, replace=asked.replace))
        sys.stdout.write(f"{path.name}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
