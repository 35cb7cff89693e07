from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.integration.api.bank import Bank

STATUSES = {
    ("post", "/v1/accounts"): {"200", "201", "409", "413", "422"},
    ("get", "/v1/accounts/{account_id}"): {"200", "404", "422"},
    ("get", "/v1/accounts/{account_id}/balance"): {"200", "404", "422"},
    ("get", "/v1/accounts/{account_id}/statement"): {"200", "404", "406", "422"},
    ("get", "/v1/accounts/{account_id}/statements/{number}"): {"200", "404", "406", "422"},
    ("patch", "/v1/accounts/{account_id}"): {"200", "404", "409", "413", "422"},
    ("post", "/v1/accounts/{account_id}/freeze"): {"200", "404", "409", "413", "422"},
    ("post", "/v1/accounts/{account_id}/unfreeze"): {"200", "404", "409", "422"},
    ("post", "/v1/accounts/{account_id}/dormant"): {"200", "404", "409", "422"},
    ("post", "/v1/accounts/{account_id}/reactivate"): {"200", "404", "409", "422"},
    ("post", "/v1/accounts/{account_id}/close"): {"200", "404", "409", "422"},
    ("post", "/v1/transactions"): {"200", "201", "202", "409", "413", "422"},
    ("post", "/v1/transactions/batch"): {"200", "413", "422"},
    ("get", "/v1/transactions/{transaction_id}"): {"200", "404", "422"},
    ("post", "/v1/transactions/{transaction_id}/reverse"): {"200", "201", "202", "404", "409", "413", "422"},
    ("post", "/v1/transactions/{transaction_id}/approve"): {"200", "202", "404", "409", "413", "422"},
    ("post", "/v1/transactions/{transaction_id}/decline"): {"200", "202", "404", "409", "413", "422"},
    ("post", "/v1/transactions/{transaction_id}/cancel"): {"200", "202", "404", "409", "413", "422"},
    ("post", "/v1/transactions/{transaction_id}/retry"): {"200", "202", "404", "409", "413", "422"},
    ("post", "/v1/transactions/{transaction_id}/settle"): {"200", "202", "404", "409", "413", "422"},
    ("get", "/v1/accounts"): {"200", "422"},
    ("get", "/v1/transactions"): {"200", "422"},
    ("get", "/v1/holds"): {"200", "422"},
    ("post", "/v1/holds"): {"200", "201", "409", "413", "422"},
    ("get", "/v1/holds/{hold_id}"): {"200", "404", "422"},
    ("post", "/v1/holds/{hold_id}/void"): {"200", "404", "409", "422"},
    ("post", "/v1/holds/{hold_id}/capture"): {"200", "201", "202", "404", "409", "413", "422"},
    ("post", "/v1/standing-orders"): {"200", "201", "409", "413", "422"},
    ("get", "/v1/standing-orders"): {"200", "422"},
    ("get", "/v1/standing-orders/{order_id}"): {"200", "404", "422"},
    ("post", "/v1/standing-orders/{order_id}/pause"): {"200", "404", "409", "413", "422"},
    ("post", "/v1/standing-orders/{order_id}/resume"): {"200", "404", "409", "413", "422"},
    ("post", "/v1/standing-orders/{order_id}/cancel"): {"200", "404", "409", "413", "422"},
    ("get", "/v1/mis/transactions"): {"200", "422"},
    ("get", "/v1/mis/entries"): {"200", "422"},
    ("put", "/v1/customers/{customer_id}/notifications"): {"200", "413", "422"},
    ("get", "/v1/customers/{customer_id}/notifications"): {"200", "404", "422"},
    ("delete", "/v1/customers/{customer_id}/notifications"): {"200", "404", "422"},
    ("get", "/v1/notifications"): {"200", "422"},
    ("post", "/v1/notifications/{message_id}/replay"): {"200", "404", "409", "413", "422"},
    ("get", "/v1/keys"): {"200", "422"},
    ("post", "/v1/keys"): {"201", "413", "422"},
    ("get", "/v1/keys/{key_id}"): {"200", "404", "422"},
    ("post", "/v1/keys/{key_id}/rotate"): {"201", "404", "409", "413", "422"},
    ("post", "/v1/keys/{key_id}/revoke"): {"200", "404", "422"},
    ("get", "/v1/administrative-acts"): {"200", "422"},
    ("get", "/v1/rates"): {"200", "404", "422"},
    ("get", "/v1/event-types"): {"200"},
}
"""What each endpoint answers with, beside what all have, and 403 where it needs a scope."""
OPEN = {"/v1/rates", "/v1/event-types"}
"""They say nothing of a tenant, so any key of the API opens them."""


