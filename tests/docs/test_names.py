"""Commands, options, endpoints, settings and links that documents name are there, and every setting is named."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pytest
import typer

from infra.settings import Settings
from starter.cli.main import app
from tests.contract.reference.api import openapi
from tests.contract.reference.command_line import variables
from tests.docs.documents import ROOT, Document, documents

_SCRIPTS_OWN: Final = {"demo", "test", "lint", "check", "lock", "deploy-check", "deploy-tools"}
"""What `./run` has itself, or has as `casaflow` has it."""
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ENDPOINT = re.compile(rf"^(?:({'|'.join(_METHODS)}) )?(/v1/\S*)$")
_VARIABLE = re.compile(r"\bCASAFLOW_[A-Z0-9]+(?:_[A-Z0-9]+)*\b(?!…|\*|_)")
_PLACEHOLDER = re.compile(r"^[A-Z0-9_]{1,}$|[…$<>{}\"']")
ALL = pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)


@ALL
def test_commands_and_options_that_a_document_names_are_there(document: Document) -> None:
    wrong = [f"{document.name}:{line}: `{code}`: {problem}" for line, code in _named_commands(document) for problem in _problems(code)]
    assert not wrong, "\n".join(wrong)


@ALL
def test_endpoints_that_a_document_names_are_there(document: Document) -> None:
    wrong = []
    for line, code in document.inline_code:
        found = _ENDPOINT.match(code)
        if found and not _is_endpoint(found[1], found[2]):
            wrong.append(f"{document.name}:{line}: `{code}` is not in the OpenAPI document")
    assert not wrong, "\n".join(wrong)


@ALL
def test_settings_that_a_document_names_are_there(document: Document) -> None:
    unknown = {name for name in _VARIABLE.findall(document.text) if name not in _variables()}
    assert not unknown, f"{document.name}: there is no {', '.join(sorted(unknown))}"


@ALL
def test_links_lead_somewhere(document: Document) -> None:
    wrong = []
    for line, target in document.links:
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        linked = document.path if not path else document.path.parent / path
        if not linked.exists():
            wrong.append(f"{document.name}:{line}: {target}: there is no such file")
        elif anchor and anchor not in Document(linked.resolve()).anchors:
            wrong.append(f"{document.name}:{line}: {target}: the page has no such heading")
    assert not wrong, "\n".join(wrong)


def test_every_page_can_be_found_from_the_readme() -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop().resolve()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        for _, target in Document(page).links:
            if "://" not in target:
                linked = page.parent / target.partition("#")[0]
                left.extend(linked.glob("*.md") if linked.is_dir() else [linked])
    assert {each.name for each in documents() if each.path.resolve() not in reached} == set()


def _named_commands(document: Document) -> Iterator[tuple[int, str]]:
    yield from document.inline_code
    for block in document.blocks:
        if block.language == "sh":
            text = block.text.replace("\\\n", " ")
            yield from (
                (block.line, line.split(" # ")[0].strip()) for line in text.splitlines() if line.startswith(("casaflow ", "./run "))
            )


def _problems(code: str) -> Iterator[str]:
    """What is wrong with a piece of code, if it is a command of ours; a piece that is an option alone is one of any command."""
    words = _words(code)
    if words[:1] == ["./run"]:
        words = words[1:] if words[1:2] == ["casaflow"] else ["casaflow", *words[1:]]
        if words[1:2] and words[1] in _SCRIPTS_OWN and words[1] != "demo":
            return
    if words[:1] != ["casaflow"] or code.startswith("casaflow["):
        return
    commands = [_command_line()]
    given = words[1:]
    while given and (groups := [command for command in commands if _inner(command)]):
        names = given[0].split("|")
        if any(_PLACEHOLDER.search(name) for name in names) or given[0].startswith("-"):
            break
        found = [_inner(group).get(name) for group in groups for name in names]
        if None in found:
            yield f"there is no command {given[0]!r}"
            return
        commands, given = [command for command in found if command is not None], given[1:]
    for option in (word.partition("=")[0] for several in given for word in several.split("|")):
        if re.match(r"--?[a-z]", option):
            yield from (f"{command.name} has no {option}" for command in commands if not _has_option(command, option))


def _words(code: str) -> list[str]:
    """The words of a command without what a shell does with them; brackets say only that something may be left out."""
    plain = re.split(r" [|>&]+ | 2?> ?|;", code)[0].replace("[", " ").replace("]", " ")
    try:
        return shlex.split(plain)
    except ValueError:
        return plain.split()


def _has_option(command: Any, option: str) -> bool:
    known = {"--help", *(each for parameter in command.params for each in (*parameter.opts, *parameter.secondary_opts))}
    return option in known or command.context_settings.get("ignore_unknown_options", False)  # what hands its options on knows them itself


@cache
def _command_line() -> Any:
    """The command `casaflow`, as Typer makes it of click's classes."""
    return typer.main.get_command(app)


def _inner(command: Any) -> dict[str, Any]:
    """The commands of a group; none of any other command."""
    return getattr(command, "commands", {})


@cache
def _endpoints() -> dict[str, set[str]]:
    """The paths of the API without the names of what is put in, with their methods."""
    paths: dict[str, dict[str, Any]] = openapi()["paths"]
    return {_shape(path): {method.upper() for method in methods} for path, methods in paths.items()}


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}|…", "{}", path.partition("?")[0].rstrip(".,"))


def _is_endpoint(method: str | None, path: str) -> bool:
    shape = _shape(path)
    if shape.endswith("*"):
        return any(known.startswith(shape.rstrip("*")) for known in _endpoints())
    return shape in _endpoints() and (method is None or method in _endpoints()[shape])


@cache
def _variables() -> set[str]:
    """Settings, variables that options read, and those that stand in the code of tests."""
    settings = {_variable(name) for name in Settings.model_fields}
    in_tests = {
        name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"environ.*?(CASAFLOW_\w+)", path.read_text("utf-8"))
    }
    return settings | in_tests | variables().keys()


def _variable(name: str) -> str:
    return f"CASAFLOW_{name.upper()}"
