"""What the application's role may do, and what the database keeps it from, whatever the application tries."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infra.postgres.database import Database
from infra.postgres.privileges import APPLICATION_ROLE, CONSUMER_ROLE, READABLE, RELAY_ROLE, ROLES, WRITABLE_COLUMNS, writable_columns
from ledger.errors import LedgerIntegrityError, UnavailableError
from tests.integration.postgres.bank import Bank, connected, new_id

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]

TABLES = (
    "account",
    "account_change",
    "administrative_act",
    "api_key",
    "balance_checkpoint",
    "decision",
    "event_outbox",
    "event_outbox_default",
    "gl_entry",
    "hold",
    "idempotency_key",
    "intake",
    "ledger_cluster",
    "maintenance_run",
    "offline_entry",
    "online_balance",
    "online_entry",
    "standing_order",
    "standing_order_change",
    "operator_action",
    *("payment_file", "payment_file_content", "payment_file_problem", "payment_line", "payment_line_refusal", "payment_file_action"),
    "standing_order_run",
    "transaction",
    "value_date_balance",
    "alembic_version",
    "audit.chain",
    "audit.consumer_offset",
    "audit.record",
    *(f"{group}.{table}" for group in ("statement", "mis", "notification") for table in ("consumer_offset", "applied_event", "held_event")),
    "statement.line",
    "statement.closed",
    "statement.closing_run",
    "mis.transaction_total",
    "mis.entry_total",
    "notification.preference",
    "notification.preference_change",
    "notification.message",
    "notification.replay",
)


@pytest.fixture
async def application(bank: Bank) -> AsyncIterator[Connection]:
    async with connected(bank.url, autocommit=True) as connection:
        await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(APPLICATION_ROLE)))
        yield connection


async def _columns(bank: Bank, table: str) -> list[str]:
    rows = await bank.select(
        "SELECT attname FROM pg_attribute WHERE attrelid = CAST(%(table)s AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        table=table,
    )
    return [row["attname"] for row in rows]


async def test_the_list_of_tables_is_whole(bank: Bank) -> None:
    found = await bank.select(
        "SELECT CAST(c.oid AS regclass)::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('public', 'audit', 'statement', 'mis', 'notification') AND c.relkind IN ('r', 'p')"
    )
    assert {row["name"] for row in found} == set(TABLES)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("table", TABLES)
async def test_every_column_that_a_role_may_write_is_named(bank: Bank, table: str, role: str) -> None:
    for verb in ("INSERT", "UPDATE"):
        allowed = {
            column
            for column in await _columns(bank, table)
            if await bank.value(
                "SELECT has_column_privilege(%(role)s, %(table)s, %(column)s, %(verb)s)", role=role, table=table, column=column, verb=verb
            )
        }
        assert allowed == writable_columns(role).get((table, verb), frozenset()), verb


@pytest.mark.parametrize("role", READABLE)
async def test_a_role_that_posts_nothing_neither_reads_nor_changes_the_rest_of_the_ledger(bank: Bank, role: str) -> None:
    async with connected(bank.url, autocommit=True) as connection:
        await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        for table in TABLES:
            of_a_group = role == CONSUMER_ROLE and "." in table and table != "notification.replay"
            if table in READABLE[role] or of_a_group:
                continue
            for statement in ("SELECT count(*) FROM {}", "DELETE FROM {}", "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    async with connection.transaction():
                        await connection.execute(sql.SQL(statement).format(sql.SQL(table)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="record_legs"):
            await connection.execute("SELECT record_legs('{}','{}','{}','{}','{}','{}','{}','{}')")


@pytest.mark.parametrize("verb", ["INSERT", "UPDATE", "DELETE", "TRUNCATE", "DISABLE TRIGGER", "DROP", "LOCK"])
@pytest.mark.parametrize("table", TABLES)
async def test_nothing_else_can_be_written(bank: Bank, application: Connection, table: str, verb: str) -> None:
    columns = await _columns(bank, table)
    forbidden = [column for column in columns if column not in WRITABLE_COLUMNS.get((table, verb), frozenset())]
    name = sql.SQL(table)
    statements = {
        "INSERT": [sql.SQL("INSERT INTO {} ({}) VALUES (DEFAULT)").format(name, sql.Identifier(column)) for column in forbidden],
        "UPDATE": [sql.SQL("UPDATE {} SET {} = DEFAULT").format(name, sql.Identifier(column)) for column in forbidden],
        "DELETE": [sql.SQL("DELETE FROM {}").format(name)],
        "TRUNCATE": [sql.SQL("TRUNCATE {} CASCADE").format(name)],
        "DISABLE TRIGGER": [sql.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(name)],
        "DROP": [sql.SQL("DROP TABLE {} CASCADE").format(name), sql.SQL("ALTER TABLE {} ADD more text").format(name)],
        # Whoever could lock out everybody would stop the bank.
        "LOCK": [sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name)] if (table, "UPDATE") not in WRITABLE_COLUMNS else [],
    }
    for statement in statements[verb]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with application.transaction():
                await application.execute(statement)


@pytest.mark.parametrize("table", TABLES)
async def test_everything_can_be_read(application: Connection, table: str) -> None:
    await application.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.SQL(table)))


ESCAPES: dict[str, LiteralString] = {
    "a function": "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a function of its session": "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a function in the audit's schema": "CREATE FUNCTION audit.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a replaced function": "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "a changed function": "ALTER FUNCTION record_legs SECURITY INVOKER",
    "a table": "CREATE TABLE public.mine (a int)",
    "a table of its session": "CREATE TEMPORARY TABLE account (a int)",
    "a schema": "CREATE SCHEMA mine",
    "a trigger": "CREATE TRIGGER mine BEFORE INSERT ON offline_entry FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "a policy": "CREATE POLICY mine ON transaction USING (true)",
    "no triggers": "SET session_replication_role = replica",
    "a role": "CREATE ROLE mine",
    "a fold with any amount": "SELECT fold_account('main', 'a', 1000000, pg_current_snapshot())",
}


@pytest.mark.parametrize("what", ESCAPES)
async def test_there_is_no_way_around(application: Connection, what: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await application.execute(ESCAPES[what])


async def test_of_transactions_only_rejections_are_written_directly(bank: Bank, application: Connection) -> None:
    row = {
        "tenant": bank.tenant,
        "transaction_id": new_id(),
        "fingerprint": "f",
        "kind": "deposit",
        "creditor": "a",
        "request": "{}",
        "status": "rejected",
        "submitted_by": "teller",
        "submitted_at": "2026-03-02 09:30:00+00",
        "finished_at": "2026-03-02 09:30:00+00",
    }
    insert = sql.SQL("INSERT INTO transaction ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
    )
    await application.execute(insert, row)
    for status in ("completed", "reversed", "processing", "parked"):
        finished = row["finished_at"] if status in {"completed", "reversed"} else None
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            await application.execute(insert, {**row, "transaction_id": new_id(), "status": status, "finished_at": finished})


async def test_the_functions_that_post_are_for_the_application_and_for_nobody_else(bank: Bank) -> None:
    functions = await bank.select(
        "SELECT CAST(oid AS regprocedure)::text AS name, proconfig AS settings,"
        " has_function_privilege('public', oid, 'EXECUTE') AS everybody FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )
    assert len(functions) >= 10
    for function in functions:
        assert not function["everybody"], function
        assert any(setting.startswith("search_path=") and setting.endswith(", pg_temp") for setting in function["settings"]), function


async def test_a_leg_whose_sides_do_not_sum_to_zero_is_refused_by_the_database(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await bank.open(funds=100)
    monkeypatch.setattr("infra.postgres.posting.gl_entries", lambda _posting: ())
    for posting in (bank.deposit(account, 5), bank.withdrawal(account, 5)):
        with pytest.raises(LedgerIntegrityError, match=r"sums to -?5 minor units of EUR"):
            await bank.post(posting)
        assert await bank.nothing_is_written_of(posting.request.transaction_id)
    assert (await bank.balance(account)).ledger == 100


async def test_a_leg_in_another_currency_than_its_account_is_refused_by_the_database(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await bank.open()
    posting = bank.deposit(account, 5)
    await bank.rows.execute("UPDATE account SET currency = 'CZK' WHERE account_id = %s", [account])
    monkeypatch.setattr("infra.postgres.posting._Batch._missing", lambda _batch, _bundle: None)
    with pytest.raises(LedgerIntegrityError, match=f"account {account} of tenant {bank.tenant} is not kept in EUR"):
        await bank.post(posting)
    assert await bank.nothing_is_written_of(posting.request.transaction_id)


@pytest.fixture
async def login(bank: Bank) -> AsyncIterator[str]:
    """A role that may log in and nothing else; its URL."""
    name = f"login_{uuid.uuid4().hex[:8]}"
    await bank.rows.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
    yield make_conninfo(bank.url, user=name, password="x")
    await bank.rows.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _as_url(conninfo: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    return f"postgresql://{parts['user']}:{parts['password']}@{parts['host']}:{parts['port']}/{parts['dbname']}"


async def test_a_member_of_the_role_may_post_and_one_who_is_not_is_told_what_to_grant(bank: Bank, login: str) -> None:
    url, name = _as_url(login), psycopg.conninfo.conninfo_to_dict(login)["user"]
    account = await bank.open(funds=100)
    stranger = Database.open(url, pool_size=1, role=APPLICATION_ROLE)
    with pytest.raises(UnavailableError, match=f'GRANT "{APPLICATION_ROLE}" TO "{name}"'):
        await stranger.ping()
    await bank.rows.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(APPLICATION_ROLE), sql.Identifier(str(name))))
    await stranger.ping()
    await stranger.close()
    for role in (APPLICATION_ROLE, None):  # by SET ROLE, and by what it inherits
        database = Database.open(url, pool_size=1, role=role)
        member = Bank(url=url, database=database, rows=bank.rows, tenant=bank.tenant, currencies=bank.currencies)
        assert (await member.post(member.withdrawal(account, 5))).posted
        await database.close()


@pytest.mark.parametrize("role", [RELAY_ROLE, CONSUMER_ROLE])
async def test_who_logs_in_as_a_member_of_the_application_can_relay_and_consume(bank: Bank, login: str, role: str) -> None:
    """As logins were set up before these had roles of their own."""
    name = str(psycopg.conninfo.conninfo_to_dict(login)["user"])
    await bank.rows.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(APPLICATION_ROLE), sql.Identifier(name)))
    database = Database.open(_as_url(login), pool_size=1, role=role)
    await database.ping()
    await database.close()


async def test_a_role_that_is_not_there_is_named(bank: Bank) -> None:
    database = Database.open(bank.url, pool_size=1, role="casaflow_nobody")
    with pytest.raises(UnavailableError, match=r'there is no role "casaflow_nobody" yet.*casaflow migrate'):
        await database.ping()
    await database.close()


async def test_every_connection_of_a_pool_has_the_role_and_keeps_it(bank: Bank) -> None:
    database = Database.open(bank.url, pool_size=1, role=APPLICATION_ROLE)

    async def whoami(connection: Any) -> str:
        return str((await connection.exec_driver_sql("SELECT current_user")).scalar_one())

    async def fail(connection: Any) -> None:
        await connection.exec_driver_sql("SELECT 1 / 0")

    for run in (database.run, database.run_statement, database.run):
        assert await run(whoami) == APPLICATION_ROLE
        with pytest.raises(LedgerIntegrityError):
            await run(fail)
    await database.close()
