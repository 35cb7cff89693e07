"""What all answers have in common."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationInfo, field_validator


class Model(BaseModel):
    """Base of all models. A field that a later version of the API adds is kept, and doesn't break an earlier client."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    _content: dict[str, Any] = PrivateAttr(default_factory=dict)
    _status: int = PrivateAttr(default=0)

    @field_validator("*", mode="before")
    @classmethod
    def _no_float_for_an_amount(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401  whatever a caller gives
        """A float is refused for an amount, though pydantic would take it: it may not be what was meant (0.1 + 0.2)."""
        given = value.values() if isinstance(value, dict) else (value,)
        field = cls.model_fields.get(info.field_name or "")
        if any(isinstance(each, float) for each in given) and field is not None and _is_of_decimals(field.annotation):
            message = "must be a Decimal or a decimal string, not a float"
            raise ValueError(message)
        return value

    @property
    def content(self) -> dict[str, Any]:
        """The answer as the API sent it: JSON's own types, amounts as decimal strings. Empty for a part of an answer."""
        return self._content

    @property
    def http_status(self) -> int:
        """The answer's HTTP status: of a submitted transaction, 200 says that its id was known before."""
        return self._status


def _is_of_decimals(annotation: Any) -> bool:  # noqa: ANN401  a type
    return annotation is Decimal or any(_is_of_decimals(part) for part in get_args(annotation))
