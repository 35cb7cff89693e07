"""Workflow code asks nothing but its history: no clock, no randomness, no input or output. Temporal's sandbox is off, so this looks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import workflows

FOLDER = Path(workflows.__file__).parent

ALLOWED_MODULES = {
    "__future__",
    "asyncio",
    "collections.abc",
    "contextlib",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "itertools",
    "json",
    "math",
    "typing",
    "uuid",
    "pydantic",
    "temporalio",
    "ledger",
    "activities",
    "workflows",
}
"""And what is below them. A module that isn't here has to be looked at before it is added."""
FORBIDDEN_CALLS = {
    "open",
    "input",
    "print",
    "eval",
    "exec",
    "id",
    "hash",
    "now",
    "utcnow",
    "today",
    "time",
    "monotonic",
    "perf_counter",
    "uuid1",
    "uuid4",
    "urandom",
    "to_thread",
    "run_in_executor",
    "get_running_loop",
    "get_event_loop",
    "as_completed",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "open_connection",
    "set",
    "frozenset",
}
"""Names that are called, with or without a module before them."""
OF_THE_WORKFLOW = {"workflow.now", "workflow.time", "workflow.uuid4", "workflow.as_completed", "workflow.wait"}
"""Temporal's own, which answer the same when a history is replayed."""


def broken_rules(code: str, allowed: frozenset[str] = frozenset()) -> list[str]:
    """What in this code would answer otherwise when it is replayed; each with its line."""
    found: list[str] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        else:
            names = []
        found += [f"{node.lineno}: imports {name}" for name in names if not _is_allowed(name)]  # type: ignore[attr-defined]  # an import
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            last = called.rpartition(".")[2]
            waits_for_a_set = called in {"asyncio.wait", "asyncio.as_completed"}
            if (last in FORBIDDEN_CALLS or waits_for_a_set) and called not in OF_THE_WORKFLOW and called not in allowed:
                found.append(f"{node.lineno}: calls {called}")
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.iter, ast.Set | ast.SetComp):
            found.append(f"{node.iter.lineno}: goes through a set, which has no order")
        if isinstance(node, ast.Global):
            found.append(f"{node.lineno}: changes the module's {', '.join(node.names)}, which all workflows share")
    return found


def _is_allowed(module: str) -> bool:
    return any(module == allowed or module.startswith(f"{allowed}.") for allowed in ALLOWED_MODULES)


OF_THE_PROCESS: dict[str, list[str]] = {}
"""By file, what it may do since no workflow does it: the composition root does."""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_workflow_code_asks_nothing_but_its_history(path: Path) -> None:
    found = [rule for rule in broken_rules(path.read_text()) if rule.partition(": ")[2] not in OF_THE_PROCESS.get(path.name, [])]
    assert found == [], f"{path.name}: replayed, this would not do the same: {found}"


@pytest.mark.parametrize(
    "code",
    [
        "import random",
        "import time",
        "from os import environ",
        "import socket",
        "from temporalio_other import x",
        "from infra.settings import Settings",
        "datetime.now()",
        "dt.datetime.now(dt.UTC)",
        "dt.date.today()",
        "uuid.uuid4()",
        "time.time()",
        "open('file')",
        "asyncio.to_thread(work)",
        "asyncio.wait([first, second])",
        "asyncio.get_running_loop().time()",
        "for name in {'a', 'b'}: pass",
        "[name for name in {'a', 'b'}]",
        "for name in set(names): pass",
        "def f():\n    global count\n    count = 1",
    ],
)
def test_what_would_answer_otherwise_when_replayed_is_found(code: str) -> None:
    assert broken_rules(code) != []


@pytest.mark.parametrize(
    "code",
    [
        "from temporalio import workflow",
        "import datetime as dt",
        "workflow.now()",
        "workflow.uuid4()",
        "await workflow.wait([first, second])",
        "for name in names: pass",
        "asyncio.create_task(story)",
        "asyncio.shield(task)",
    ],
)
def test_what_temporal_answers_from_the_history_is_allowed(code: str) -> None:
    assert broken_rules(code) == []
