"""How requests are made of arguments, and how long a request is repeated. Nothing here talks to a network."""

from __future__ import annotations

import datetime as dt
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import BaseModel

from casaflow_client.answers import Model
from casaflow_client.errors import InvalidArgumentError, error_of

Answer = TypeVar("Answer", bound=Model)
Body = BaseModel | Mapping[str, Any]
"""A request of :mod:`casaflow_client.models`, or its fields: those are sent as they are, and the API checks them."""

REQUEST_TIMEOUT_SECONDS: Final = 75.0
"""Longer than the longest wait that the API grants."""
CONNECT_TIMEOUT_SECONDS: Final = 5.0
_URL: Final = re.compile(r"https?://[^\s/?#]+(?:/[^\s?#]*)?", re.ASCII)
_KEY: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 5.0
_WAITING_HELPS: Final = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True)
class Patience:
    """How long a request is repeated while the API is away or asks to wait. Every request is safe to repeat: it has an id of its own."""

    seconds: float | None = 30.0
    """In all, for one request; 0: not at all; None: for ever."""
    on_wait: Callable[[str], None] | None = None
    """Called with the reason before each pause."""

    def pause_seconds(self, attempt: int, asked_seconds: float | None, waited_seconds: float) -> float | None:
        """How long to wait after an attempt (0, 1, …); None: no longer.

        Args:
            attempt: the number of the one that failed.
            asked_seconds: what the API asked for, if it did.
            waited_seconds: since the first attempt began.
        """
        grown = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311  spreads callers
        pause = grown if asked_seconds is None else asked_seconds
        return pause if self.seconds is None or waited_seconds + pause <= self.seconds else None


def checked_url(url: str) -> str:
    """The API's URL.

    Raises:
        InvalidArgumentError: no request can be made of it.
    """
    if not _URL.fullmatch(url):
        raise InvalidArgumentError(field="api_url", value=url, rule="must be a URL such as http://127.0.0.1:8080")
    return url


def checked_key(key: str) -> str:
    """A key that a header can carry.

    Raises:
        InvalidArgumentError: it can't; the key is not shown.
    """
    if not _KEY.fullmatch(key):
        raise InvalidArgumentError(field="api_key", value="…", rule="must be a key as `casaflow key create` prints it")
    return key


def segment(value: str | int, *, field: str, longest: int = 64) -> str:
    """A part of a path; the empty one, or two dots, would make another path of it.

    Raises:
        InvalidArgumentError: no name.
    """
    text = str(value)
    if not _NAME.fullmatch(text) or len(text) > longest:
        rule = f"must be 1 to {longest} letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
        raise InvalidArgumentError(field=field, value=value, rule=rule)
    return quote(text, safe="")


def uuid_segment(value: str | UUID, *, field: str) -> str:
    """An id of the form of a UUID, in lower case.

    Raises:
        InvalidArgumentError: no UUID.
    """
    text = str(value)
    if not _UUID.fullmatch(text):
        raise InvalidArgumentError(field=field, value=value, rule="must be a UUID in its 36-character form")
    return text.lower()


def query(**parameters: Any) -> dict[str, str | list[str]]:  # noqa: ANN401  whatever a parameter may be
    """Parameters as text; those that are None are left out. A trailing underscore only keeps a name apart from Python's own."""
    return {name.rstrip("_"): _texts(value) for name, value in parameters.items() if value is not None}


def _texts(value: object) -> str | list[str]:
    return [_text(part) for part in value] if isinstance(value, list | tuple) else _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise InvalidArgumentError(field="instant", value=value, rule="must have a time zone")
        return value.isoformat()
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float):
        raise InvalidArgumentError(field="amount", value=value, rule="must be a Decimal or text: a float has no exact cents")
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def body_of(body: Body | None) -> dict[str, Any] | None:
    """A body's fields, those that were given."""
    if body is None:
        return None
    if isinstance(body, BaseModel):
        return body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {name: _plain(value) for name, value in body.items()}


def _plain(value: object) -> Any:  # noqa: ANN401  JSON's own types
    if isinstance(value, BaseModel):
        return body_of(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, str | bool | int) else _text(value)


def preferring(wait_seconds: float | None) -> dict[str, str]:
    """Headers that ask the API to wait for the final answer."""
    return {} if not wait_seconds else {"Prefer": f"wait={wait_seconds:.0f}"}


def failed(response: httpx.Response) -> tuple[str, float | None] | None:
    """Why a request may be sent again, and after how many seconds; None: this is its answer."""
    if response.status_code not in _WAITING_HELPS:
        return None
    try:
        asked = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        asked = None
    return error_of(problem_of(response), response.status_code).detail, asked


def answer_of(response: httpx.Response, kind: type[Answer]) -> Answer:
    """The answer as a model.

    Raises:
        ApiError: the API refused the request, or what came is no answer of it.
    """
    if not response.is_success:
        raise error_of(problem_of(response), response.status_code)
    content = _json_of(response)
    if not isinstance(content, dict):
        raise error_of({"detail": f"the answer is no JSON object: {response.text[:200]!r}"}, response.status_code)
    answer = kind.model_validate(content)
    answer._content, answer._status = content, response.status_code  # noqa: SLF001  of this package
    return answer


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """What went wrong, as the API said it, or as something between it and this client did."""
    content = _json_of(response)
    return content if isinstance(content, dict) else {"detail": response.text[:200] or f"HTTP status {response.status_code}"}


def _json_of(response: httpx.Response) -> Any:  # noqa: ANN401
    try:
        return json.loads(response.content)
    except ValueError:
        return None
