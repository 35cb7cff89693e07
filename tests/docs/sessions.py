"""One document's commands, run in order as its reader would, on a stack that runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.docs.documents import ROOT, Block, Document
from tests.docs.printed import is_shown

_BLOCK_SECONDS: Final = 300
_AGAIN_SECONDS: Final = 60
_PAUSE_SECONDS: Final = 0.5

NOT_RUN: Final = "not run"
RUN_BY: Final = "run by"
EXIT_CODE: Final = "exit code"
UNTIL: Final = "until"
BEFORE: Final = "before"
REASONS: Final = (NOT_RUN, RUN_BY)
"""Comments that say why a block isn't run here: in words, or as the test that runs it."""
SAYINGS: Final = (*REASONS, EXIT_CODE, UNTIL, BEFORE)
"""All comments that may stand before a block."""

_BEFORE = """
if [ -f "$DOCUMENT_STATE" ]; then . "$DOCUMENT_STATE"; fi
trap 'ended=$?; set +ae; export -p > "$DOCUMENT_STATE"; exit $ended' EXIT
set -ae
"""
"""What a block sets is kept, also where it ends with an error that is expected."""


class DiffersError(AssertionError):
    """A block printed something else than its document shows."""

    def __init__(self, where: str, block: Block, printed: str) -> None:
        self.printed = printed
        shown = block.output.text if block.output is not None else ""
        super().__init__(f"{where}: it shows\n{shown}\nand this was printed:\n{printed}")


@dataclass(frozen=True)
class Session:
    """A shell in an empty folder that looks like a checkout: `./run` is the real one, `.casaflow` the stack's home.

    What a block sets is there in the next one. Each block must end with the exit code 0, or with that of its comment `exit code`.
    """

    folder: Path
    environment: dict[str, str]

    @classmethod
    def begun(cls, folder: Path, home: Path, environment: dict[str, str]) -> Session:
        """A session whose commands find the stack in `home`; `environment` has what else they need."""
        folder.mkdir()
        run = folder / "run"
        run.write_text(f'#!/bin/sh\nexec {shlex.quote(str(ROOT / "run"))} "$@"\n')
        run.chmod(0o755)
        (folder / ".casaflow").symlink_to(home)
        for name in ("docs", "clients", "starter"):
            (folder / name).symlink_to(ROOT / name)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `python` and `casaflow` are those of this environment
        state = str(folder / ".state")
        own = {"CASAFLOW_HOME": str(home), "PATH": path, "DOCUMENT_STATE": state, "COLUMNS": "140", "PYTHONUNBUFFERED": "1"}
        return cls(folder, {**os.environ, **own, **environment})

    def run(self, document: Document, block: Block) -> str:
        """Run a block, which must end as it says and print what is shown below it; what it printed."""
        if BEFORE in block.said:
            self.run(document, Block("sh", block.said[BEFORE], block.line))
        deadline = time.monotonic() + (_AGAIN_SECONDS if UNTIL in block.said else 0)
        while True:
            done = self._once(block)
            wrong = self._wrong(document, block, done)
            if wrong is None:
                return done.stdout
            if time.monotonic() > deadline:
                raise wrong
            time.sleep(_PAUSE_SECONDS)

    def _once(self, block: Block) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", block.text] if block.language == "python" else ["sh", "-c", _BEFORE + block.text]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._with_state(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_BLOCK_SECONDS,
            check=False,
        )

    def _with_state(self) -> dict[str, str]:
        """The environment, with what blocks of the shell have set: Python's blocks see that as well."""
        state = Path(self.environment["DOCUMENT_STATE"])
        if not state.exists():
            return self.environment
        read = ["sh", "-c", f". {shlex.quote(str(state))}; env -0"]
        pairs = subprocess.run(read, env=self.environment, capture_output=True, text=True, check=True).stdout.split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    @staticmethod
    def _wrong(document: Document, block: Block, done: subprocess.CompletedProcess[str]) -> AssertionError | None:
        where = f"{document.name}:{block.line}"
        expected = int(block.said.get(EXIT_CODE, "0"))
        if done.returncode != expected:
            return AssertionError(f"{where}: exit code {done.returncode}, not {expected}\n{block.text}\n{done.stdout}")
        if block.output is not None and not is_shown(block.output.text, done.stdout):
            return DiffersError(where, block, done.stdout)
        return None
