"""A command's exit code and output are whole, whatever Temporal's threads do at that moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import temporalio.bridge.temporal_sdk_bridge
from starter.cli.main import main

class AbortsWhenTheInterpreterIsTakenDown:
    abort = os.abort
    def __del__(self):
        self.abort()

sys.aborts = AbortsWhenTheInterpreterIsTakenDown()
sys.argv = ["casaflow", *{arguments}]
main()
"""


@pytest.mark.parametrize(("arguments", "code", "said"), [(["--help"], 0, "Usage"), (["no-such-command"], 2, "No such command")])
def test_a_command_that_talked_to_temporal_ends_with_its_own_exit_code(arguments: list[str], code: int, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(arguments=arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, said in ended.stdout + ended.stderr) == (code, True), ended.stderr
