"""What is published about the events is what they are: schemas, the AsyncAPI document, and the files of both."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker

from infra.kafka import asyncapi
from infra.kafka.cloud_events import headers_of
from ledger.balances import BALANCE_V1
from ledger.event_types import EVENT_TYPES, EventType, schema_of
from ledger.events import Event
from tests.contract import record
from tests.contract.record import ADVICE, BASELINE, DOCUMENTS, LATER, all_breaks, baseline, documents, published

OFFICIAL = json.loads((Path(__file__).with_name("asyncapi") / "3.0.0.json").read_text(encoding="utf-8"))
"""By the AsyncAPI initiative."""
LEG = {"instruction", "leg", "account_id", "amount", "conversion", "value_date", "booked_at", "version"}
LEG |= {"ledger_balance_after", "available_balance_after"}
HOLD = {"tenant", "hold_id", "account_id", "status", "amount", "captured", "remaining", "released", "capture", "transaction_id"}
HOLD |= {"reference", "authorised_by", "authorised_at", "expires_at", "changed_at"}
TRANSACTION = {"instruction", "status", "reason", "legs", "finished_at"}
STATE = {"tenant", "account_id", "currency", "status", "version", "debited", "held", "ledger_balance", "available_balance", "as_of"}
DETAILS = {
    name: STATE if name == BALANCE_V1 else HOLD if ".hold-" in name else LEG if ".casa." in name else TRANSACTION for name in EVENT_TYPES
}

types = pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)
formats = FormatChecker(["date", "uuid"])


@formats.checks("date-time", raises=ValueError)
def _is_instant(value: object) -> bool:
    return not isinstance(value, str) or dt.datetime.fromisoformat(value).tzinfo is not None


def _validator(event_type: EventType) -> Draft202012Validator:
    return Draft202012Validator(schema_of(event_type), format_checker=formats)


def _examples() -> list[Any]:
    found = [(event_type, example) for event_type in EVENT_TYPES.values() for example in asyncapi.examples_of(event_type)]
    return [pytest.param(event_type, example, id=example["name"]) for event_type, example in found]


# ---- files ----


def test_the_committed_files_are_what_the_models_say() -> None:
    found = {str(file.relative_to(DOCUMENTS)): file.read_text(encoding="utf-8") for file in DOCUMENTS.rglob("*.json")}
    if found != documents():  # too long to be shown
        pytest.fail(LATER)


def test_the_guide_for_readers_lists_every_type() -> None:
    lines = (DOCUMENTS / "README.md").read_text(encoding="utf-8").splitlines()
    listed = [tuple(cell.strip(" `") for cell in line.split("|")[1:4]) for line in lines if line.startswith("| `casaflow.")]
    assert listed == [(name, event_type.topic, event_type.key) for name, event_type in EVENT_TYPES.items()]


def test_nothing_that_readers_rely_on_has_changed() -> None:
    problems = all_breaks(baseline(), published())
    assert not problems, "\n".join([*problems, "", ADVICE])


def test_what_events_have_gained_is_written_down() -> None:
    if published() != baseline():  # too long to be shown
        pytest.fail(LATER)


def test_a_break_is_not_written_down_by_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    before = BASELINE.read_bytes()
    broken = copy.deepcopy(published())
    del broken["types"]["casaflow.casa.debited.v1"]["data"]["properties"]["version"]
    monkeypatch.setattr(record, "published", lambda: broken)
    with pytest.raises(SystemExit) as refused:
        record.main([])
    assert str(refused.value).startswith("casaflow.casa.debited.v1: the event.version is gone\n")
    assert "a new type beside the old one" in str(refused.value)
    assert BASELINE.read_bytes() == before


def test_a_type_that_is_gone_or_comes_elsewhere_is_a_break() -> None:
    now = copy.deepcopy(published())
    now["types"]["casaflow.casa.credited.v1"] |= {"topic": "elsewhere", "key": "<account_id>"}
    now["types"]["casaflow.casa.credited.v2"] = now["types"].pop("casaflow.casa.debited.v1")
    now["headers"]["required"].remove("ce_time")
    assert all_breaks(baseline(), now) == [
        "the header.ce_time was always there, and may be absent",
        "casaflow.casa.credited.v1: its topic was casa.balance-updated, and is elsewhere",
        "casaflow.casa.credited.v1: its key was <tenant>/<account_id>, and is <account_id>",
        "casaflow.casa.debited.v1: it is gone",
    ]


# ---- schemas ----


@types
def test_a_schema_is_one_and_every_field_is_described(event_type: EventType) -> None:
    schema = schema_of(event_type)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].endswith(event_type.name)
    for part in (schema, *schema["$defs"].values()):
        assert part["description"], part["title"]
        for name, field in part.get("properties", {}).items():
            assert field.get("description"), f"{part['title']}.{name}"


@types
def test_an_event_has_all_details(event_type: EventType) -> None:
    schema = schema_of(event_type)
    always = schema["required"]
    assert set(always) == DETAILS[event_type.name]
    definitions = schema["$defs"]
    assert {"value", "currency"} == set(definitions["Amount"]["required"])
    if "instruction" in always:
        instruction = definitions["Instruction"]
        assert {"tenant", "transaction_id", "debtor", "creditor", "instructed", "reference", "remittance_information"} <= {
            *instruction["required"]
        }
        assert {"settlement", "shares", "fee", "hold_id", "reverses"} <= set(instruction["properties"])
        assert {"rate", "rate_source", "rate_as_of", "source", "target"} <= set(definitions["ConversionDetails"]["required"])
    if "legs" in always:
        assert set(definitions["LegDetails"]["properties"]) == {
            *("leg", "account_id", "outcome", "amount", "conversion", "value_date", "decided_at"),
            *("version", "ledger_balance_after", "available_balance_after", "reason"),
        }


@pytest.mark.parametrize(("event_type", "example"), _examples())
def test_a_published_event_fits_its_schema_and_no_other_type_s(event_type: EventType, example: dict[str, Any]) -> None:
    _validator(event_type).validate(example["payload"])
    Draft202012Validator(asyncapi.headers_schema(), format_checker=formats).validate(example["headers"])
    fitting = [name for name, other in EVENT_TYPES.items() if _validator(other).is_valid(example["payload"])]
    assert fitting == [event_type.name]


@types
def test_every_type_has_an_example(event_type: EventType) -> None:
    assert asyncapi.examples_of(event_type)


# ---- the AsyncAPI document ----


def test_the_document_is_asyncapi_by_the_official_schema() -> None:
    Draft7Validator(OFFICIAL).validate(asyncapi.document())
    wrong = copy.deepcopy(asyncapi.document())
    wrong["operations"]["sendBalanceUpdated"]["action"] = "publish"
    wrong["channels"]["balanceUpdated"]["bindings"]["kafka"]["partitions"] = 0
    paths = {error.json_path for error in Draft7Validator(OFFICIAL).iter_errors(wrong)}
    assert any("operations.sendBalanceUpdated" in path for path in paths)
    assert any("channels.balanceUpdated" in path for path in paths)


def _references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _at(document: dict[str, Any], reference: str) -> dict[str, Any]:
    found: Any = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    assert isinstance(found, dict)
    return found


def test_the_document_refers_to_nothing_outside() -> None:
    document = asyncapi.document()
    references = set(_references(document))
    assert references
    for reference in references:
        assert _at(document, reference)


def test_the_document_says_on_which_topic_a_type_is_and_under_which_key() -> None:
    document = asyncapi.document()
    told = {}
    for channel in document["channels"].values():
        for name, reference in channel["messages"].items():
            message = _at(document, reference["$ref"])
            assert message["name"] == name
            told[name] = (channel["address"], message["bindings"]["kafka"]["key"]["description"].split("`")[1])
    assert told == {name: (event_type.topic, event_type.key) for name, event_type in EVENT_TYPES.items()}
    for operation in document["operations"].values():
        channel = _at(document, operation["channel"]["$ref"])
        assert [reference["$ref"].rpartition("/")[2] for reference in operation["messages"]] == list(channel["messages"])


@pytest.mark.parametrize(("event_type", "example"), _examples())
def test_an_example_fits_what_the_document_says_of_its_message(event_type: EventType, example: dict[str, Any]) -> None:
    document = asyncapi.document()
    message = document["components"]["messages"][event_type.name]
    for part in ("headers", "payload"):
        Draft7Validator({**message[part], "components": document["components"]}).validate(example[part])
    assert message["examples"].index(example) >= 0


def test_the_headers_are_those_of_an_event() -> None:
    event = Event(
        event_id="e", topic="t", key="k", type="x", source="s", subject="u", time=dt.datetime(2026, 3, 2, tzinfo=dt.UTC), data="{}"
    )
    assert asyncapi.headers_schema()["required"] == [name for name, _ in headers_of(event)]
