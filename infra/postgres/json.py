"""JSON to and from ``jsonb`` columns. Numbers in it are integers only; decimals travel as strings, so no float can appear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

Model = TypeVar("Model", bound=BaseModel)


def to_jsonb(value: object) -> str:
    """The text of a ``jsonb`` parameter."""
    # NaN and Infinity stay what they are, which PostgreSQL refuses; as null or as text they would be stored.
    return to_json(value, inf_nan_mode="constants").decode()


def from_jsonb(model: type[Model], value: Mapping[str, Any] | None) -> Model | None:
    """The model that a ``jsonb`` column holds; None for SQL NULL.

    The value is written out and read as JSON, since the strict models of ``ledger`` take a date or a decimal from JSON text only.
    """
    return None if value is None else model.model_validate_json(to_jsonb(value))
