"""`casaflow console`."""

from __future__ import annotations

from pathlib import Path

from tests.stack_fixtures import RunningStack, run_casaflow


def test_console_prints_the_link_with_the_key_in_the_fragment(stack: RunningStack) -> None:
    printed = stack.casaflow("console")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout == f"{stack.api}/console#key={stack.api_key}\n"


def test_console_without_a_stack_says_what_to_do(tmp_path: Path) -> None:
    refused = run_casaflow("console", environment={"CASAFLOW_HOME": str(tmp_path), "PATH": ""}, timeout_seconds=60)
    assert refused.returncode == 3
    assert "casaflow up" in refused.stderr
