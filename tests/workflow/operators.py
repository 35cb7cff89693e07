"""An operator whose commands the API has signed, as far as a workflow can tell."""

from __future__ import annotations

import datetime as dt
from typing import Any

from temporalio.client import WorkflowHandle

from ledger.commands import Command, sign
from ledger.ids import transaction_of_workflow
from ledger.results import TransactionResult
from workflows.transaction import TransactionWorkflow

Handle = WorkflowHandle[TransactionWorkflow, TransactionResult]

SECRET = b"a secret of the tests that is long enough"


def signed(handle: Handle, action: str, *, secret: bytes = SECRET, **fields: Any) -> Command:
    """A command to the transaction of this workflow."""
    tenant, transaction_id = transaction_of_workflow(handle.id)
    given = {"by": "olga", "reason": "agreed", "at": dt.datetime.now(dt.UTC), "tenant": tenant, "transaction_id": transaction_id}
    return sign(secret, action=action, **{**given, **fields})


async def command(handle: Handle, action: str, **fields: Any) -> TransactionResult:
    """Give a command, and wait for what comes of it."""
    result: TransactionResult = await handle.execute_update(action, signed(handle, action, **fields), result_type=TransactionResult)
    return result
