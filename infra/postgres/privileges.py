"""What the application's role may write, and what else keeps the ledger from being changed behind its own back; rules of `casaflow check`.

See decision record 0013.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLICATION_ROLE: Final = "casaflow_app"
"""NOLOGIN; made by the migration 0006. Workers and API turn into it, or into a member of it."""
RELAY_ROLE: Final = "casaflow_relay"
"""NOLOGIN; made by the migration 0041. Relays turn into it: they read events, and mark them as published."""
CONSUMER_ROLE: Final = "casaflow_consumer"
"""NOLOGIN; made by the migration 0041. Consumers turn into it: they write the stores of their groups, and read little else."""

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
_STANDING_ORDER: Final = (
    "tenant order_id debtor debtor_currency creditor creditor_currency amount currency reference remittance_information schedule "
    "on_refusal fingerprint created_by created_at status version not_before next_due_at scheduled_version"
)
_STANDING_ORDER_RUN: Final = "tenant order_id due_date attempt transaction_id started_at outcome reason finished_at"

_LINE: Final = (
    "tenant account_id booked_at transaction_id leg event_id currency direction amount value_date version counterparty reference "
    "remittance_information"
)
_CLOSED: Final = "tenant account_id number currency since until_at opening_balance credited debited closing_balance lines"
_GROUPS: Final = ("statement", "notification", "mis")
"""Consumer groups with a schema by migration 0030; the audit group's is older."""
_HELD_EVENT: Final = "status error error_type attempts changed_by reason"
_OF_A_GROUP: Final = {
    ("consumer_offset", "INSERT"): "consumer_group topic partition next_offset updated_at",
    ("consumer_offset", "UPDATE"): "next_offset repeats updated_at",
    ("applied_event", "INSERT"): "event_id topic partition offset applied_at",
    ("held_event", "INSERT"): f"topic partition offset key event_id type subject raw_record {_HELD_EVENT}",
    ("held_event", "UPDATE"): f"{_HELD_EVENT} changed_at told_at",
}
_PREFERENCE: Final = "accounts email webhook_url webhook_secrets wishes enabled webhook_gone since version"
_MESSAGE: Final = (
    "message_id tenant event_id transaction_id customer_id channel kind endpoint address subject body body_html not_before created_at"
)
_PAYMENT_FILE: Final = "message_id header status paused lines next_line completed rejected problems reason_code reason_detail finished_at"
_PAYMENT_LINE: Final = (
    "tenant file_id number place transaction_id debtor creditor amount currency settlement end_to_end_id reference remittance_information "
    "value_date metadata instruction"
)

