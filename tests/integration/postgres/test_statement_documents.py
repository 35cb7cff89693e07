"""Documents against an independent model: any period, with checkpoints and without, on many pages, beside late commits."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from infra.postgres.accounts import PostgresAccounts
from infra.postgres.checkpoints import PostgresCheckpoints
from infra.postgres.statement_documents import PostgresStatementDocuments
from infra.postgres.statement_lines import GroupStatements
from infra.postgres.statements import PostgresStatements
from ledger.documents import DocumentLine, StatementDocument
from starter.documents import StatementDocuments
from tests.integration.postgres.bank import Bank
from tests.integration.postgres.booked import MICROSECOND, NO_MARGIN, NOON, assert_lines, open_posting, random_entries, write

BEGIN, END = NOON - dt.timedelta(days=1), NOON + dt.timedelta(days=1)


@pytest.fixture
def documents(bank: Bank) -> StatementDocuments:
    database = bank.database
    return StatementDocuments(
        PostgresAccounts(database), PostgresStatements(database), GroupStatements(database), PostgresStatementDocuments(database)
    )


async def _document(
    documents: StatementDocuments, bank: Bank, account: str, since: dt.datetime | None, until: dt.datetime | None
) -> tuple[StatementDocument, list[DocumentLine]]:
    document = await documents.of_period(bank.tenant, account, since, until, now=END)
    return document, [line async for line in documents.lines(bank.tenant, document)]


@pytest.mark.parametrize("lines_per_checkpoint", [None, 13])
async def test_any_period_is_what_a_model_makes_of_the_entries(
    bank: Bank, documents: StatementDocuments, lines_per_checkpoint: int | None
) -> None:
    chance = random.Random(7)  # noqa: S311  repeatable, not secret
    account = await bank.open()
    entries = sorted(random_entries(chance, 1_200), key=lambda booked: booked.order)
    await write(bank, account, entries)
    if lines_per_checkpoint is not None:
        await PostgresCheckpoints(bank.database).advance(margin=NO_MARGIN, lines=lines_per_checkpoint)
    instants = [booked.posted_at for booked in entries]
    edges = [(BEGIN, END), (BEGIN, BEGIN), (END, END), (instants[0], instants[-1]), (instants[0], instants[-1] + MICROSECOND)]
    edges += [tuple(sorted(chance.sample(instants, 2))) for _ in range(5)]  # type: ignore[misc]
    for since, until in edges:
        document, lines = await _document(documents, bank, account, since, until)
        expected = [booked for booked in entries if since <= booked.posted_at < until]
        opening = sum(booked.amount for booked in entries if booked.posted_at < since)
        assert (document.since, document.until, document.lines) == (since, until, len(expected))
        assert document.opening_balance == opening
        assert document.closing_balance == opening + sum(booked.amount for booked in expected)
        assert document.credited - document.debited == sum(booked.amount for booked in expected)
        assert document.debited == -sum(booked.amount for booked in expected if booked.amount < 0)
        assert_lines([line.entry for line in lines], expected, opening)
    assert len(entries) > 1_000  # more than two pages


async def test_a_document_ends_before_a_posting_that_is_under_way_and_a_later_one_has_it(bank: Bank, documents: StatementDocuments) -> None:
    account = await bank.open()
    async with open_posting(bank, account, 700) as booked:
        document, lines = await _document(documents, bank, account, None, None)
        assert lines == []
        assert document.until <= booked.posted_at
        assert (document.opening_balance, document.closing_balance) == (0, 0)
    document, lines = await _document(documents, bank, account, None, None)
    assert [line.entry.amount for line in lines] == [700]
    assert document.until > booked.posted_at


async def test_ten_thousand_lines_lead_to_the_closing_balance(bank: Bank, documents: StatementDocuments) -> None:
    account = await bank.open()
    await bank.rows.execute(
        "INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, posted_at, value_date)"
        " SELECT %s, %s, 'EUR', n, gen_random_uuid(), 'credit', %s + n * interval '1 second', '2026-03-02'"
        "   FROM generate_series(1, 10000) AS n",
        (bank.tenant, account, NOON),
    )
    document, lines = await _document(documents, bank, account, BEGIN, END)
    assert (len(lines), document.closing_balance) == (10_000, 50_005_000)
    assert [line.entry.amount for line in lines] == list(range(1, 10_001))
