"""The OpenAPI document: what FastAPI derives from the endpoints, with the errors as they really are."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from starter.api.models.problems import Problem, WrongField
from starter.api.problems import MEDIA_TYPE
from starter.api.services import AnyHolder

router = APIRouter()


_SCHEMAS: Final = {model.__name__: model for model in (Problem, WrongField)}
_OF_ALL: Final = {
    HTTPStatus.UNAUTHORIZED: "The API key, or the token, is missing, malformed, unknown, revoked or expired.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A defect of casaflow; its log has the details.",
    HTTPStatus.SERVICE_UNAVAILABLE: "PostgreSQL or Temporal did not answer. The same request again settles it.",
}
_OF_INPUT: Final = {HTTPStatus.UNPROCESSABLE_ENTITY: "A field breaks a rule. Nothing was done."}
_OF_BODIES: Final = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large."}
_HEADERS: Final = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "How to authenticate."},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "Seconds after which to try again."},
}
_REFERENCE: Final = "#/components/schemas/{model}"


@router.get("/openapi.json", include_in_schema=False)
async def read_document(request: Request, _principal: AnyHolder) -> JSONResponse:
    """The document."""
    return JSONResponse(document(request.app))


def document(app: FastAPI) -> dict[str, Any]:
    """The application's OpenAPI document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        for operations in made["paths"].values():
            for operation in operations.values():
                _describe_scopes(operation)
                _describe_errors(operation)
        schemas = made["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of errors, which nobody gets
            schemas.pop(name, None)
        for name, model in _SCHEMAS.items():
            schemas[name] = {key: value for key, value in model.model_json_schema(ref_template=_REFERENCE).items() if key != "$defs"}
        app.openapi_schema = made
    return app.openapi_schema


def _describe_scopes(operation: dict[str, Any]) -> None:
    """Say that one of the scopes is enough, where FastAPI says that all are needed. OpenAPI 3.1 has them with any kind of security."""
    if "security" in operation:
        (needed,) = operation["security"]
        ((scheme, scopes),) = needed.items()
        operation["security"] = [{scheme: [scope]} for scope in scopes] or [{scheme: []}]


def _describe_errors(operation: dict[str, Any]) -> None:
    if "security" not in operation:  # health, which answers in its own words
        return
    responses = operation["responses"]
    responses.pop("422", None)
    common = dict(_OF_ALL)
    if "requestBody" in operation or "parameters" in operation:
        common |= _OF_INPUT
    if "requestBody" in operation:
        common |= _OF_BODIES
    scopes = [scope for needed in operation["security"] for found in needed.values() for scope in found]
    if scopes:
        named = " or ".join(f"`{scope}`" for scope in scopes)
        common[HTTPStatus.FORBIDDEN] = f"The key, or the token, lacks the scope {named} (`missing-scope`). Nothing was done."
    for status, description in common.items():
        responses.setdefault(str(status.value), {"description": description})
    for status, response in responses.items():
        if int(status) >= HTTPStatus.BAD_REQUEST:
            response["content"] = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}}
            headers = _HEADERS.get(HTTPStatus(int(status)), {})
            if headers:
                response["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    operation["responses"] = dict(sorted(responses.items()))