DOCUMENTS = {"text/csv", "application/pdf", "application/xml"}
HAVE_DOCUMENTS = {"/v1/accounts/{account_id}/statement", "/v1/accounts/{account_id}/statements/{number}"}


@pytest.fixture(scope="module")
async def document(bank: Bank) -> dict[str, Any]:
    answer = await bank.http.get("/openapi.json")
    assert answer.status_code == 200
    content: dict[str, Any] = answer.json()
    return content


def _references(part: object) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(_references(value) for value in part.values()))
    return set().union(*(_references(value) for value in part)) if isinstance(part, list) else set()


async def test_document_is_openapi_and_whole(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for reference in _references(document):
        *_, model = reference.split("/")
        assert model in document["components"]["schemas"], reference
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize(("method", "path"), STATUSES)
async def test_every_answer_of_an_endpoint_is_documented_with_its_schema(document: dict[str, Any], method: str, path: str) -> None:
    operation = document["paths"][path][method]
    scoped = any(scopes for needed in operation["security"] for scopes in needed.values())
    assert scoped or path in OPEN
    responses = operation["responses"]
    # Where a body is taken, it must be JSON.
    of_bodies = {"415"} if "413" in STATUSES[method, path] else set()
    of_all = {"401", "406", "414", "429", "500", "503", "504"} | of_bodies
    assert set(responses) == STATUSES[method, path] | of_all | ({"403"} if scoped else set())
    for status, response in responses.items():
        media_type, *others = response["content"]
        assert set(others) == (DOCUMENTS if path in HAVE_DOCUMENTS and status == "200" else set())
        assert response["description"]
        if int(status) >= 400:
            assert media_type == "application/problem+json"
            assert response["content"][media_type]["schema"] == {"$ref": "#/components/schemas/Problem"}
        else:
            assert media_type == "application/json"
            assert "$ref" in response["content"][media_type]["schema"]
    assert "Retry-After" in responses["503"]["headers"]
    assert "WWW-Authenticate" in responses["401"]["headers"]
    if method == "post" and path in {"/v1/transactions", "/v1/transactions/{transaction_id}/reverse"}:
        assert all("Location" in responses[status]["headers"] for status in ("200", "201", "202"))


async def test_every_endpoint_that_changes_something_says_which_scope_it_takes(document: dict[str, Any]) -> None:
    changing = {(method, path) for path, operations in document["paths"].items() for method in operations if method != "get"}
    assert changing
    for method, path in changing:
        assert "scope `" in document["paths"][path][method]["responses"]["403"]["description"], (method, path)


async def test_every_endpoint_is_documented(document: dict[str, Any]) -> None:
    described = {(method, path) for path, operations in document["paths"].items() for method in operations}
    assert described >= STATUSES.keys() | {("get", "/healthz"), ("get", "/readyz")}
    for method, path in described - STATUSES.keys():
        for response in document["paths"][path][method]["responses"].values():
            assert response["content"], (method, path)
    for path in ("/healthz", "/readyz"):
        assert "security" not in document["paths"][path]["get"]


async def test_problem_schema_is_what_problems_are(bank: Bank, document: dict[str, Any]) -> None:
    problem = (await bank.http.post("/v1/accounts", json={})).json()
    schema = document["components"]["schemas"]["Problem"]
    assert set(problem) == set(schema["properties"])
    assert set(problem["errors"][0]) == set(document["components"]["schemas"]["WrongField"]["properties"])
    assert set(schema["required"]) == {"type", "title", "status", "code", "detail"}


def _examples(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any], Any]]:
    """Where each example is, the schema that it has to fit, and the example."""
    media = [("request", content) for content in operation.get("requestBody", {}).get("content", {}).values()]
    media += [(status, content) for status, answer in operation["responses"].items() for content in answer.get("content", {}).values()]
    found = []
    for place, content in media:
        examples = [each["value"] for each in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        assert examples or not content.get("schema"), place
        found += [(place, content["schema"], example) for example in examples]
    return found


async def test_every_operation_has_a_name_a_tag_a_description_and_examples_that_fit(document: dict[str, Any]) -> None:
    names, tags, shown = [], {tag["name"] for tag in document["tags"]}, 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names.append(operation["operationId"])
            assert operation["tags"], path
            assert set(operation["tags"]) <= tags, path
            assert operation["description"], path
            if method != "get" and "requestBody" in operation:
                assert any(place == "request" for place, _, _ in _examples(operation)), path
            for place, schema, example in _examples(operation):
                shown += 1
                whole = {**schema, "components": document["components"]}
                errors = [error.message for error in Draft202012Validator(whole).iter_errors(example)]
                assert not errors, (method, path, place, errors, example)
    assert len(names) == len(set(names))
    assert shown > 300
