"""The pages of `docs/reference` say what the code says."""

from __future__ import annotations

import re

import pytest

from infra.settings import Settings
from ledger.refusals import RefusalCode
from starter.api import meanings
from starter.api.problem_codes import PROBLEM_PAGES
from tests.contract.reference import api, docstrings, settings
from tests.contract.reference.markdown import anchor
from tests.contract.reference.record import COMMAND, documents, present


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


def test_no_meaning_is_given_that_nothing_has() -> None:
    document = api.openapi()
    schemas = document["components"]["schemas"].values()
    told = {field.get("description") for schema in schemas for field in schema.get("properties", {}).values()}
    told |= {
        each.get("description") for methods in document["paths"].values() for of in methods.values() for each in of.get("parameters", ())
    }
    assert [where for where, what in (meanings._OF_ALL | meanings._OF_MODELS).items() if what not in told] == []
