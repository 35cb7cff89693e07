"""Whether what a command printed is what its document shows.

A document may be written some time before it is run, on another machine. So, in what it shows,

- `…` stands for any text within a line, and a line that is `…` alone for any number of lines;
- a UUID stands for any UUID, an instant (`2026-11-29T03:02:11.123456Z`), a day or a time of day for any;
- blanks count as one, since the width of a column depends on what stands in it.
"""

from __future__ import annotations

import re
from typing import Final

_ANY: Final = "…"
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_INSTANT: Final = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?"
_DAY: Final = r"\d{4}-\d\d-\d\d"
_TIME: Final = r"\d\d:\d\d:\d\d(?:\.\d+)?"
_SPECIAL = re.compile(rf"(?P<any>{_ANY})|(?P<uuid>{_UUID})|(?P<instant>{_INSTANT})|(?P<day>{_DAY})|(?P<time>{_TIME})|(?P<blanks>[ \t]+)")
_PATTERNS: Final = {"any": r".*", "uuid": _UUID, "instant": _INSTANT, "day": _DAY, "time": _TIME, "blanks": r"[ \t]+"}


def is_shown(shown: str, printed: str) -> bool:
    """Whether `printed` is what `shown` stands for."""
    return re.fullmatch(_pattern(shown), _tidy(printed)) is not None


def _pattern(shown: str) -> str:
    pattern = ""
    for line in _tidy(shown).splitlines(keepends=True):
        pattern += r"(?:.*\n)*" if line.strip() == _ANY else _line_pattern(line)
    return pattern


def _line_pattern(line: str) -> str:
    pattern, end = "", 0
    for found in _SPECIAL.finditer(line):
        pattern += re.escape(line[end : found.start()]) + _PATTERNS[found.lastgroup or ""]
        end = found.end()
    return pattern + re.escape(line[end:])


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    return "".join(f"{line}\n" for line in lines)
