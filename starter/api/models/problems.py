"""What went wrong, as the API says it."""

from __future__ import annotations

from typing import Any

from starter.api.models.fields import Answer


class WrongField(Answer):
    """A field that breaks a rule."""

    field: str
    """Its name, with its path: `metadata.channel`."""
    value: Any
    """What was given; null where it was missing. Long values are cut."""
    rule: str


class Problem(Answer):
    """What went wrong, by RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    """Stable; for programs."""
    detail: str
    errors: list[WrongField] | None = None
