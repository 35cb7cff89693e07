"""What a request can end with instead of an answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

_SHOWN_VALUE_LENGTH: Final = 80


class CasaflowClientError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidArgumentError(CasaflowClientError, ValueError):
    """No request can be made of an argument; nothing was sent."""

    def __init__(self, *, field: str, value: object, rule: str) -> None:
        self.field = field
        self.value = value
        self.rule = rule
        shown = repr(value)
        super().__init__(f"{field} {rule}; it is {shown if len(shown) <= _SHOWN_VALUE_LENGTH else shown[:_SHOWN_VALUE_LENGTH] + '…'}")


class ApiError(CasaflowClientError):
    """The API refused a request, by a problem of RFC 9457. A business rejection is none: that is a transaction's final status."""

    def __init__(self, problem: dict[str, Any], status: int) -> None:
        self.status = status
        """The answer's HTTP status."""
        self.code = str(problem.get("code", "error"))
        """Stable; for programs. Each has a page at the problem's `type`."""
        self.detail = str(problem.get("detail", "the API gave no detail"))
        self.errors: list[dict[str, Any]] = problem.get("errors") or []
        """Each field that breaks a rule: ``field``, ``value``, ``rule``."""
        self.problem = problem
        """The whole problem, as it was sent."""
        super().__init__(self.detail)

    @property
    def is_bad_input(self) -> bool:
        """Whether the same request would be refused again, for what it says or for the key that it comes with."""
        return HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR


class InvalidRequestError(ApiError):
    """A field breaks a rule (422), or the request as a whole does (400, 406, 413, 415). Nothing was done."""


class UnauthenticatedError(ApiError):
    """The key is missing, malformed, unknown, expired or revoked (401)."""


class ForbiddenError(ApiError):
    """The key lacks a scope, or may not do this (403). Nothing was done."""


class NotFoundError(ApiError):
    """The key's tenant has no such thing (404)."""


class ConflictError(ApiError):
    """The request contradicts what is already recorded (409). Nothing was done."""


class RateLimitedError(ApiError):
    """Too many requests (429), for longer than this client was to wait."""


class UnavailableError(CasaflowClientError):
    """The API, or a server behind it, did not answer for as long as this client was to wait. The same request may be sent again."""


_BY_STATUS: Final = {
    HTTPStatus.UNAUTHORIZED: UnauthenticatedError,
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitedError,
    HTTPStatus.BAD_REQUEST: InvalidRequestError,
    HTTPStatus.NOT_ACCEPTABLE: InvalidRequestError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InvalidRequestError,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: InvalidRequestError,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidRequestError,
}


def error_of(problem: dict[str, Any], status: int) -> ApiError:
    """The error that an answer with this status is."""
    kind = next((error for known, error in _BY_STATUS.items() if known == status), ApiError)
    return kind(problem, status)