WRITABLE_COLUMNS: Final = {
    key: frozenset(columns.split())
    for key, columns in {
        ("account", "INSERT"): _ACCOUNT,
        ("transaction", "INSERT"): _TRANSACTION,  # rejections only, by a policy
        ("event_outbox", "INSERT"): _EVENT,
        ("event_outbox", "UPDATE"): "published_at",
        ("idempotency_key", "INSERT"): "tenant principal idempotency_key request_hash transaction_id",
        ("api_key", "INSERT"): "key_id tenant principal scopes secret_hash expires_at created_by rotated_from",
        ("api_key", "UPDATE"): "revoked_at expires_at last_used_at",
        ("administrative_act", "INSERT"): "tenant by key_id address action subject detail",
        ("balance_checkpoint", "INSERT"): _CHECKPOINT,
        ("value_date_balance", "INSERT"): "tenant account_id value_date credited debited",
        ("value_date_balance", "UPDATE"): "credited debited",
        ("hold", "UPDATE"): "expiry_told",
        ("operator_action", "INSERT"): "tenant transaction_id position action by reason at detail",
        ("intake", "UPDATE"): "is_open changed_at changed_by reason",
        ("maintenance_run", "UPDATE"): "begun_at finished_at report",
        ("standing_order", "INSERT"): _STANDING_ORDER,
        ("standing_order", "UPDATE"): "status version not_before next_due_at scheduled_version",
        ("standing_order_change", "INSERT"): "tenant order_id version action by at reason",
        ("standing_order_run", "INSERT"): _STANDING_ORDER_RUN,
        ("standing_order_run", "UPDATE"): "outcome reason finished_at",
        ("audit.consumer_offset", "INSERT"): "consumer_group topic partition next_offset repeats updated_at",
        ("audit.consumer_offset", "UPDATE"): "consumer_group topic partition next_offset repeats updated_at",
        ("audit.chain", "INSERT"): "chain sequence hash",
        ("audit.chain", "UPDATE"): "chain sequence hash",
        ("audit.record", "INSERT"): _AUDIT_RECORD,
        ("statement.line", "INSERT"): _LINE,
        ("statement.closed", "INSERT"): _CLOSED,
        ("statement.closing_run", "INSERT"): "until_at accounts",
        ("mis.transaction_total", "INSERT"): "tenant hour currency kind outcome reason band transactions amount",
        ("mis.transaction_total", "UPDATE"): "transactions amount",
        ("mis.entry_total", "INSERT"): "tenant hour currency kind leg band balance_band entries amount",
        ("mis.entry_total", "UPDATE"): "entries amount",
        **{(f"{group}.{table}", verb): columns for group in _GROUPS for (table, verb), columns in _OF_A_GROUP.items()},
        ("notification.preference", "INSERT"): f"tenant customer_id {_PREFERENCE}",
        ("notification.preference", "UPDATE"): _PREFERENCE,
        ("notification.preference_change", "INSERT"): "tenant customer_id version action by at",
        ("notification.message", "INSERT"): _MESSAGE,
        ("notification.message", "UPDATE"): "address status attempts not_before lease last_error delivered_at",
        ("notification.replay", "INSERT"): "message_id number by reason at attempts last_error",
        ("payment_file", "INSERT"): "tenant file_id mode media_type size content_hash submitted_by submitted_at",
        ("payment_file", "UPDATE"): _PAYMENT_FILE,
        ("payment_file_content", "INSERT"): "tenant file_id number content",
        ("payment_file_problem", "INSERT"): "tenant file_id position place field value rule",
        ("payment_line", "INSERT"): _PAYMENT_LINE,
        ("payment_line_refusal", "INSERT"): "tenant file_id number code detail",
        ("payment_file_action", "INSERT"): "tenant file_id position action by reason",
    }.items()
}
"""What the application writes by itself, by table and verb. Everything else goes through functions that run as the owner."""

_WRITABLE: Final = {
    APPLICATION_ROLE: WRITABLE_COLUMNS,
    RELAY_ROLE: {("event_outbox", "UPDATE"): frozenset({"published_at"})},
    CONSUMER_ROLE: {
        key: columns for key, columns in WRITABLE_COLUMNS.items() if "." in key[0] and key != ("notification.replay", "INSERT")
    },
}


def writable_columns(role: str) -> Mapping[tuple[str, str], frozenset[str]]:
    """What a role of casaflow's may write by itself, by table and verb."""
    return _WRITABLE[role]


READABLE: Final = {
    RELAY_ROLE: frozenset({"event_outbox"}),
    CONSUMER_ROLE: frozenset({"event_outbox", "account", "online_balance", "account_balance"}),
}
"""What roles that post nothing may read of the ledger itself, in part or whole. The application reads everything."""
ROLES: Final = tuple(_WRITABLE)

_ALLOWED: Final = ", ".join(
    f"('{role}', '{table}', '{verb}', '{column}')"
    for role, writable in _WRITABLE.items()
    for (table, verb), columns in sorted(writable.items())
    for column in sorted(columns)
)
_MAY_BE_READ: Final = ", ".join(f"('{role}', '{table}')" for role, tables in READABLE.items() for table in sorted(tables))
_TRIGGERS: Final = (
    ("offline_entry", "insert_only"),
    ("offline_entry", "only_the_frozen_xid"),
    ("online_entry", "insert_only"),
    ("gl_entry", "insert_only"),
    ("account_change", "insert_only"),
    ("standing_order_change", "insert_only"),
    ("operator_action", "insert_only"),
    ("administrative_act", "insert_only"),
    ("audit.record", "insert_only"),
    ("statement.line", "insert_only"),
    ("statement.closed", "insert_only"),
    ("notification.preference_change", "insert_only"),
    ("notification.replay", "insert_only"),
    ("payment_file_action", "insert_only"),
    ("online_balance", "never_unfold"),
)
_CHECKS: Final = (
    "decision_refused_for_a_reason",
    "decision_reversed_at_most_the_amount",
    "gl_entry_amount_check",
    "hold_captured_at_most_the_amount",
    "offline_entry_amount_check",
    "offline_entry_leg_check",
    "online_balance_debited_check",
    "online_balance_folded_check",
    "online_balance_held_check",
    "online_entry_amount_check",
    "online_entry_leg_check",
    "online_entry_never_overdrawn",
    "transaction_finished_when_final",
)
_SCHEMAS: Final = ", ".join(f"CAST('{schema}' AS regnamespace)" for schema in ("audit", *_GROUPS))
_LEDGERS: Final = f"relnamespace IN (CAST(current_schema() AS regnamespace), {_SCHEMAS})"
_NAMES: Final = ", ".join(f"'{role}'" for role in ROLES)
_ROLES: Final = f"(SELECT oid, rolname FROM pg_roles WHERE rolname IN ({_NAMES}))"  # noqa: S608  constants

