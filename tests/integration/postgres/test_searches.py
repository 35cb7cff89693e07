"""Searches on a large table: each page goes along an index, looks at a bounded number of rows, and finds what a plain filter finds."""

from __future__ import annotations

import datetime as dt
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from infra.postgres.database import Database
from infra.postgres.searches import PostgresSearches, account_plan, hold_plan, transaction_plan
from ledger.accounts import AccountKind, AccountStatus
from ledger.errors import InvalidInputError
from ledger.holds import HoldStatus
from ledger.requests import TransactionKind
from ledger.results import TransactionStatus
from ledger.searches import SCANNED_AT_MOST, AccountSearch, HoldSearch, SearchOrder, TransactionSearch

pytestmark = pytest.mark.slow

TENANT = "large"
ROWS = 120_000
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

# Every hundredth is rejected, every thousandth is under way, every 5,000th has several creditors; A7 is a busy account.
FILL = """
    INSERT INTO transaction (tenant, transaction_id, fingerprint, kind, debtor, creditor, request, status, reason, submitted_by,
                             submitted_at, finished_at)
    SELECT %(tenant)s, md5(n::text)::uuid, 'f', r.kind, r.debtor, r.creditor,
           jsonb_strip_nulls(jsonb_build_object(
               'tenant', %(tenant)s, 'transaction_id', md5(n::text)::uuid, 'submitted_by', 'teller', 'submitted_at', r.at,
               'amount', jsonb_build_object('currency', 'EUR', 'minor_units', 1 + n %% 1000),
               'debtor', CASE WHEN r.debtor IS NOT NULL THEN jsonb_build_object('account_id', r.debtor, 'currency', 'EUR') END,
               'creditor', CASE WHEN r.creditor IS NOT NULL THEN jsonb_build_object('account_id', r.creditor, 'currency', 'EUR') END,
               'reference', CASE WHEN n %% 4 = 0 THEN 'R' || n / 8 END,
               'shares', CASE WHEN r.shared THEN jsonb_build_array(
                   jsonb_build_object('account', jsonb_build_object('account_id', 'A7', 'currency', 'EUR'),
                                      'amount', jsonb_build_object('currency', 'EUR', 'minor_units', 1 + n %% 1000))) END)),
           r.status, CASE WHEN r.status = 'rejected' THEN jsonb_build_object('code', 'insufficient-funds', 'detail', 'd') END,
           CASE WHEN n %% 7 = 0 THEN 'batch' ELSE 'teller' END, r.at,
           CASE WHEN r.status <> 'processing' THEN r.at END
      FROM generate_series(1, %(rows)s) AS n
     CROSS JOIN LATERAL (
           SELECT n %% 5000 = 0 AS shared, %(start)s + n * interval '1 second' AS at,
                  CASE WHEN n %% 5000 = 0 OR n %% 3 = 0 THEN NULL ELSE 'A' || n %% 40 END AS debtor,
                  CASE WHEN n %% 5000 = 0 OR n %% 3 = 1 THEN NULL ELSE 'A' || 40 + n %% 500 END AS creditor,
                  CASE WHEN n %% 3 = 0 OR n %% 5000 = 0 THEN 'deposit' WHEN n %% 3 = 1 THEN 'withdrawal' ELSE 'transfer' END AS kind,
                  CASE WHEN n %% 1000 = 1 THEN 'processing' WHEN n %% 100 = 0 THEN 'rejected' ELSE 'completed' END AS status) AS r
"""
FILL_ACCOUNTS = """
    INSERT INTO account (tenant, account_id, currency, kind, status)
    SELECT %(tenant)s, 'A' || n, CASE WHEN n %% 10 = 0 THEN 'USD' ELSE 'EUR' END, CASE WHEN n %% 2 = 0 THEN 'savings' ELSE 'current' END,
           CASE WHEN n %% 1000 = 0 THEN 'frozen' ELSE 'active' END
      FROM generate_series(1, %(rows)s) AS n
"""
FILL_HOLDS = """
    INSERT INTO hold (tenant, account_id, hold_id, amount, status, created_at, expires_at, currency, fingerprint, authorised_by, closed_at)
    SELECT %(tenant)s, 'A' || n %% 1000, md5('h' || n)::uuid, 100, CASE WHEN n %% 500 = 0 THEN 'open' ELSE 'voided' END,
           %(start)s + n * interval '1 second', CASE WHEN n %% 1000 = 0 THEN %(start)s ELSE timestamptz 'infinity' - interval '0' END,
           'EUR', 'f', 'teller', CASE WHEN n %% 500 = 0 THEN NULL ELSE %(start)s END
      FROM generate_series(1, %(rows)s) AS n
"""


