"""The Python client says what the API says, and its two halves say the same."""

from __future__ import annotations

import importlib.util
import inspect
import json
from decimal import Decimal
from pathlib import Path

import casaflow_client
import pytest
from casaflow_client import models
from pydantic import ValidationError

from infra.settings import Settings
from starter.api.application import create_app
from starter.api.openapi import document

_GENERATOR = Path(__file__).parents[2] / "clients" / "python" / "generate.py"


def test_the_models_and_the_synchronous_client_are_what_generate_makes() -> None:
    specification = importlib.util.spec_from_file_location("generate", _GENERATOR)
    assert specification is not None
    assert specification.loader is not None
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    assert generate.differences() == [], "run python clients/python/generate.py"


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(client: type) -> dict[str, list[str]]:
        found = inspect.getmembers(client, inspect.isfunction)
        return {
            name.removeprefix("a") if name == "aclose" else name: list(inspect.signature(method).parameters)
            for name, method in found
            if not name.startswith("_")
        }

    assert methods(casaflow_client.AsyncClient) == methods(casaflow_client.Client)


def test_the_client_has_a_method_for_each_path_of_the_api() -> None:
    settings = Settings(postgres_url="postgresql://nobody@127.0.0.1/none", temporal_address="127.0.0.1:1", kafka_bootstrap_servers=None)
    words = {part for path in document(create_app(settings))["paths"] for part in path.split("/") if part and not part.startswith("{")}
    source = "".join(path.read_text() for path in (_GENERATOR.parent / "casaflow_client" / "_async").glob("*.py"))
    # What watches a process, and the documents about the API, are no business of its callers.
    words -= {"v1", "healthz", "metrics", "asyncapi.json", "openapi.json", "problems", "console"}
    missing = {word for word in words if f'"{word}"' not in source and f"/{word}" not in source}
    assert missing == set()


def test_an_amount_is_a_decimal_and_no_float_is_taken_for_one() -> None:
    held = models.HoldRequest.model_validate(
        {"account_id": "1", "amount": "12.50", "currency": "EUR", "expires_at": "2030-01-01T00:00:00Z"}
    )
    assert (held.amount, json.loads(held.model_dump_json())["amount"]) == (Decimal("12.50"), "12.50")
    with pytest.raises(ValidationError, match="not a float"):
        models.TransactionRequest(creditor="1", amount=0.1 + 0.2, currency="EUR")
    with pytest.raises(ValidationError, match="not a float"):
        models.RulesRequest(daily_limit=5.5)
    with pytest.raises(ValidationError, match="not a float"):
        models.PreferencesRequest.model_validate({"accounts": ["1"], "minimum_amounts": {"EUR": 0.1}})
