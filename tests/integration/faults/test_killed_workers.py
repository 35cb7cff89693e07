"""`kill -9` in the middle of a run: what the dead worker had posted stands, the rest is carried on, and nothing happens twice."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import uuid
from decimal import Decimal
from functools import partial
from pathlib import Path

import psycopg
import pytest

from infra.settings import Settings
from starter.entries import COLUMNS
from tests.integration.faults.bank import Bank, Topics, results
from tests.integration.faults.worker_process import worker_process
from tests.stack_fixtures import RunningStack
from tests.workflow.conftest import eventually

TRANSACTIONS = 210
LINES, FILE_ACCOUNTS = 300, 12


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
async def test_transactions_of_a_killed_worker_are_carried_on_by_the_next(
    bank: Bank, topics: Topics, settings: Settings, tmp_path: Path, kills: int
) -> None:
    handles = await bank.submit(TRANSACTIONS)
    died_with_work_left = 0
    for kill in range(1, kills + 1):
        with worker_process(settings, tmp_path) as worker:
            enough = TRANSACTIONS * kill // (kills + 2)
            await eventually(partial(_has_finished, bank, enough), seconds=120)
            worker.send_signal(signal.SIGKILL)
            assert worker.wait() == -signal.SIGKILL
        died_with_work_left += await bank.finished() < TRANSACTIONS
    assert died_with_work_left == kills
    with worker_process(settings, tmp_path):
        await results(handles)
        bank.assert_each_transaction_completed_once()
        bank.assert_money_is_neither_lost_nor_made()
        # What a worker had published and not marked when it was killed, the next one's relay publishes once more.
        await eventually(lambda: bank.unpublished() == 0, seconds=60)
        events = bank.events()
        assert len(events) == bank.expected_events()
        assert await topics.until(set(events)) == {event_id: {payload} for event_id, payload in events.items()}


async def _has_finished(bank: Bank, count: int) -> bool:
    return await bank.finished() >= count


def _write_file(path: Path, prefix: str) -> dict[str, Decimal]:
    """A file of entries on a few accounts in turn, two credits and then a debit; returns the last running total of each account."""
    totals: dict[str, Decimal] = {}
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, COLUMNS)
        lines.writeheader()
        for number in range(LINES):
            account_id = f"{prefix}-{number % FILE_ACCOUNTS}"
            is_credit = number // FILE_ACCOUNTS % 3 != 2
            amount = Decimal(100 + number) / 100 if is_credit else Decimal("0.75")
            totals[account_id] = totals.get(account_id, Decimal(0)) + (amount if is_credit else -amount)
            values = {
                "entry_id": f"{number}",
                "account_id": account_id,
                "booked_on": "2026-03-02",
                "direction": "credit" if is_credit else "debit",
                "operation": "cash-deposit" if is_credit else "cash-withdrawal",
                "amount": f"{amount:.2f}",
                "currency": "EUR",
                "running_total": f"{totals[account_id]:.2f}",
                "recorded_balance": f"{totals[account_id]:.2f}",
            }
            lines.writerow(dict.fromkeys(COLUMNS, "") | values)
    return totals


def _workers(stack: RunningStack) -> list[int]:
    """The pids of the stack's workers as they are now; empty while it writes its file anew."""
    assert stack.home is not None
    workers: list[int] = json.loads((stack.home / "stack.json").read_text())["pids"]["worker"]
    return workers


def _balances(stack: RunningStack, prefix: str) -> dict[str, Decimal]:
    with psycopg.connect(stack.postgres_dsn) as connection:
        found = connection.execute(
            "SELECT account_id, ledger FROM account_balance WHERE tenant = 'main' AND account_id LIKE %s", (f"{prefix}-%",)
        )
        return {account_id: Decimal(ledger) / 100 for account_id, ledger in found}


def _counts(stack: RunningStack, prefix: str) -> tuple[int, int, int]:
    """Of the file's accounts: transactions completed, entries, and events that are not marked as published."""
    with psycopg.connect(stack.postgres_dsn) as connection:
        found = connection.execute(
            """SELECT (SELECT count(*) FROM transaction WHERE tenant = 'main' AND coalesce(debtor, creditor) LIKE %(accounts)s
                                                         AND status = 'completed'),
                      (SELECT count(*) FROM offline_entry WHERE tenant = 'main' AND account_id LIKE %(accounts)s)
                    + (SELECT count(*) FROM online_entry WHERE tenant = 'main' AND account_id LIKE %(accounts)s),
                      (SELECT count(*) FROM event_outbox JOIN transaction USING (tenant, transaction_id)
                        WHERE tenant = 'main' AND coalesce(debtor, creditor) LIKE %(accounts)s AND published_at IS NULL)""",
            {"accounts": f"{prefix}-%"},
        ).fetchone()
    assert found is not None
    return found


async def test_a_file_ends_with_every_balance_right_though_all_that_carried_its_transactions_were_killed(
    stack: RunningStack, tmp_path: Path
) -> None:
    prefix = f"killed-{uuid.uuid4().hex[:8]}"
    path = tmp_path / "entries.csv"
    totals = _write_file(path, prefix)
    submitting = asyncio.create_task(asyncio.to_thread(stack.casaflow, "submit", str(path)))
    await eventually(lambda: _counts(stack, prefix)[0] >= LINES // 4, seconds=120)
    killed = _workers(stack)
    assert len(killed) == 2  # the worker, and the API, which carries transactions too
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    completed, _, _ = _counts(stack, prefix)
    assert completed < LINES, "the worker was killed too late to prove anything"
    submitted = await submitting
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert _balances(stack, prefix) == totals
    await eventually(lambda: _counts(stack, prefix) == (LINES, LINES, 0), seconds=60)
    assert not set(killed) & set(_workers(stack))
