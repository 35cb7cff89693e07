"""Writing XML as text: messages are streams of small parts, and never stand in memory as a whole."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final
from xml.sax.saxutils import escape, quoteattr

DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'

_NOT_IN_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no form for, not even escaped."""


def element(name: str, *content: str, **attributes: str) -> str:
    """An element; `content` is XML already. Without content there is no element: ISO 20022 has no empty ones."""
    inner = "".join(content)
    if not inner:
        return ""
    written = "".join(f" {key}={quoteattr(legal(value))}" for key, value in attributes.items())
    return f"<{name}{written}>{inner}</{name}>"


def leaf(name: str, text: str | None, *, longest: int | None = None, **attributes: str) -> str:
    """An element with a text, or nothing where there is none.

    Args:
        name: of the element.
        text: any; cut to `longest` characters.
        longest: what its type allows.
        attributes: of the element.
    """
    return element(name, escape(legal((text or "")[:longest])), **attributes)


def legal(text: str) -> str:
    """The text, with U+FFFD in the place of each character that XML can't have. What the API takes has none of them."""
    return _NOT_IN_XML.sub("\ufffd", text)


def instant(at: dt.datetime) -> str:
    """ISODateTime, in UTC."""
    return at.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
