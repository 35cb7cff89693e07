"""`casaflow env` tells a shell where the stack is, and whose key it has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.stack_fixtures import RunningStack, run_casaflow

_SHOW = 'eval "$(casaflow env)"; printf "%s\\n" "$CASAFLOW_API_URL" "$CASAFLOW_API_KEY"'


def test_a_shell_finds_the_stack_and_its_key(stack: RunningStack) -> None:
    assert _shown(stack) == [stack.api, stack.api_key]


def test_what_the_shell_has_set_already_stays(stack: RunningStack) -> None:
    own = "it's mine; $(echo no)"
    assert _shown(stack, CASAFLOW_API_KEY=own) == [stack.api, own]


def test_without_a_stack_nothing_is_told_but_what_to_do(stack: RunningStack, tmp_path: Path) -> None:
    ended = run_casaflow("env", environment={**stack.environment(), "CASAFLOW_HOME": str(tmp_path)}, timeout_seconds=60)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "casaflow up" in ended.stderr


def _shown(stack: RunningStack, **environment: str) -> list[str]:
    path = f"{Path(sys.executable).parent}:{stack.environment()['PATH']}"
    ended = subprocess.run(
        ["/bin/sh", "-c", _SHOW], env={**stack.environment(), "PATH": path, **environment}, capture_output=True, text=True, check=True
    )
    return ended.stdout.splitlines()
