"""Records that are no events are kept with their bytes and the problem, and stop nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from infra.kafka.cloud_events import headers_of
from infra.postgres.database import Database
from tests.integration.consumers.conftest import (
    broken_chains,
    event,
    make_anew,
    member,
    recorded,
    send,
    send_raw,
    until_applied,
)
from tests.stack_fixtures import RunningStack

Headers = list[tuple[str, bytes | None]]


def _headers(topic: str, **changed: bytes | None) -> Headers:
    headers: Headers = [(name, changed.get(name, value)) for name, value in headers_of(event(topic))]
    return [(name, value) for name, value in headers if not (name in changed and changed[name] is None)]


# What is wrong, key, value, headers that differ (None: missing).
BAD: list[tuple[str, bytes | None, bytes | None, dict[str, bytes | None]]] = [
    ("headers are missing: ce_id", b"main/a", b"{}", {"ce_id": None}),
    ("headers are missing: ce_specversion, ce_type", b"main/a", b"{}", {"ce_specversion": None, "ce_type": None}),
    ("ce_specversion is '0.3'", b"main/a", b"{}", {"ce_specversion": b"0.3"}),
    ("a header is not UTF-8", b"main/a", b"{}", {"ce_subject": b"\xff\xfe"}),
    ("must be a UUID", b"main/a", b"{}", {"ce_id": b"not a uuid"}),
    ("must be a UUID", b"main/a", b"{}", {"ce_id": b"\x00"}),
    ("its subject has a zero byte", b"main/a", b"{}", {"ce_subject": b"a\x00b"}),
    ("Invalid isoformat", b"main/a", b"{}", {"ce_time": b"yesterday"}),
    ("has no time zone", b"main/a", b"{}", {"ce_time": b"2026-03-02T09:30:00"}),
    ("out of range", b"main/a", b"{}", {"ce_time": b"0001-01-01T00:00:00+23:59"}),
    ("no key or no value", None, b"{}", {}),
    ("no key or no value", b"main/a", None, {}),
    ("can't decode byte", b"\xff", b"{}", {}),
    ("can't decode byte", b"main/a", b'{"a":"\xff"}', {}),
    ("Expecting", b"main/a", b"not json", {}),
    ("recursion", b"main/a", b"[" * 100_000, {}),
    ("Exceeds the limit", b"main/a", b"9" * 10_000, {}),
    ("its key has a zero byte", b"main/\x00", b"{}", {}),
]


async def test_what_is_no_event_is_kept_with_the_problem_and_its_bytes(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    good, sent = [event(topic)], [_headers(topic, **changed) for _, _, _, changed in BAD]
    await send(stack, good, partition=0)
    for (_, key, value, _), headers in zip(BAD, sent, strict=True):
        await send_raw(stack, [(topic, key, value, headers)], partition=0)
        good.append(event(topic))
        await send(stack, good[-1:], partition=0)
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    rows = recorded(postgres_url, topic)
    assert [row["event_id"] for row in rows[::2]] == [one.event_id for one in good]
    for (problem, key, value, _), headers, bad in zip(BAD, sent, rows[1::2], strict=True):
        assert bad["event_id"] is None
        assert problem.lower() in bad["problem"].lower()
        raw = json.loads(bad["raw_record"])
        assert (_bytes(raw["key"]), _bytes(raw["value"])) == (key, value)
        assert [(_bytes(name), _bytes(text)) for name, text in raw["headers"]] == [(name.encode(), text) for name, text in headers]
        assert bad["payload"] is None
    assert broken_chains(postgres_url) == []


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


async def test_headers_of_others_may_hold_anything(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    sent = event(topic)
    headers: Headers = [("trace", b"\xff\x00\xfe"), ("mirrored-from", None), *headers_of(sent), ("žluťoučký kůň", b"\x80")]
    await send_raw(stack, [(topic, sent.key.encode(), sent.data.encode(), headers)])
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    (row,) = recorded(postgres_url, topic)
    assert row["event_id"] == sent.event_id
    assert row["problem"] is None


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00", "2026-03-02T09:30:00.123456+01:02:03.456789"]
)
async def test_any_instant_that_python_can_tell_is_an_events_time(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str, time: str
) -> None:
    sent = event(topic)
    headers: Headers = [(name, time.encode() if name == "ce_time" else value) for name, value in headers_of(sent)]
    await send_raw(stack, [(topic, sent.key.encode(), sent.data.encode(), headers)])
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    row = _the_only(postgres_url, topic)
    assert row["event_id"] == sent.event_id
    assert broken_chains(postgres_url) == []


def _the_only(url: str, topic: str) -> dict[str, Any]:
    from tests.integration.consumers.conftest import rows  # noqa: PLC0415

    # The year 1 in UTC may be one that Python's own clock arithmetic can't show in another zone: asked for as text.
    (row,) = rows(url, "SELECT CAST(event_id AS text) AS event_id, problem FROM audit.record WHERE topic = %s", topic)
    return row


async def test_what_is_no_event_is_kept_once_when_the_partition_is_read_again(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    same = [(topic, b"key", b"no event", list[Any]())] * 2
    await send_raw(stack, same, partition=0)
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    assert len(recorded(postgres_url, topic)) == 2
    # Read again from the beginning, as after an offset that ran out of range; then the same bytes, and others, in a topic made anew.
    async with member(stack, f"{group}-again", topic, database):
        await until_applied(stack, postgres_url, f"{group}-again", topic)
    assert len(recorded(postgres_url, topic)) == 2
    await make_anew(stack, topic)
    await send_raw(stack, [same[0], (topic, b"key", b"another", [])], partition=0)
    async with member(stack, f"{group}-anew", topic, database):
        await until_applied(stack, postgres_url, f"{group}-anew", topic)
    assert [(row["offset"], base64.b64decode(json.loads(row["raw_record"])["value"])) for row in recorded(postgres_url, topic)] == [
        (0, b"no event"),
        (1, b"no event"),
        (1, b"another"),
    ]
    assert broken_chains(postgres_url) == []
