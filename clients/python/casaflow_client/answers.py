"""What all answers have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr


class Model(BaseModel):
    """Base of all models. A field that a later version of the API adds is kept, and doesn't break an earlier client."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    _content: dict[str, Any] = PrivateAttr(default_factory=dict)
    _status: int = PrivateAttr(default=0)

    @property
    def content(self) -> dict[str, Any]:
        """The answer as the API sent it: JSON's own types, amounts as decimal strings. Empty for a part of an answer."""
        return self._content

    @property
    def http_status(self) -> int:
        """The answer's HTTP status: of a submitted transaction, 200 says that its id was known before."""
        return self._status
