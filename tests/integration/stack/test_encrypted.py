"""`casaflow up --encrypt`: from then on Temporal's database holds no account in a payload, and every command still works."""

from __future__ import annotations

import asyncio
import stat
from typing import Any

import pytest
from temporalio.client import Client

from ledger.ids import workflow_id
from tests.integration.stack.conftest import Home, balance, call, deposit


async def _history(stack: dict[str, Any], transaction_id: str) -> str:
    """As somebody without the key gets it."""
    client = await Client.connect(stack["temporal_address"])
    history = await client.get_workflow_handle(workflow_id("main", transaction_id)).fetch_history()
    events = [str(event) for event in history.events]
    return "\n".join(line for event in events for line in event.splitlines())


def _paid_in(stack: dict[str, Any], account: str) -> str:
    paid = call(stack, "POST", "/v1/transactions", {"creditor": account, "amount": "7.77", "currency": "EUR", "reference": "private words"})
    assert paid["status"] == "completed", paid
    return str(paid["transaction_id"])


@pytest.mark.slow
def test_a_stack_that_was_told_to_encrypt_does_so_ever_after(stopped: Home) -> None:
    stopped.up()
    deposit(stopped.stack(), "N1", "1.00")
    assert "private words" in asyncio.run(_history(stopped.stack(), _paid_in(stopped.stack(), "N1")))
    refused = stopped.casaflow("up", "--detach", "--encrypt")
    assert refused.returncode == 1
    assert "stop it with `casaflow down` first" in refused.stderr
    stopped.down()
    encrypted = stopped.casaflow("up", "--detach", "--encrypt")
    assert encrypted.returncode == 0, encrypted.stderr
    try:
        assert stat.S_IMODE(stopped.places.payload_keys_file.stat().st_mode) == 0o600
        seen = asyncio.run(_history(stopped.stack(), _paid_in(stopped.stack(), "N1")))
        assert "binary/encrypted" in seen
        assert "private words" not in seen
        stopped.down()
        stopped.up()
        assert "private words" not in asyncio.run(_history(stopped.stack(), _paid_in(stopped.stack(), "N1")))
        assert balance(stopped.stack(), "N1") == "24.31"
        checked = stopped.casaflow("check")
        assert checked.returncode == 0, checked.stdout + checked.stderr
    finally:
        stopped.down()
        stopped.places.payload_keys_file.unlink()