SAFEGUARDS: Final = (
    # ---- who may write ----
    (
        1,
        f"""
        SELECT format('the role %s, by which casaflow works, is missing', w.name) FROM unnest(ARRAY[{_NAMES}]) AS w (name)
         WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = w.name)
         UNION ALL
        SELECT format('%s may do more than post: it %s', r.rolname, found.what)
          FROM pg_roles r
         CROSS JOIN LATERAL (VALUES
               (r.rolsuper, 'is a superuser'), (r.rolcreaterole, 'may make roles'), (r.rolbypassrls, 'bypasses row-level security'),
               (r.rolreplication, 'may replicate'),
               (pg_has_role(r.oid, (SELECT relowner FROM pg_class WHERE oid = CAST('offline_entry' AS regclass)), 'MEMBER'),
                'may become the owner of the entries'),
               (has_schema_privilege(r.oid, CAST(current_schema() AS regnamespace), 'CREATE'), 'may make objects beside the tables'),
               (has_parameter_privilege(r.oid, 'session_replication_role', 'SET'), 'may switch triggers off')) AS found (is_so, what)
         WHERE r.rolname IN ({_NAMES}) AND found.is_so
        """,  # noqa: S608  constants of this module, here and below
    ),
    (
        1,
        f"""
        SELECT format('%s may %s column %s of %s', r.rolname, v.verb, a.attname, CAST(c.oid AS regclass))
          FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         CROSS JOIN {_ROLES} AS r
         CROSS JOIN (VALUES ('INSERT'), ('UPDATE')) AS v (verb)
         WHERE c.{_LEDGERS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_column_privilege(r.oid, c.oid, a.attnum, v.verb)
           AND (CAST(r.rolname AS text), CAST(CAST(c.oid AS regclass) AS text), v.verb, CAST(a.attname AS text)) NOT IN (VALUES {_ALLOWED})
         UNION ALL
        SELECT format('%s may %s %s', r.rolname, v.verb, CAST(c.oid AS regclass))
          FROM pg_class c
         CROSS JOIN {_ROLES} AS r
         CROSS JOIN (VALUES ('DELETE'), ('TRUNCATE'), ('TRIGGER'), ('REFERENCES')) AS v (verb)
         WHERE c.{_LEDGERS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege(r.oid, c.oid, v.verb)
         UNION ALL
        SELECT format('%s may read %s', r.rolname, CAST(c.oid AS regclass))
          FROM pg_class c
         CROSS JOIN {_ROLES} AS r
         WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
           AND r.rolname <> '{APPLICATION_ROLE}' AND has_any_column_privilege(r.oid, c.oid, 'SELECT')
           AND (CAST(r.rolname AS text), CAST(CAST(c.oid AS regclass) AS text)) NOT IN (VALUES {_MAY_BE_READ})
        """,  # noqa: S608
    ),
    (
        1,
        f"""
        SELECT format('the function %s %s', CAST(p.oid AS regprocedure), found.what)
          FROM pg_proc p
         CROSS JOIN {_ROLES} AS r
         CROSS JOIN LATERAL (VALUES
               (p.proname = 'fold_account' AND has_function_privilege(r.oid, p.oid, 'EXECUTE'), 'may be called by ' || r.rolname),
               (r.rolname <> '{APPLICATION_ROLE}' AND p.prosecdef AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
                AND (r.rolname, p.proname) <> ('{CONSUMER_ROLE}', 'settled_until')
                AND NOT has_function_privilege('public', p.oid, 'EXECUTE'), 'runs as its owner for ' || r.rolname),
               (r.rolname = '{APPLICATION_ROLE}' AND p.prosecdef AND has_function_privilege('public', p.oid, 'EXECUTE'),
                'runs as its owner for everybody'),
               (r.rolname = '{APPLICATION_ROLE}' AND p.prosecdef
                AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS s (setting) WHERE s.setting LIKE 'search_path=%, pg_temp'),
                'runs as its owner, with the search_path of its caller')) AS found (is_so, what)
         WHERE p.pronamespace = CAST(current_schema() AS regnamespace) AND found.is_so
        """,  # noqa: S608
    ),
    (
        1,
        """
        SELECT 'the application may write transactions of any status: the row-level security of transaction is off, or has another policy'
         WHERE NOT (SELECT relrowsecurity FROM pg_class WHERE oid = CAST('transaction' AS regclass))
            OR EXISTS (SELECT FROM pg_policy
                        WHERE polrelid = CAST('transaction' AS regclass)
                          AND NOT (polname = 'transaction_is_read' AND polcmd = 'r')
                          AND NOT (polname = 'transaction_rejected' AND polcmd = 'a'
                                   AND pg_get_expr(polwithcheck, polrelid) = '(status = ''rejected''::text)'))
        """,
    ),
    # ---- what keeps entries as they are ----
    (
        1,
        f"""
        SELECT format('the trigger %s of %s is missing or switched off', w.name, w.relation)
          FROM (VALUES {", ".join(f"('{table}', '{trigger}')" for table, trigger in _TRIGGERS)}) AS w (relation, name)
         WHERE NOT EXISTS (SELECT FROM pg_trigger t
                            WHERE t.tgrelid = CAST(w.relation AS regclass) AND t.tgname = w.name AND t.tgenabled IN ('O', 'A'))
         UNION ALL
        SELECT format('the trigger %s of %s is not one of casaflow''s', t.tgname, CAST(t.tgrelid AS regclass))
          FROM pg_trigger t
         WHERE NOT t.tgisinternal
           AND t.tgrelid IN (CAST('offline_entry' AS regclass), CAST('online_entry' AS regclass), CAST('gl_entry' AS regclass),
                             CAST('online_balance' AS regclass), CAST('decision' AS regclass), CAST('hold' AS regclass))
           AND (CAST(CAST(t.tgrelid AS regclass) AS text), CAST(t.tgname AS text))
               NOT IN (VALUES {", ".join(f"('{table}', '{trigger}')" for table, trigger in _TRIGGERS)})
        """,  # noqa: S608
    ),
    (
        3,
        f"""
        SELECT format('the constraint %s is missing, not valid or not enforced', w.name)
          FROM unnest(ARRAY[{", ".join(f"'{name}'" for name in _CHECKS)}]) AS w (name)
         WHERE NOT EXISTS (SELECT FROM pg_constraint c
                            WHERE c.conname = w.name AND c.contype = 'c' AND c.convalidated
                              AND to_jsonb(c) ->> 'conenforced' IS DISTINCT FROM 'false' -- since PostgreSQL 18
                              AND c.connamespace = CAST(current_schema() AS regnamespace))
        """,  # noqa: S608
    ),
    # ---- xids: what folds rest on ----
    (
        3,
        """
        SELECT format('the ledger belongs to the cluster %s, and this is %s: nothing is posted until `casaflow refold`',
                      coalesce(CAST(c.system_identifier AS text), 'nobody knows which'), s.system_identifier)
          FROM pg_control_system() s LEFT JOIN ledger_cluster c ON true WHERE c.system_identifier IS DISTINCT FROM s.system_identifier
        """,
    ),
    (
        3,
        """
        SELECT 'a credit does not get the xid of its own database transaction: the default of offline_entry.xid was changed'
         WHERE NOT EXISTS (SELECT FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                            WHERE d.adrelid = CAST('offline_entry' AS regclass) AND a.attname = 'xid'
                              AND pg_get_expr(d.adbin, d.adrelid) = 'pg_current_xact_id()')
        """,
    ),
    (
        3,
        """
        SELECT format('the %s leg of transaction %s, account %s, tenant %s, has the xid %s, which this cluster has not given out', e.leg,
                      e.transaction_id, e.account_id, e.tenant, e.xid)
          FROM offline_entry e WHERE e.xid >= (SELECT pg_snapshot_xmax(pg_current_snapshot()))
         UNION ALL
        SELECT format('account %s of tenant %s: folded to %s, which this cluster has not reached', o.account_id, o.tenant, o.folded_until)
          FROM online_balance o WHERE o.folded_until > (SELECT pg_snapshot_xmax(pg_current_snapshot()))
        """,
    ),
)
"""Rules by truth and query, as in :mod:`infra.postgres.proof`: what the other rules rest on."""
