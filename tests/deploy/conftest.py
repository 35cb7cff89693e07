"""What the checks of `infra/deploy` share. Those that need a tool ask for the fixture `tool`, and are marked `deploy`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import HOW, folder

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "infra" / "deploy"
OBSERVABILITY = DEPLOY / "observability"

Tool = Callable[..., subprocess.CompletedProcess[str]]


def _run(name: str, *arguments: str | Path, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> Any:
    return subprocess.run(
        [str(folder() / "bin" / name), *map(str, arguments)],
        input=stdin, env=None if environment is None else dict(environment), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Runs one of the tools, and tells how it ended."""
    if not folder().exists():
        pytest.fail(HOW)
    return _run


@pytest.fixture(scope="session")
def schemas(tool: Tool) -> Path:
    """The schemas of Kubernetes' objects, and of those that KEDA and the Prometheus operator add."""
    return folder() / "schemas"


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """What it printed; fails with what it said otherwise."""
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def load(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))
