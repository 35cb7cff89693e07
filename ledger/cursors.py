"""Cursors of pages: where the next page goes on, as a word that callers hand back as it was given."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ledger.errors import InvalidInputError
from ledger.ids import parse_transaction_id

if TYPE_CHECKING:
    from collections.abc import Callable

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def write_cursor(content: list[Any]) -> str:
    """The cursor that holds `content`, which JSON can say."""
    written = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


def read_cursor(cursor: str, rule: str) -> list[Any]:
    """What :func:`write_cursor` has written.

    Raises:
        InvalidInputError: it is no cursor; `rule` says what one is.
    """
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        content = None
    # What has another spelling was never given out.
    if not isinstance(content, list) or write_cursor(content) != cursor:
        raise InvalidInputError(field="cursor", value=cursor, rule=rule)
    return content


def cursor_behind(at: datetime, identifier: str, *search: str) -> str:
    """The cursor of the page behind the one of this time and id; `search` says what is paged through."""
    return write_cursor([(at - _EPOCH) // _MICROSECOND, identifier, *search])


def printable_id(value: object) -> str:
    """An id that is no UUID: whatever a database can compare with, so neither NUL nor a lone surrogate.

    Raises:
        InvalidInputError: anything else.
    """
    if not isinstance(value, str) or not value.isprintable():
        raise InvalidInputError(field="cursor", value=value, rule="must hold a printable id")
    return value


def position_of(
    cursor: str, rule: str, *search: str, identified_by: Callable[[object], str] = parse_transaction_id
) -> tuple[datetime, str]:
    """Instant and id that :func:`cursor_behind` has put into a cursor; `identified_by` checks the id, a UUID unless said otherwise.

    Raises:
        InvalidInputError: it is no cursor, or one of another search; `rule` says what one is.
    """
    try:
        microseconds, identifier, *asked = read_cursor(cursor, rule)
        position = _EPOCH + int(microseconds) * _MICROSECOND, identified_by(identifier)
    except (ValueError, TypeError, OverflowError, InvalidInputError):
        raise InvalidInputError(field="cursor", value=cursor, rule=rule) from None
    if asked != list(search):
        raise InvalidInputError(field="cursor", value=cursor, rule=rule)
    return position
