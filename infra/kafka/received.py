"""Events as a group gets them: records of a topic, read as CloudEvents of casaflow's form."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infra.kafka.cloud_events import MalformedEventError, attributes_of
from infra.kafka.records import Record
from ledger.errors import InvalidInputError
from ledger.ids import parse_transaction_id

if TYPE_CHECKING:
    from infra.kafka.records import Partition

_JSON: Final = json.JSONDecoder()


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent:
    """One event, and where it was read."""

    event_id: str
    type: str
    source: str
    subject: str
    time: dt.datetime
    """``ce_time``, in UTC."""
    topic: str
    partition: int
    offset: int
    key: str
    data: str
    """The JSON text, as it was published."""

    @property
    def tenant(self) -> str:
        """Whose event it is: the key's first part."""
        return self.key.partition("/")[0]


def received_event(record: Record, partition: Partition) -> ReceivedEvent:
    """Read a record as an event.

    Raises:
        MalformedEventError: it isn't one of casaflow's.
    """
    attributes = attributes_of(record.headers)
    if record.key is None or record.value is None:
        message = "it has no key or no value"
        raise MalformedEventError(message)
    try:
        key, data, time = record.key.decode(), record.value.decode(), dt.datetime.fromisoformat(attributes.time)
        _JSON.decode(data)
        event_id = parse_transaction_id(attributes.event_id, field="ce_id")
        if time.tzinfo is None:
            message = f"ce_time {attributes.time!r} has no time zone"
            raise MalformedEventError(message)
        # PostgreSQL takes no time zone that is not a whole number of seconds away, nor an instant outside of Python's years.
        time = time.astimezone(dt.UTC)
    except (ValueError, OverflowError, RecursionError, InvalidInputError) as error:
        raise MalformedEventError(str(error)) from error
    values = {"type": attributes.type, "key": key, "source": attributes.source, "subject": attributes.subject, "data": data}
    for name, value in values.items():
        if "\0" in value:
            message = f"its {name} has a zero byte, which PostgreSQL's text can't keep"
            raise MalformedEventError(message)
    return ReceivedEvent(event_id=event_id, time=time, topic=partition.topic, partition=partition.number, offset=record.offset, **values)


def raw_record(record: Record) -> str:
    """Everything in a record, as JSON with base64: ``{"key", "value", "headers": [[name, value]]}``."""

    def coded(value: bytes | None) -> str | None:
        return None if value is None else base64.b64encode(value).decode("ascii")

    headers = [[coded(name.encode("utf-8", "surrogateescape")), coded(value)] for name, value in record.headers]
    return json.dumps({"key": coded(record.key), "value": coded(record.value), "headers": headers}, separators=(",", ":"))


def record_of(raw: str, *, offset: int) -> Record:
    """The record that :func:`raw_record` has written down."""

    def decoded(value: str | None) -> bytes | None:
        return None if value is None else base64.b64decode(value)

    content: dict[str, Any] = json.loads(raw)
    headers = tuple(((decoded(name) or b"").decode("utf-8", "surrogateescape"), decoded(value)) for name, value in content["headers"])
    return Record(offset=offset, key=decoded(content["key"]), value=decoded(content["value"]), headers=headers)
