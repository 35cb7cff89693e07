"""`casaflow up` with other code than before: what the version before has left goes on, a parked transaction too."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import psycopg
import pytest

from ledger.ids import workflow_id
from tests.integration.stack.conftest import Home, call, deposit, wait_until

REFUSE = "ALTER TABLE offline_entry ADD CONSTRAINT defect CHECK (account_id <> 'V2') NOT VALID"
"""A defect, since the rules allow what it refuses."""


def _retry(stack: dict[str, Any], transaction_id: str) -> None:
    """By the command of an operator, which the API signs."""
    call(stack, "POST", f"/v1/transactions/{transaction_id}/retry", {"reason": "mended"})


def _submit(stack: dict[str, Any], asked: dict[str, str]) -> None:
    """Without waiting for an end that doesn't come."""
    headers = {"Authorization": f"Bearer {stack['api_key']}"}
    with httpx.Client(base_url=stack["api"], headers=headers, timeout=30, trust_env=False) as client:
        assert client.post("/v1/transactions", json=asked).status_code == httpx.codes.ACCEPTED


def _status(stack: dict[str, Any], transaction_id: str) -> str:
    return str(call(stack, "GET", f"/v1/transactions/{transaction_id}")["status"])


@pytest.mark.slow
def test_a_parked_transaction_goes_on_after_up_with_a_new_version(stopped: Home) -> None:
    home = Home(stopped.path, {"CASAFLOW_WORKER_BUILD_ID": "before", "CASAFLOW_TRANSFERS": "saga"})
    home.up()
    deposit(home.stack(), "V1", "100.00")
    call(home.stack(), "POST", "/v1/accounts", {"account_id": "V2", "currency": "EUR"})
    with psycopg.connect(home.stack()["postgres_dsn"], autocommit=True) as database:
        database.execute(REFUSE)
    asked = {"transaction_id": str(uuid.uuid4()), "debtor": "V1", "creditor": "V2", "amount": "5.00", "currency": "EUR"}
    _submit(home.stack(), asked)
    wait_until(lambda: _status(home.stack(), asked["transaction_id"]) == "parked", "it is parked")
    home.down()
    home.settings["CASAFLOW_WORKER_BUILD_ID"] = "after"
    home.up()
    said = home.log("supervisor")
    assert "workers are now of version after; before they were of before" in said
    assert f"{workflow_id('main', asked['transaction_id'])} was left by version before, and goes on with this one" in said
    with psycopg.connect(home.stack()["postgres_dsn"], autocommit=True) as database:
        database.execute("ALTER TABLE offline_entry DROP CONSTRAINT defect")
    _retry(home.stack(), asked["transaction_id"])
    wait_until(lambda: _status(home.stack(), asked["transaction_id"]) == "completed", "it is completed")
    report = home.casaflow("promote", "--report", "--json")
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["current"] == "after"
    home.down()
