"""The image: what goes into it, and that its steps lead to a casaflow that runs where it may write nothing."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, Tool, succeeded

IMAGE = DEPLOY / "image"
DOCKERFILE = IMAGE / "Dockerfile"
_PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==([^ ;]+)", re.MULTILINE)


def _pins(path: Path) -> dict[str, str]:
    return dict(_PIN.findall(path.read_text(encoding="utf-8")))


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each in one line, without comments."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if line.strip() and not line.strip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined)]


@pytest.mark.deploy
def test_the_dockerfile_has_no_fault_that_hadolint_knows(tool: Tool) -> None:
    succeeded(tool("hadolint", "--no-color", "--failure-threshold", "info", DOCKERFILE))


def test_the_image_has_the_tested_versions_of_what_processes_load_and_nothing_else() -> None:
    tested, shipped = _pins(ROOT / "requirements.lock"), _pins(IMAGE / "production.lock")
    assert {name: version for name, version in shipped.items() if tested.get(name) != version} == {}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[\[=]", each)[0].lower() for each in wanted["project"]["dependencies"]} - {"casaflow-client"}
    assert names <= set(shipped)
    not_shipped = [*wanted["project"]["optional-dependencies"]["embedded"], *wanted["dependency-groups"]["dev"]]
    assert {name for each in not_shipped if (name := re.split(r"[\[=]", each)[0].lower()) in shipped} <= {"markdown-it-py"}, (
        "but for Rich's"
    )


def test_wheels_are_built_by_the_tested_versions() -> None:
    tested = _pins(ROOT / "requirements.lock")
    built_by = _pins(IMAGE / "build.lock")
    assert "hatchling" in built_by
    assert {name: version for name, version in built_by.items() if tested.get(name) != version} == {}


def test_the_container_is_not_root_and_says_how_it_is() -> None:
    last = _instructions()
    last = last[max(place for place, (name, _) in enumerate(last) if name == "FROM") :]
    told = dict(last)
    user, _, group = told["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert "CMD" in told["HEALTHCHECK"]
    assert told["STOPSIGNAL"] == "SIGTERM"


def _context(to: Path) -> None:
    """What a build would be sent: what `.dockerignore` lets through, the last line that fits deciding."""
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in told.stdout.splitlines():
        parts = [name, *(str(parent) for parent in Path(name).parents)]
        sent = True
        for line in lines:
            pattern = line.removeprefix("!")
            if any(fnmatch.fnmatchcase(part, pattern) or fnmatch.fnmatchcase(part, pattern.replace("**/", "*")) for part in parts):
                sent = line.startswith("!")
        if sent and (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


@pytest.mark.deploy
def test_the_steps_of_the_image_lead_to_a_casaflow_that_runs_without_writing(tmp_path: Path) -> None:
    """Each RUN of the Dockerfile, as it stands, in folders of this machine: what only a container engine could add is the base image."""
    places = {"/opt/casaflow": tmp_path / "opt", "/build": tmp_path / "build", "/wheels": tmp_path / "wheels"}
    source = tmp_path / "src"
    source.mkdir()
    _context(source)
    assert {path.name for path in (source / "infra" / "deploy").iterdir()} == {"image"}
    assert not (source / "tests").exists()
    assert not (source / ".venv").exists()
    # Files are compiled beside their sources there, whatever the tests do with theirs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    for name, rest in _instructions():
        if name == "RUN":
            command = rest
            for inside, here in places.items():
                command = re.sub(rf"(?<![\w.]){inside}(?=[/ ]|$)", str(here), command)
            done = subprocess.run(["/bin/sh", "-euc", command], cwd=source, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    installed = tmp_path / "opt"
    assert list(installed.glob("lib/*/site-packages/infra/settings.py"))
    assert not list(installed.glob("lib/*/site-packages/infra/deploy"))
    assert not list(installed.glob("lib/*/site-packages/pip"))
    before = {path: path.stat().st_mtime_ns for path in installed.rglob("*")}
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o500)
    helped = subprocess.run(
        [str(installed / "bin" / "casaflow"), "api", "--help"],
        cwd=empty, env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1", "CASAFLOW_HOME": "/nonexistent"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert helped.returncode == 0, helped.stderr
    assert {path: path.stat().st_mtime_ns for path in installed.rglob("*")} == before
    # Compiled beforehand, and so that times don't matter.
    compiled = next(installed.glob("lib/*/site-packages/infra/__pycache__/settings.*.pyc")).read_bytes()
    assert int.from_bytes(compiled[4:8], "little") == 1
