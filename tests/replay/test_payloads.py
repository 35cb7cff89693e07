"""What was once written into a history can be read: payloads gain optional fields, and nothing else."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from tests.replay import payloads
from tests.replay.payloads import ADVICE, BASELINE, LATER, _schema, all_breaks, baseline, breaks, main, schemas


def test_every_payload_of_older_histories_can_still_be_read() -> None:
    problems = all_breaks(baseline(), schemas())
    assert not problems, "\n".join([*problems, "", ADVICE])


def test_what_payloads_have_gained_is_written_down() -> None:
    if schemas() != baseline():  # the schemas themselves are too long to be shown
        pytest.fail(LATER)


def test_the_payloads_of_all_workflows_and_activities_are_watched() -> None:
    assert {
        "workflow TransactionWorkflow, argument request",
        "workflow TransactionWorkflow, result",
        "update final_result of TransactionWorkflow, result",
        "query current of TransactionWorkflow, result",
        "activity casa.post, argument posting",
        "activity casa.post, result",
        "activity casa.post_linked, result",
        "activity exchange_rate.quote, argument inquiry",
        "activity notification.publish, argument publication",
    } <= set(schemas())


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    amount: int


class Payload(BaseModel):
    name: str
    colour: Colour = Colour.RED
    inner: Inner
    maybe: Inner | None = None
    several: tuple[Inner, ...] = ()
    title: str = ""
    """Called like a keyword of JSON Schema."""


def _changed(**fields: Any) -> type[BaseModel]:
    """The payload with fields of another kind, or, where None is given, without them."""
    kept = {name: (info.annotation, info) for name, info in Payload.model_fields.items() if fields.get(name, ()) is not None}
    given = {name: field for name, field in fields.items() if field is not None}
    annotations = {name: annotation for name, (annotation, _) in (kept | given).items()}
    defaults = {name: default for name, (_, default) in (kept | given).items() if default is not ...}
    return type("Payload", (BaseModel,), {"__annotations__": annotations, **defaults})


class Gained(BaseModel):
    amount: int
    since: dt.date | None = None


class Lost(BaseModel):
    value: int = 0


class Retyped(BaseModel):
    amount: str


@pytest.mark.parametrize(
    "fields",
    [
        {"later": (str | None, None)},
        {"colour": (Literal["red", "blue", "green"], Field(default="red"))},
        {"inner": (Gained, ...)},
        {"maybe": (Inner | str | None, None)},
        {"name": (str | None, None)},
    ],
    ids=["an optional field", "one more value", "an optional field further down", "one more kind", "optional instead of required"],
)
def test_what_older_payloads_still_fit_is_no_break(fields: dict[str, Any]) -> None:
    assert breaks(_schema(Payload), _schema(_changed(**fields))) == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": None}, "the payload.name is gone"),
        ({"title": None}, "the payload.title is gone"),
        ({"name": (int, ...)}, "the payload.name was string, and is integer"),
        ({"later": (str, ...)}, "the payload.later is required, and older payloads may lack it"),
        ({"colour": (Colour, ...)}, "the payload.colour is required, and older payloads may lack it"),
        ({"colour": (Literal["red"], Field(default="red"))}, "the payload.colour can't be 'blue' any more"),
        ({"name": (Annotated[str, Field(max_length=5)], ...)}, "the payload.name must have maxLength 5, which was None"),
        ({"inner": (Lost, ...)}, "the payload.inner.amount is gone"),
        ({"inner": (Retyped, ...)}, "the payload.inner.amount was integer, and is string"),
        ({"maybe": (Inner, Field(default=Inner(amount=0)))}, "the payload.maybe was null, and is object"),
        ({"several": (tuple[Retyped, ...], ())}, "each of the payload.several.amount was integer, and is string"),
    ],
)
def test_what_makes_older_payloads_unreadable_is_found(fields: dict[str, Any], problem: str) -> None:
    assert problem in breaks(_schema(Payload), _schema(_changed(**fields)))


def test_an_activity_that_is_gone_and_a_new_argument_are_found() -> None:
    old = {"activity a.b, argument x": {"type": "string"}, "activity c.d, result": {"type": "string"}}
    new = {"activity a.b, argument x": {"type": "string"}, "activity a.b, argument y": {"type": "string"}}
    assert all_breaks(old, new) == [
        "activity c.d, result: it is gone",
        "activity a.b, argument y: it is new, and older histories have none",
    ]
    assert all_breaks(old, {**old, "activity e.f, argument z": {"type": "string"}}) == []


def test_a_breaking_change_is_not_written_down_by_mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = BASELINE.read_bytes()
    monkeypatch.setattr(payloads, "schemas", dict)
    with pytest.raises(SystemExit):
        main([])
    said = capsys.readouterr().err
    assert "activity casa.post, argument posting: it is gone" in said
    assert "A new field needs a default" in said
    assert BASELINE.read_bytes() == before


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


def test_words_may_change() -> None:
    other = type("Strict", (Strict,), {"__doc__": "Other words.", "__annotations__": {}})
    assert _schema(Strict) == _schema(other)
