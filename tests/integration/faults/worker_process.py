"""Workers as processes of a test's own that may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from infra.settings import Settings


def environment_of(settings: Settings, folder: Path) -> dict[str, str]:
    """Of a worker whose log is `worker.log` in the folder."""
    assert settings.postgres_url is not None
    return {
        **os.environ,
        "CASAFLOW_HOME": str(folder),
        "CASAFLOW_TASK_QUEUE": settings.task_queue,
        "CASAFLOW_POSTGRES_URL": settings.postgres_url.get_secret_value(),
        "CASAFLOW_TEMPORAL_ADDRESS": str(settings.temporal_address),
        "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": str(settings.kafka_bootstrap_servers),
        "CASAFLOW_RATES_SOURCE": settings.rates_source,
        "CASAFLOW_RATES_MAX_AGE_DAYS": str(settings.rates_max_age_days),
        "PYTHONSAFEPATH": "1",
    }


@contextmanager
def worker_process(settings: Settings, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m worker`, as the stack starts it."""
    environment = environment_of(settings, folder)
    with (
        (folder / "worker.log").open("ab") as log,
        subprocess.Popen([sys.executable, "-m", "worker"], cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


class WorkerForker:
    """Forks workers off a process that has loaded all modules, which takes seconds each time, and has done nothing else."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
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

    def start(self, environment: Mapping[str, str], folder: Path) -> psutil.Process:
        """Start a worker in the folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"environment": dict(environment), "folder": str(folder)}) + "\n")
        self._process.stdin.flush()
        process = psutil.Process(int(self._process.stdout.readline()))
        self._started.append(process)
        return process


def _fork_workers() -> None:
    """Be what workers are forked off: each line of the standard input asks for one, and is answered by its pid."""
    import worker  # noqa: PLC0415  the test's own process needs none of it

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave nothing behind
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.environ.clear()
            os.environ.update(asked["environment"])
            os.chdir(asked["folder"])
            log = os.open("worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for ours, standard in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(ours, standard)
            worker.main([])
            os._exit(0)
        print(pid, flush=True)  # noqa: T201  the answer


if __name__ == "__main__":
    _fork_workers()
