"""How `./run test` shares its work out: processes side by side, each with a stack of its own, and the longest work first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import psutil
import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import NodeManager

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

_MOST: Final = 2
"""More only where `PYTEST_XDIST_AUTO_NUM_WORKERS` says so: each process has its own PostgreSQL, Temporal, Kafka and what uses them."""
_BYTES_EACH: Final = 4 * 2**30
"""A stack, and those that some tests start beside it."""
_TOGETHER: Final = "tests/integration/stack"
"""Its files share two stacks, which take a minute to start."""
_LONGEST_FIRST: Final = (
    # These two prove the stack as a whole. Other tests put events of databases of their own on its topics, which no proof allows.
    "tests/integration/check/test_report.py",
    "tests/docs/test_commands.py",
    _TOGETHER,
    "tests/integration/faults/test_matrix.py",
    "tests/acceptance/test_demo.py",
    "tests/acceptance/test_wheel.py",
    "tests/integration/consumers/test_once.py",
    "tests/integration/postgres/test_model.py",
    "tests/integration/postgres/test_statements.py",
    "tests/integration/api/test_sweep.py",
    "tests/integration/observed/test_shutdown.py",
    "tests/integration/faults/test_parts_away.py",
    "tests/integration/faults/test_killed_workers.py",
    "tests/integration/faults/test_killed_files.py",
    "tests/integration/kafka/test_secured.py",
    "tests/integration/temporal/test_versions.py",
    "tests/integration/consumers/test_no_events.py",
    "tests/integration/postgres/test_refold.py",
    "tests/integration/faults/test_waits.py",
    "tests/integration/kafka/test_balance_topic.py",
    "tests/integration/consumers/test_killed_members.py",
)
"""Whatever is not here takes less than half a minute; among those, the tests that need no server come last, so that both end together."""

_WITH_SERVERS: Final = ("tests/integration/", "tests/console/", "tests/acceptance/")

NodeManager.EXIT_TIMEOUT = 300
"""After Ctrl-C, how many seconds each process has to stop its stacks; a process that xdist kills after its own ten leaves them running."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """As many as there are cores, and memory for; one where all tests are to use a stack that runs already."""
    if os.environ.get("CASAFLOW_TEST_STACK"):
        return 0
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    return max(1, min(_MOST, len(os.sched_getaffinity(0)), psutil.virtual_memory().available // _BYTES_EACH))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    return _ByFile(config, log)


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist comes without types
    """All tests of a file run in one process, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return _TOGETHER if file.startswith(f"{_TOGETHER}/") else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=_place), last=False)
        super()._assign_work_unit(node)


def _place(unit: str) -> int:
    """Of all units of work that wait, that with the smallest is the next."""
    if unit in _LONGEST_FIRST:
        return _LONGEST_FIRST.index(unit)
    return len(_LONGEST_FIRST) + (not unit.startswith(_WITH_SERVERS))