@pytest.fixture(scope="module")
def filled(postgres_url: str) -> list[dict[str, Any]]:
    values = {"tenant": TENANT, "rows": ROWS, "start": START}
    with psycopg.connect(postgres_url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(FILL, values)
        connection.execute(FILL_ACCOUNTS, values)
        connection.execute(FILL_HOLDS.replace("timestamptz 'infinity' - interval '0'", "timestamptz '2999-01-01'"), values)
        for table in ("transaction", "account", "hold"):
            connection.execute(f"VACUUM (ANALYZE) {table}".encode())
        found = connection.execute(
            "SELECT transaction_id::text, debtor, creditor, request, status, kind, reason ->> 'code', submitted_by, submitted_at"
            "  FROM transaction WHERE tenant = %s",
            [TENANT],
        ).fetchall()
    names = ("transaction_id", "debtor", "creditor", "request", "status", "kind", "reason", "submitted_by", "submitted_at")
    return [dict(zip(names, row, strict=True)) for row in found]


SEARCHES: dict[str, TransactionSearch] = {
    "all": TransactionSearch(),
    "oldest first": TransactionSearch(order=SearchOrder.OLDEST_FIRST),
    "busy debtor": TransactionSearch(account_id="A7"),
    "creditor": TransactionSearch(account_id="A47", order=SearchOrder.OLDEST_FIRST),
    "no such account": TransactionSearch(account_id="Z"),
    "rejected": TransactionSearch(status=TransactionStatus.REJECTED),
    "processing": TransactionSearch(status=TransactionStatus.PROCESSING),
    "completed": TransactionSearch(status=TransactionStatus.COMPLETED, kind=TransactionKind.TRANSFER),
    "reason": TransactionSearch(reason="insufficient-funds"),
    "reference": TransactionSearch(reference="R77"),
    "amount": TransactionSearch(currency="EUR", least=500, most=500),
    "amount of an account": TransactionSearch(account_id="A7", currency="EUR", least=900),
    "submitter": TransactionSearch(submitted_by="batch", kind=TransactionKind.DEPOSIT),
    "range": TransactionSearch(submitted_from=START + dt.timedelta(hours=5), submitted_until=START + dt.timedelta(hours=6)),
    "range of an account": TransactionSearch(account_id="A7", submitted_until=START + dt.timedelta(hours=2)),
    "rare": TransactionSearch(currency="EUR", least=999, most=999, submitted_by="batch"),
    "other currency": TransactionSearch(currency="USD"),
}


def _fits(row: dict[str, Any], search: TransactionSearch) -> bool:
    shares = [share["account"]["account_id"] for share in row["request"].get("shares", [])]
    amount = row["request"]["amount"]
    conditions: list[tuple[object, Callable[[], bool]]] = [
        (search.account_id, lambda: search.account_id in (row["debtor"], row["creditor"], *shares)),
        (search.status, lambda: row["status"] == search.status),
        (search.kind, lambda: row["kind"] == search.kind),
        (search.currency, lambda: amount["currency"] == search.currency),
        (search.least, lambda: amount["minor_units"] >= (search.least or 0)),
        (search.most, lambda: amount["minor_units"] <= (search.most or 0)),
        (search.submitted_from, lambda: row["submitted_at"] >= search.submitted_from),
        (search.submitted_until, lambda: row["submitted_at"] < search.submitted_until),
        (search.reference, lambda: row["request"].get("reference") == search.reference),
        (search.reason, lambda: row["reason"] == search.reason),
        (search.submitted_by, lambda: row["submitted_by"] == search.submitted_by),
    ]
    return all(holds() for wanted, holds in conditions if wanted is not None)


@pytest.mark.parametrize("name", SEARCHES)
async def test_pages_hold_what_a_plain_filter_finds_in_its_order(database: Database, filled: list[dict[str, Any]], name: str) -> None:
    search = SEARCHES[name]
    newest_first = search.order is SearchOrder.NEWEST_FIRST
    wanted = sorted(
        (row for row in filled if _fits(row, search)), key=lambda row: (row["submitted_at"], row["transaction_id"]), reverse=newest_first
    )[:350]
    searches, found, cursor, pages = PostgresSearches(database), list[str](), None, 0
    while len(found) < len(wanted):
        page = await searches.transactions(TENANT, search, cursor=cursor, limit=100)
        found += [record.result.transaction_id for record in page.found]
        cursor, pages = page.next_cursor, pages + 1
        if cursor is None:
            break
    assert found[: len(wanted)] == [row["transaction_id"] for row in wanted]
    if len(wanted) < 350:
        while cursor is not None:
            page = await searches.transactions(TENANT, search, cursor=cursor, limit=100)
            assert not page.found
            cursor, pages = page.next_cursor, pages + 1
        assert pages <= ROWS // SCANNED_AT_MOST + 5


async def _plan_of(database: Database, statement: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    async def work(connection: Any) -> list[dict[str, Any]]:
        explained = (await connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"), values)).scalar_one()
        return explained if isinstance(explained, list) else list(json.loads(explained))

    def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
        return [node, *(inner for child in node.get("Plans", []) for inner in nodes(child))]

    return nodes((await database.run(work))[0]["Plan"])


PLANS = {
    **{f"transactions: {name}": transaction_plan(TENANT, search, cursor=None) for name, search in SEARCHES.items()},
    "transactions: behind": transaction_plan(TENANT, TransactionSearch(), cursor=TransactionSearch().cursor(START, str(uuid.UUID(int=0)))),
    "accounts: all": account_plan(TENANT, AccountSearch(), cursor=None),
    "accounts: prefix": account_plan(TENANT, AccountSearch(prefix="A777", kind=AccountKind.SAVINGS), cursor=None),
    "accounts: frozen": account_plan(TENANT, AccountSearch(status=AccountStatus.FROZEN), cursor=None),
    "accounts: behind": account_plan(TENANT, AccountSearch(), cursor=AccountSearch().cursor("A500")),
    "holds: all": hold_plan(TENANT, HoldSearch(), cursor=None),
    "holds: open": hold_plan(TENANT, HoldSearch(status=HoldStatus.OPEN), cursor=None),
    "holds: account": hold_plan(TENANT, HoldSearch(account_id="A7", order=SearchOrder.OLDEST_FIRST), cursor=None),
}


@pytest.mark.parametrize("name", PLANS)
async def test_search_goes_along_an_index_and_over_a_bounded_number_of_rows(
    database: Database, filled: list[dict[str, Any]], name: str
) -> None:
    plan = PLANS[name]
    nodes = await _plan_of(database, plan.page("*"), {**plan.values, "at_most": 26})
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], nodes
    for node in nodes:
        # Nothing is sorted but what is few: transactions with several creditors, open holds.
        if node["Node Type"] == "Sort":
            assert node["Actual Rows"] <= ROWS / 500, node
        assert node["Actual Rows"] * node["Actual Loops"] <= SCANNED_AT_MOST + 26, node


async def test_accounts_and_holds_are_found_by_all_conditions(database: Database, filled: list[dict[str, Any]]) -> None:
    searches = PostgresSearches(database)
    page = await searches.accounts(TENANT, AccountSearch(prefix="A77"), cursor=None, limit=100)
    wanted = sorted(f"A{number}" for number in range(1, ROWS + 1) if f"A{number}".startswith("A77"))
    assert [account.account_id for account in page.found] == wanted[:100]
    following = await searches.accounts(TENANT, AccountSearch(prefix="A77"), cursor=page.next_cursor, limit=100)
    assert [account.account_id for account in following.found] == wanted[100:200]

    search = AccountSearch(status=AccountStatus.FROZEN, currency="USD", kind=AccountKind.SAVINGS)
    frozen = await searches.accounts(TENANT, search, cursor=None, limit=100)
    assert [account.account_id for account in frozen.found] == sorted(f"A{number}" for number in range(1000, ROWS + 1, 1000))[:100]

    open_holds, expired = [
        await searches.holds(TENANT, HoldSearch(status=status), cursor=None, limit=100) for status in (HoldStatus.OPEN, HoldStatus.EXPIRED)
    ]
    assert len(open_holds.found) == 100
    assert {hold.status for hold in open_holds.found} == {HoldStatus.OPEN}
    # The sweep has not come by: an open hold past its end is among the expired ones.
    assert expired.found
    assert {hold.status for hold in expired.found} == {HoldStatus.EXPIRED}
    of_account = await searches.holds(TENANT, HoldSearch(account_id="A7"), cursor=None, limit=100)
    assert len(of_account.found) == 100
    assert {hold.account_id for hold in of_account.found} == {"A7"}


async def test_cursor_belongs_to_its_search_alone(database: Database, filled: list[dict[str, Any]]) -> None:
    searches = PostgresSearches(database)
    search = TransactionSearch(account_id="A7")
    page = await searches.transactions(TENANT, search, cursor=None, limit=1)
    for other in (replace(search, account_id="A8"), replace(search, order=SearchOrder.OLDEST_FIRST), TransactionSearch()):
        with pytest.raises(InvalidInputError, match="same search"):
            await searches.transactions(TENANT, other, cursor=page.next_cursor, limit=1)
    letters = random.Random(7)  # noqa: S311  no secret
    for _ in range(50):
        nonsense = "".join(letters.choices("abcXYZ012-_=%é\x00", k=letters.randrange(1, 40)))
        for refused in (searches.transactions(TENANT, search, cursor=nonsense, limit=1),):
            with pytest.raises(InvalidInputError, match="cursor"):
                await refused
        with pytest.raises(InvalidInputError, match="cursor"):
            await searches.accounts(TENANT, AccountSearch(), cursor=nonsense, limit=1)


async def test_other_tenants_rows_are_not_found(database: Database, filled: list[dict[str, Any]]) -> None:
    searches = PostgresSearches(database)
    assert not (await searches.transactions("other", TransactionSearch(), cursor=None, limit=10)).found
    assert not (await searches.transactions("other", TransactionSearch(account_id="A7"), cursor=None, limit=10)).found
    assert not (await searches.accounts("other", AccountSearch(prefix="A"), cursor=None, limit=10)).found
    assert not (await searches.holds("other", HoldSearch(), cursor=None, limit=10)).found
