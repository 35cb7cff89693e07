"""CloudEvents 1.0 on Kafka in binary content mode: attributes travel as ``ce_`` headers, the record's value is the data alone.

Source: CloudEvents 1.0.2, Kafka protocol binding, section 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.events import Event

SPECIFICATION_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/json"


class MalformedEventError(ValueError):
    """A record is not a CloudEvent of casaflow's form."""


class Attributes(BaseModel):
    """What the headers of an event say."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    type: str
    source: str
    subject: str
    time: str
    """RFC 3339, exactly as the header has it."""


def headers_of(event: Event) -> list[tuple[str, bytes]]:
    """The record headers of an event, in a fixed order."""
    return [
        ("ce_specversion", SPECIFICATION_VERSION.encode()),
        ("ce_id", event.event_id.encode()),
        ("ce_type", event.type.encode()),
        ("ce_source", event.source.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", event.time.isoformat().encode()),
        ("content-type", CONTENT_TYPE.encode()),
    ]


def attributes_of(headers: Iterable[tuple[str, bytes | None]]) -> Attributes:
    """Read the headers of a record. Others than casaflow's own may be anything: what mirrors and traces for its own use is no concern here.

    Raises:
        MalformedEventError: a header is missing or isn't UTF-8, or the specification's version is another one.
    """
    names = {"ce_id": "event_id", "ce_type": "type", "ce_source": "source", "ce_subject": "subject", "ce_time": "time"}
    try:
        texts = {name: value.decode() for name, value in headers if value is not None and name in {"ce_specversion", *names}}
    except UnicodeDecodeError as error:
        message = f"a header is not UTF-8: {error}"
        raise MalformedEventError(message) from error
    missing = [name for name in ("ce_specversion", *names) if not texts.get(name)]
    if missing:
        message = f"headers are missing: {', '.join(missing)}"
        raise MalformedEventError(message)
    if texts["ce_specversion"] != SPECIFICATION_VERSION:
        message = f"ce_specversion is {texts['ce_specversion']!r}, not {SPECIFICATION_VERSION!r}"
        raise MalformedEventError(message)
    return Attributes(**{field: texts[name] for name, field in names.items()})
