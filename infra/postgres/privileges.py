"""What the application's role may write, and what else keeps the ledger from being changed behind its own back; rules of `casaflow check`.

See decision record 0013.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ROLE: Final = "casaflow_app"
"""NOLOGIN; made by the migration 0006. Workers, API and consumers turn into it, or into a member of it."""

_TRANSACTION: Final = (
    "tenant transaction_id fingerprint kind debtor creditor request status reason submitted_by submitted_at finished_at reverses"
)
_EVENT: Final = "event_id topic key payload type source subject time tenant transaction_id position"
_ACCOUNT: Final = (
    "tenant account_id currency kind overdraft_limit minimum_balance maximum_balance transaction_limit daily_limit monthly_limit time_zone"
)
_CHECKPOINT: Final = "tenant account_id since until lines credited debited"
_AUDIT_RECORD: Final = (
    "chain sequence event_id topic partition offset type key source subject time payload problem raw_record previous_hash hash recorded_at"
)

WRITABLE_COLUMNS: Final = {
    key: frozenset(columns.split())
    for key, columns in {
        ("account", "INSERT"): _ACCOUNT,
        ("transaction", "INSERT"): _TRANSACTION,  # rejections only, by a policy
        ("event_outbox", "INSERT"): _EVENT,
        ("event_outbox", "UPDATE"): "published_at",
        ("idempotency_key", "INSERT"): "tenant principal idempotency_key request_hash transaction_id",
        ("api_key", "INSERT"): "key_id tenant principal scopes secret_hash",
        ("api_key", "UPDATE"): "revoked_at",
        ("balance_checkpoint", "INSERT"): _CHECKPOINT,
        ("value_date_balance", "INSERT"): "tenant account_id value_date credited debited",
        ("value_date_balance", "UPDATE"): "credited debited",
        ("maintenance_run", "UPDATE"): "begun_at finished_at report",
        ("audit.consumer_offset", "INSERT"): "consumer_group topic partition next_offset updated_at",
        ("audit.consumer_offset", "UPDATE"): "consumer_group topic partition next_offset updated_at",
        ("audit.chain", "INSERT"): "chain sequence hash",
        ("audit.chain", "UPDATE"): "chain sequence hash",
        ("audit.record", "INSERT"): _AUDIT_RECORD,
    }.items()
}
"""What the application writes by itself, by table and verb. Everything else goes through functions that run as the owner."""
