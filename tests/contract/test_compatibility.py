"""Each kind of change that could break a reader is found, and additions are none."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from ledger.event_types import EVENT_TYPES, EventType, schema_of
from tests.contract.compatibility import breaks
from tests.schemas import Schema, without_words


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    amount: int


class Data(BaseModel):
    name: str
    day: dt.date
    number: Annotated[str, Field(pattern="^[0-9]+$", max_length=9)]
    colour: Colour
    inner: Inner
    maybe: Inner | None
    several: tuple[Inner, ...]
    texts: dict[str, str]
    later: str | None = None
    title: str = ""
    """Called like a keyword of JSON Schema."""


class Gained(BaseModel):
    """An `Inner` with one more field."""

    amount: int
    since: dt.date | None = None


class Lost(BaseModel):
    value: int = 0


class Retyped(BaseModel):
    amount: str


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    amount: int


def _schema(model: type[BaseModel]) -> Schema:
    found = without_words(model.model_json_schema(mode="serialization"), defaults=True)
    assert isinstance(found, dict)
    return found


def _changed(**fields: Any) -> Schema:
    """The schema with fields of another kind, or, where None is given, without them."""
    kept: dict[str, tuple[Any, Any]] = {
        name: (info.annotation, info) for name, info in Data.model_fields.items() if fields.get(name, ()) is not None
    }
    given = {name: field if isinstance(field, tuple) else (field, ...) for name, field in fields.items() if field is not None}
    annotations = {name: annotation for name, (annotation, _) in (kept | given).items()}
    defaults = {name: default for name, (_, default) in (kept | given).items() if default is not ...}
    return _schema(type("Data", (BaseModel,), {"__annotations__": annotations, **defaults}))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"new": (str | None, None)},
        {"new": (Colour, Colour.RED)},
        {"inner": Gained},
        {"maybe": Gained | None},
        {"several": tuple[Gained, ...]},
    ],
    ids=["nothing", "a field", "a field with a set of values", "a field further down", "one in what may be null", "one in each of several"],
)
def test_an_addition_breaks_nobody(fields: dict[str, Any]) -> None:
    assert breaks(_schema(Data), _changed(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": None}, "the event.name is gone"),
        ({"later": None}, "the event.later is gone"),
        ({"title": None}, "the event.title is gone"),
        ({"name": int}, "the event.name was string, and is integer"),
        ({"name": str | None}, "the event.name may be null, which it never was"),
        ({"name": str | int}, "the event.name may be integer, which it never was"),
        ({"name": (str, "")}, "the event.name was always there, and may be absent"),
        ({"title": str}, "the event.title is always there, and older events lack it"),
        ({"new": str}, "the event.new is always there, and older events lack it"),
        ({"later": (str, "")}, "the event.later could be null, and can't any more"),
        ({"title": (str, "none")}, "the event.title meant '' where it was absent, and means 'none'"),
        ({"later": (str | None, "")}, "the event.later meant None where it was absent, and means ''"),
        ({"colour": Literal["red", "blue", "green"]}, "the event.colour may be 'green', which its readers don't know"),
        ({"colour": Literal["red"]}, "the event.colour can't be 'blue' any more"),
        ({"colour": str}, "the event.colour was one of ['red', 'blue'], and may be anything"),
        ({"name": Colour}, "the event.name could be anything, and is one of ['red', 'blue']"),
        ({"day": dt.datetime}, "the event.day had format 'date', and has 'date-time'"),
        ({"day": str}, "the event.day had format 'date', and has None"),
        ({"name": dt.date}, "the event.name had format None, and has 'date'"),
        (
            {"number": Annotated[str, Field(pattern="^[0-9]*$", max_length=9)]},
            "the event.number had pattern '^[0-9]+$', and has '^[0-9]*$'",
        ),
        ({"number": Annotated[str, Field(pattern="^[0-9]+$", max_length=8)]}, "the event.number had maxLength 9, and has 8"),
        ({"number": Annotated[str, Field(pattern="^[0-9]+$", max_length=10)]}, "the event.number had maxLength 9, and has 10"),
        ({"inner": Lost}, "the event.inner.amount is gone"),
        ({"inner": Retyped}, "the event.inner.amount was integer, and is string"),
        ({"inner": Closed}, "the event.inner had additionalProperties True, and has False"),
        ({"maybe": Inner}, "the event.maybe could be null, and can't any more"),
        ({"maybe": Retyped | None}, "the event.maybe.amount was integer, and is string"),
        ({"several": tuple[Retyped, ...]}, "each of the event.several.amount was integer, and is string"),
        ({"several": tuple[Inner, Inner]}, "the event.several had 0 places, and has 2"),
        ({"texts": dict[str, int]}, "each of the event.texts was string, and is integer"),
        ({"texts": dict[str, str | None]}, "each of the event.texts may be null, which it never was"),
        ({"texts": dict[str, Any]}, "each of the event.texts was string, and is anything"),
    ],
)
def test_what_breaks_a_reader_is_found(fields: dict[str, Any], problem: str) -> None:
    assert problem in breaks(_schema(Data), _changed(**fields))


# ---- and in the real schemas, at every field ----


def _remove(part: Schema, name: str) -> None:
    del part["properties"][name]
    part["required"] = [each for each in part["required"] if each != name]


def _retype(part: Schema, name: str) -> None:
    part["properties"][name] = {"type": "number"}


def _leave_out_at_times(part: Schema, name: str) -> None:
    required = name in part["required"]
    part["required"] = [each for each in part["required"] if each != name] if required else [*part["required"], name]


def _widen(part: Schema, name: str) -> None:
    part["properties"][name] = {"anyOf": [part["properties"][name], {"type": "number"}]}


def _bound(part: Schema, name: str) -> None:
    field = part["properties"][name]
    part["properties"][name] = {**field, "anyOf": field["anyOf"][:1]} if "anyOf" in field else {"const": "this only"}


CHANGES: list[Callable[[Schema, str], None]] = [_remove, _retype, _leave_out_at_times, _widen, _bound]


def _fields(schema: Schema) -> Iterator[tuple[str | None, str]]:
    parts: list[tuple[str | None, Schema]] = [(None, schema), *schema["$defs"].items()]
    for definition, part in parts:
        for name in part.get("properties", {}):
            yield definition, name


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_no_field_of_an_event_changes_unseen(event_type: EventType, change: Callable[[Schema, str], None]) -> None:
    schema = without_words(schema_of(event_type), defaults=True)
    assert breaks(schema, schema) == []
    fields = list(_fields(schema))
    assert len(fields) > 10
    for definition, name in fields:
        other = copy.deepcopy(schema)
        change(other if definition is None else other["$defs"][definition], name)
        assert breaks(schema, other), f"{definition or 'the event'}.{name}"
