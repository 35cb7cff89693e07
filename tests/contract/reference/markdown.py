"""What all pages are put together of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MADE = "<!-- Made from the code by `python -m tests.contract.reference`; change the code, not this page. -->"


def page(title: str, *parts: str) -> str:
    """A page: its title, and its parts with an empty line between them."""
    return "\n\n".join([MADE, f"# {title}", *(part for part in parts if part)]) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where there is no row."""
    lines = [f"| {' | '.join(_cell(each) for each in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *lines]) if lines else ""


def code(text: object) -> str:
    """A text as it is typed."""
    return f"`{text}`"


def anchor(heading: str) -> str:
    """What GitHub calls a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def from_docstring(text: str) -> str:
    """A text of the code, in Markdown."""
    plain = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    return " ".join(plain.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
