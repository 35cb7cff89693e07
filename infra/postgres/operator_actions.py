"""What operators did with transactions and holds: insert-only, in the order in which it was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from infra.postgres.json import to_jsonb

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ledger.commands import OperatorAction

# Positions have no gaps and no duplicates: whoever numbers them holds this lock. The insert is a statement of its own, after it.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('operator_action/' || :tenant || '/' || :transaction_id, 0))")
_INSERT = text("""
    INSERT INTO operator_action (tenant, transaction_id, position, action, by, reason, at, detail)
    SELECT :tenant, CAST(:transaction_id AS uuid), coalesce(max(position), 0) + 1, :action, :by, :reason, :at, CAST(:detail AS jsonb)
      FROM operator_action WHERE tenant = :tenant AND transaction_id = CAST(:transaction_id AS uuid)
        ON CONFLICT ON CONSTRAINT operator_action_once DO NOTHING
""")


async def record_action(connection: AsyncConnection, action: OperatorAction) -> None:
    """Record an action on a connection that somebody else commits; one that is recorded already changes nothing."""
    key = {"tenant": action.tenant, "transaction_id": action.transaction_id}
    await connection.execute(_LOCK, key)
    said = action.model_dump(include={"action", "by", "reason", "at"})
    await connection.execute(_INSERT, {**key, **said, "detail": to_jsonb(action.detail)})
