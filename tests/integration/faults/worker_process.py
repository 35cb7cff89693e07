"""Workers as processes of a test's own that may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
