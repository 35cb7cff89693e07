"""Errors as RFC 9457 problem details, with a stable ``code``. One place turns every error into its answer."""

from __future__ import annotations

import json
import math
import reprlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from ledger.errors import (
    CasaflowError,
    ConflictError,
    DrainingError,
    FileTooLargeError,
    ForbiddenError,
    IdempotencyKeyConflictError,
    ImpossibleChangeError,
    InvalidInputError,
    MissingScopeError,
    NotFoundError,
    TooManyError,
    UnauthenticatedCommandError,
    UnavailableError,
    UnreadableFormatError,
)
from starter.api.negotiation import NotAcceptableError
from starter.api.problem_codes import PROBLEM_PAGES, problem_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
REALM: Final = "casaflow"
RETRY_AFTER_SECONDS: Final = 2
RETRY_AFTER_DRAIN_SECONDS: Final = 5
"""While no new work is taken, which takes as long as what is done to the system meanwhile."""
_SHOWN_LENGTH: Final = 200
_SHOWN_ERRORS: Final = 20
_LONGEST_NUMBER: Final = 40
_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _SHOWN_LENGTH
_CODES: Final = {
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
}


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem response. `errors` names each bad field with its value and the rule that it breaks."""
    page = PROBLEM_PAGES.get(code)
    content: dict[str, Any] = {
        "type": problem_type(code),
        "title": page.title if page is not None else status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
    }
    if errors:
        content["errors"] = list(errors)
    # ASCII only: what a caller sent may hold lone surrogates, which have no UTF-8 form.
    return Response(json.dumps(content, allow_nan=False), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def _shown(value: object) -> object:
    """The value as the caller may recognise it, short, and in a form that JSON has."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and len(str(value)) <= _LONGEST_NUMBER and (isinstance(value, int) or math.isfinite(value)):
        return value
    # reprlib goes a few levels deep only, however deep the value is.
    text = value if isinstance(value, str) else str(value) if isinstance(value, int | float) else _REPR.repr(value)
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def invalid(error: InvalidInputError) -> Response:
    """The answer to a request of which a field breaks a rule."""
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, str(error), errors=[_wrong(error)])


def _wrong(error: InvalidInputError | ImpossibleChangeError) -> dict[str, object]:
    return {"field": _short(error.field), "value": _shown(error.value), "rule": error.rule}


def _invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, InvalidInputError):
        raise error
    return invalid(error)


def _malformed(_request: Request, error: Exception) -> Response:
    """What the models refused: missing and unknown fields, wrong types, text that is too long, no JSON at all."""
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = [_wrong_field(found) for found in error.errors()[:_SHOWN_ERRORS]]
    first = wrong[0]
    shown = "" if first["value"] is None else f"; it is {_short(repr(first['value']))}"
    detail = f"{first['field']}: {first['rule']}{shown}"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, InvalidInputError.code, detail, errors=wrong)


def _wrong_field(found: Mapping[str, Any]) -> dict[str, object]:
    where = [str(part) for part in found["loc"]]
    # The first part says in which part of the request the field is; it is the field only where the whole body is wrong.
    field = ".".join(where[1:]) or where[0]
    value = None if found["type"] == "missing" else _shown(found.get("input"))
    return {"field": _short(field), "value": value, "rule": str(found["msg"]).removeprefix("Value error, ")}


def _conflict(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ConflictError):
        raise error
    # The design's distinction: an id in use is a conflict with a resource, a key in use is a request that breaks the key's rule.
    status = HTTPStatus.UNPROCESSABLE_ENTITY if isinstance(error, IdempotencyKeyConflictError) else HTTPStatus.CONFLICT
    return problem(status, error.code, str(error), errors=[_wrong(error)] if isinstance(error, ImpossibleChangeError) else ())


def _forbidden(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ForbiddenError):
        raise error
    # RFC 6750, section 3.1, for clients that ask their authorisation server for more.
    challenge = (
        f'Bearer realm="{REALM}", error="insufficient_scope", scope="{error.scope}"' if isinstance(error, MissingScopeError) else None
    )
    headers = {"WWW-Authenticate": challenge} if challenge is not None else None
    return problem(HTTPStatus.FORBIDDEN, error.code, str(error), headers=headers)


def _not_obeyed(_request: Request, error: Exception) -> Response:
    # API and workers have no secret in common: the caller can't mend it, and hears what an administrator has to.
    return problem(HTTPStatus.FORBIDDEN, UnauthenticatedCommandError.code, f"{error}; CASAFLOW_COMMAND_SECRETS of API and workers differ")


def _not_found(_request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, CasaflowError) else NotFoundError.code
    return problem(HTTPStatus.NOT_FOUND, code, str(error))


def unavailable(error: UnavailableError) -> Response:
    """The answer while a server that casaflow needs is away."""
    detail = f"{error}. Send the same request again: nothing is lost, and nothing is done twice."
    drains = isinstance(error, DrainingError)
    seconds = RETRY_AFTER_DRAIN_SECONDS if drains else RETRY_AFTER_SECONDS
    code = error.code if drains else UnavailableError.code
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, headers={"Retry-After": str(seconds)})


def _unavailable(_request: Request, error: Exception) -> Response:
    if not isinstance(error, UnavailableError):
        raise error
    return unavailable(error)


def _too_many(_request: Request, error: Exception) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return problem(HTTPStatus.TOO_MANY_REQUESTS, TooManyError.code, str(error), headers=headers)


def _not_acceptable(_request: Request, error: Exception) -> Response:
    return problem(HTTPStatus.NOT_ACCEPTABLE, NotAcceptableError.code, str(error))


def _too_large(_request: Request, error: Exception) -> Response:
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, FileTooLargeError.code, str(error))


def _unreadable(_request: Request, error: Exception) -> Response:
    return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, UnreadableFormatError.code, str(error))


def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return problem(status, _CODES.get(status, "error"), str(error.detail), headers=headers)


def _methods(request: Request) -> set[str]:
    """All methods of a path; the framework names those of one of its routes alone."""
    path = request.scope["path"]
    found = [route for route in iter_route_contexts(request.app.routes) if compile_path(route.path or "")[0].match(path)]
    exactly = [route for route in found if route.path == path] or found
    # A route that isn't documented is there to refuse, unless there is no other one.
    documented = [route for route in exactly if getattr(route.original_route, "include_in_schema", True)]
    return {method for route in documented or exactly for method in route.methods or ()}


def _defect(request: Request, error: Exception) -> Response:
    _log.error("api.defect", path=request.url.path, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "casaflow failed; the log of the API has the details")


_ANSWERS: Final[Mapping[type[Exception], Callable[[Request, Exception], Response]]] = {
    InvalidInputError: _invalid,
    RequestValidationError: _malformed,
    ConflictError: _conflict,
    ForbiddenError: _forbidden,
    UnauthenticatedCommandError: _not_obeyed,
    NotFoundError: _not_found,
    UnavailableError: _unavailable,
    TooManyError: _too_many,
    NotAcceptableError: _not_acceptable,
    FileTooLargeError: _too_large,
    UnreadableFormatError: _unreadable,
    HTTPException: _http,
    Exception: _defect,
}


def register(app: FastAPI) -> None:
    """Answer every error as a problem."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)


def answer_to(request: Request, error: Exception) -> Response:
    """How the API answers an error."""
    return next(_ANSWERS[kind](request, error) for kind in type(error).__mro__ if kind in _ANSWERS)
