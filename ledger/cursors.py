"""Cursors of pages: where the next page goes on, as a word that callers hand back as it was given."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ledger.errors import InvalidInputError
from ledger.ids import parse_transaction_id

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
    if not isinstance(content, list):
        raise InvalidInputError(field="cursor", value=cursor, rule=rule)
    return content


def cursor_behind(at: datetime, identifier: str, *search: str) -> str:
    """The cursor of the page behind the one of this time and id, a UUID; `search` says what is paged through."""
    return write_cursor([(at - _EPOCH) // _MICROSECOND, identifier, *search])


def position_of(cursor: str, rule: str, *search: str) -> tuple[datetime, str]:
    """Instant and id that :func:`cursor_behind` has put into a cursor.

    Raises:
        InvalidInputError: it is no cursor, or one of another search; `rule` says what one is.
    """
    try:
        microseconds, identifier, *asked = read_cursor(cursor, rule)
        position = _EPOCH + int(microseconds) * _MICROSECOND, parse_transaction_id(identifier)
    except (ValueError, TypeError, OverflowError, InvalidInputError):
        raise InvalidInputError(field="cursor", value=cursor, rule=rule) from None
    if asked != list(search):
        raise InvalidInputError(field="cursor", value=cursor, rule=rule)
    return position
