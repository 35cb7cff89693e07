"""How endpoints describe their answers in the OpenAPI document. The form of errors is added in :mod:`starter.api.openapi`."""

from __future__ import annotations

from typing import Any, Final

LOCATION: Final[dict[str, Any]] = {"Location": {"description": "Where it can be looked up.", "schema": {"type": "string"}}}


def answer(status: int, description: str) -> dict[int | str, dict[str, Any]]:
    """One status code that an endpoint answers with, beside those that all have."""
    return {status: {"description": description}}
