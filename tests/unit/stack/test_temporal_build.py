"""What is built of Temporal's modules: what the lock file pins, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.stack.model import StackError
from infra.stack.temporal_build import _Compiler, _source

_MODULE = {"path": "go.temporal.io/server", "version": "v1.32.2", "sum": "h1:pinned"}


def _compiler_that_fetches(folder: Path, answer: dict[str, Any]) -> _Compiler:
    """In place of Go, a program that says it has fetched something."""
    program = folder / "root" / "bin" / "go"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    program.chmod(0o755)
    (folder / "work").mkdir()
    return _Compiler(folder / "root", folder / "work")


def _fetched(folder: Path, digest: str) -> dict[str, Any]:
    module = folder / "fetched"
    module.mkdir()
    (module / "go.mod").write_text("module go.temporal.io/server\n")
    return {"Dir": str(module), "Sum": digest}


def test_the_pinned_module_is_built_outside_of_the_folder_of_modules(tmp_path: Path) -> None:
    compiler = _compiler_that_fetches(tmp_path, _fetched(tmp_path, "h1:pinned"))
    assert (_source(compiler, _MODULE) / "go.mod").exists()


def test_a_module_with_another_content_is_refused(tmp_path: Path) -> None:
    compiler = _compiler_that_fetches(tmp_path, _fetched(tmp_path, "h1:another"))
    with pytest.raises(StackError, match=r"h1:another.*nothing was built"):
        _source(compiler, _MODULE)
    assert not (tmp_path / "work" / "source").exists()


def test_a_module_that_can_not_be_had_is_named(tmp_path: Path) -> None:
    compiler = _compiler_that_fetches(tmp_path, {"Error": "not found"})
    with pytest.raises(StackError, match=r"go.temporal.io/server@v1.32.2 failed: not found"):
        _source(compiler, _MODULE)


def test_what_a_user_has_set_for_other_machines_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOARCH", "riscv64")
    monkeypatch.setenv("GOROOT", "/elsewhere")
    environment = _Compiler(tmp_path / "root", tmp_path / "work").environment
    assert "GOARCH" not in environment
    assert environment["GOROOT"] == str(tmp_path / "root")
