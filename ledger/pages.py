"""Cursors of pages that are read in the order of an instant and an id."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from typing import Final

from ledger.errors import InvalidInputError

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def cursor_after(at: dt.datetime, identifier: str) -> str:
    """The cursor of the page behind an entry."""
    content = [(at - _EPOCH) // _MICROSECOND, identifier]
    return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")


def read_cursor(cursor: str, *, of: str) -> tuple[dt.datetime, str]:
    """The inverse of :func:`cursor_after`.

    Args:
        cursor: as it was given.
        of: what the pages are of, in the plural, for the error.

    Raises:
        InvalidInputError: no cursor that it could have written.
    """
    bad = InvalidInputError(field="cursor", value=cursor, rule=f"must be next_cursor of a page of {of}, as it was given")
    try:
        microseconds, identifier = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        found = _EPOCH + int(microseconds) * _MICROSECOND, identifier
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError):
        raise bad from None
    # What is no text, or has another spelling, was never given out; nor can a database compare with a NUL or a lone surrogate.
    if not isinstance(identifier, str) or not identifier.isprintable() or cursor_after(*found) != cursor:
        raise bad
    return found
