"""schemathesis asks the running API what its OpenAPI document allows, and what it doesn't: each answer is a documented one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.api.bank import Bank
from tests.stack_fixtures import RunningStack

_ROOT = Path(__file__).parents[3]
_EXCLUDED = ("/v1/events", "/metrics", "/v1/system/workers/kill")
"""A stream without an end, what no schema describes, and what would kill the workers of the stack under test."""


def _run(stack: RunningStack, bank: Bank, folder: Path, *options: str) -> None:
    settings = str(_ROOT / "tests" / "contract" / "schemathesis.toml")
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", settings, "run", f"{stack.api}/openapi.json"]
    command += [
        "--header",
        f"Authorization: Bearer {bank.key}",
        "--no-color",
        "--seed",
        "7",
        "--request-timeout",
        "60",
        "--continue-on-failure",
    ]
    # Whether a request that fits the schemas is accepted depends on what is recorded; the hooks check what it may be refused for.
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += [part for path in _EXCLUDED for part in ("--exclude-path", path)]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.contract.schemathesis_hooks", "PYTHONPATH": str(_ROOT)}
    ended = subprocess.run([*command, *options], env=environment, cwd=folder, capture_output=True, text=True, timeout=1_800, check=False)
    said = ended.stdout + ended.stderr
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None, said
    print(f"{generated[1]} cases")  # noqa: T201  how much was asked
    assert ended.returncode == 0, said[-20_000:]
    assert int(generated[1]) > 100


def test_answers_are_as_documented(stack: RunningStack, bank: Bank, tmp_path: Path) -> None:
    _run(stack, bank, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "1")


@pytest.mark.slow
def test_answers_are_as_documented_at_length(stack: RunningStack, bank: Bank, tmp_path: Path) -> None:
    _run(stack, bank, tmp_path, "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "20")
