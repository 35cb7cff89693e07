"""The pages of `docs/reference` say what the code says."""

from __future__ import annotations

import re

import pytest

from infra.settings import Settings
from ledger.refusals import RefusalCode
from starter.api.problem_codes import PROBLEM_PAGES
from tests.contract.reference import api, docstrings, settings
from tests.contract.reference.markdown import anchor
from tests.contract.reference.record import COMMAND, FOLDER, documents, present


@pytest.fixture(scope="module", name="made")
def made_pages() -> dict[str, str]:
    return documents()


def test_the_pages_are_what_the_code_says(made: dict[str, str]) -> None:
    lying = present()
    different = sorted(path for path in made.keys() | lying.keys() if made.get(path) != lying.get(path))
    assert different == [], f"run {COMMAND}"


def test_nothing_is_left_out(made: dict[str, str]) -> None:
    for methods_path, methods in api.openapi()["paths"].items():
        for method in methods:
            heading = f"{method.upper()} {methods_path}"
            assert f"#{anchor(heading)}" in made["api/README.md"], heading
            assert [path for path, text in made.items() if f"\n## `{heading}`\n" in text], heading
    assert {code for code in PROBLEM_PAGES if f"\n## {code}\n" not in made["problems.md"]} == set()
    assert {code for code in RefusalCode if f"| `{code.value}` |" not in made["refusals.md"]} == set()
    names = {f"CASAFLOW_{name.upper()}" for name in Settings.model_fields} - {"CASAFLOW_OTLP_ENDPOINT"}
    assert {name for name in names if f"| `{name}` |" not in made["settings.md"]} == set()
    for command in ("up", "submit", "transaction reverse", "key rotate", "bench ledger"):
        assert re.search(rf"^#+ `casaflow {command}`$", made["cli.md"], re.MULTILINE), command


def test_a_link_within_the_pages_leads_somewhere(made: dict[str, str]) -> None:
    anchors = {path: {anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)} for path, text in made.items()}
    followed = 0
    for path, text in made.items():
        for target, place in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text):
            file = (FOLDER / path).parent.joinpath(target).resolve().relative_to(FOLDER) if target else path
            assert place in anchors[str(file)], f"{path}: {target}#{place}"
            followed += 1
    assert followed > 500


def test_a_setting_without_a_meaning_or_a_section_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        told: int = 1
        """What it means."""
        silent: int = 2

    with pytest.raises(ValueError, match="say below silent of Silent what it means"):
        docstrings.member_texts(Silent)
    monkeypatch.delitem(settings._SECTIONS, "Kafka")
    with pytest.raises(ValueError, match="12 settings have no section"):
        settings.text()


def test_every_field_and_every_parameter_says_what_it_means() -> None:
    document = api.openapi()
    fields = {
        (name, field): content
        for name, schema in document["components"]["schemas"].items()
        for field, content in schema.get("properties", {}).items()
    }
    parameters = {
        (path, parameter["name"]): parameter
        for path, methods in document["paths"].items()
        for content in methods.values()
        for parameter in content.get("parameters", ())
    }
    assert len(fields) > 400
    assert [where for where, what in (fields | parameters).items() if not what.get("description")] == [], "see starter/api/meanings.py"
