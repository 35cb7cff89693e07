"""Processes of a test's own that are started in no time, to be killed."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil


class Forker:
    """Forks processes off one that has loaded all modules, which takes seconds each time, and has done nothing else."""

    def __init__(self, module: str) -> None:
        """Load a module.

        Args:
            module: its function `main` takes a list of arguments.
        """
        command = [sys.executable, "-m", __name__, module]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started: list[psutil.Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for process in self._started:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.stdin.close()  # type: ignore[union-attr]  # they are pipes
        self._process.stdout.close()  # type: ignore[union-attr]
        self._process.wait()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> psutil.Process:
        """Start a process in the folder of its log."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        process = psutil.Process(int(self._process.stdout.readline()))
        self._started.append(process)
        return process


def _fork(module: str) -> None:
    """Be what processes are forked off: each line of the standard input asks for one, and is answered by its pid."""
    main = importlib.import_module(module).main
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave nothing behind
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.environ.clear()
            os.environ.update(asked["environment"])
            log_file = Path(asked["log"])
            os.chdir(log_file.parent)
            log = os.open(log_file.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for ours, standard in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(ours, standard)
            main(asked["arguments"])
            os._exit(0)
        print(pid, flush=True)  # noqa: T201  the answer


if __name__ == "__main__":
    _fork(sys.argv[1])
