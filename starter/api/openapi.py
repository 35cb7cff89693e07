"""The OpenAPI document: what FastAPI derives from the endpoints, with the errors as they really are."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from starter.api.examples import example_of
from starter.api.meanings import PARAMETERS, describe, meaning_of
from starter.api.models.problems import Problem, WrongField
from starter.api.problem_codes import PROBLEM_PAGES
from starter.api.problem_codes import example_of as problem_example
from starter.api.problems import MEDIA_TYPE
from starter.api.services import AnyHolder

router = APIRouter()


_SCHEMAS: Final = {model.__name__: model for model in (Problem, WrongField)}
_OF_ALL: Final = {
    HTTPStatus.UNAUTHORIZED: "The API key, or the token, is missing, malformed, unknown, revoked or expired.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A defect of casaflow; its log has the details.",
    HTTPStatus.NOT_ACCEPTABLE: "`Accept` leaves out the form of the answer. Nothing was done.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The URL is too long. Nothing was done.",
    HTTPStatus.TOO_MANY_REQUESTS: "The key has asked more often than its rate allows. Nothing was done.",
    HTTPStatus.SERVICE_UNAVAILABLE: "PostgreSQL or Temporal did not answer. The same request again settles it.",
    HTTPStatus.GATEWAY_TIMEOUT: "The answer took too long. The same request again settles it.",
}
_OF_INPUT: Final = {HTTPStatus.UNPROCESSABLE_ENTITY: "A field breaks a rule. Nothing was done."}
_OF_BODIES: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is no `application/json`.",
}
_HEADERS: Final = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "How to authenticate."},
    **{
        status: {"Retry-After": "Seconds after which to try again."}
        for status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
    },
}
_TAGS: Final = {
    "accounts": "Accounts, their rules, balances and statements.",
    "transactions": "Deposits, withdrawals and transfers, and what becomes of them.",
    "holds": "Money that is set aside for later debits.",
    "standing orders": "The same amount on each due date.",
    "events": "What is published, and how to watch it.",
    "notifications": "What customers are told.",
    "management information": "Totals for management.",
    "rates": "Exchange rates.",
    "problems": "What each code of a problem means.",
    "system": "What an operator looks at first.",
    "files": "Files of payments.",
    "administration": "Keys and administrative acts of a tenant.",
    "health": "Whether the process is alive and of use, and its figures.",
}
_REFERENCE: Final = "#/components/schemas/{model}"


@router.get("/openapi.json", include_in_schema=False)
async def read_document(request: Request, _principal: AnyHolder) -> JSONResponse:
    """The document."""
    return JSONResponse(document(request.app))


def operation_id(route: APIRoute) -> str:
    """Names an operation: its tag and the endpoint's own name."""
    return "-".join([*map(str, route.tags), route.name]).replace(" ", "-").replace("_", "-")


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
        for name, schema in schemas.items():
            describe(schema.get("properties", {}), within=name)
        for operations in made["paths"].values():
            for operation in operations.values():
                _describe_parameters(operation)
                _give_examples(operation, schemas)
        made["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
        app.openapi_schema = made
    return app.openapi_schema


def _describe_scopes(operation: dict[str, Any]) -> None:
    """Say that one of the scopes is enough, where FastAPI says that all are needed. OpenAPI 3.1 has them with any kind of security."""
    if "security" in operation:
        (needed,) = operation["security"]
        ((scheme, scopes),) = needed.items()
        operation["security"] = [{scheme: [scope]} for scope in scopes] or [{scheme: []}]


_UUID_SCHEMA: Final = {"type": "string", "format": "uuid", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}
_INSTANT_SCHEMA: Final = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
}
_IDENTIFIER: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,%d}$"
_PARAMETERS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    **{("path", f"{kind}_id"): _UUID_SCHEMA for kind in ("transaction", "hold", "order", "message")},
    ("path", "account_id"): {"type": "string", "pattern": _IDENTIFIER % 33},
    ("path", "customer_id"): {"type": "string", "pattern": _IDENTIFIER % 63},
    ("header", "idempotency-key"): {"type": "string", "pattern": "^[!-~]{1,255}$"},
    **{("query", name): _INSTANT_SCHEMA for name in ("from", "to", "at", "submitted_from", "submitted_to")},
}
"""What the endpoints check by themselves, with words of their own for what is wrong."""
_PARAMETER_EXAMPLES: Final = {
    "account_id": "AT611904300234573201",
    "customer_id": "customer-17",
    "idempotency-key": "order-17",
    "prefer": "wait=1",
    "code": "invalid-input",
    "name": "casaflow.casa.credited.v1",
    "base": "USD",
    "quote": "EUR",
}


def _describe_parameters(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        place, name = parameter["in"], parameter["name"].lower()
        known = _PARAMETERS.get((place, name))
        if known is not None:
            parameter["schema"] = known | {"title": parameter["schema"].get("title", name)}
        if not parameter.get("description"):
            parameter["description"] = meaning_of(name, within=PARAMETERS) or meaning_of(name)
        if (name in _PARAMETER_EXAMPLES and place != "query") or parameter.get("required"):
            parameter["example"] = _PARAMETER_EXAMPLES.get(name) or example_of(parameter["schema"], {}, name=name)


def _give_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """An example for the body of a request, and for each answer."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        media["example"] = example_of(media["schema"], schemas)
    for status, response in operation["responses"].items():
        for media_type, media in response.get("content", {}).items():
            if media_type == MEDIA_TYPE:
                codes = problem_codes_of(int(status), response["description"])
                media["examples"] = {code: {"summary": PROBLEM_PAGES[code].title, "value": problem_example(code)} for code in codes}
            elif media.get("schema"):
                media["example"] = example_of(media["schema"], schemas)


def problem_codes_of(status: int, description: str) -> list[str]:
    """The codes of problems that an answer may have: those that its description names, else all of its status."""
    codes = [code for code, page in PROBLEM_PAGES.items() if page.status.value == status]
    return [code for code in codes if f"`{code}`" in description] or codes


def _describe_errors(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    if "security" in operation:  # not of health, which answers in its own words, nor of the pages of problems
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
        if int(status) >= HTTPStatus.BAD_REQUEST and ("security" in operation or "content" not in response):
            _describe_problem(HTTPStatus(int(status)), response)
    operation["responses"] = dict(sorted(responses.items()))


def _describe_problem(status: HTTPStatus, response: dict[str, Any]) -> None:
    response["content"] = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}}
    headers = _HEADERS.get(status, {})
    if headers:
        response["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
