"""Group commit on a real PostgreSQL: legs that arrive together go together, and each gets its own answer all the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.postgres.ledger import MAX_BATCH_LEGS, PostgresLedger, reject_on
from ledger.accounts import AccountStatus
from ledger.decisions import Decision
from ledger.errors import BusyError, LedgerIntegrityError, TransactionConflictError, UnavailableError, UnknownAccountError
from ledger.postings import Posting
from ledger.refusals import Refusal, RefusalCode
from ledger.results import Rejection
from tests.integration.postgres.bank import ALL_ENTRIES, PATIENCE_SECONDS, Bank, above_the_limit, leg_sums, new_id

DISTINCT_WRITERS = "SELECT count(DISTINCT CAST(xmin AS text)) FROM decision WHERE tenant = %(tenant)s AND account_id = %(account)s"


async def _together(ledger: PostgresLedger, postings: Sequence[Posting]) -> list[Decision | BaseException]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.gather(*(ledger.post(posting) for posting in postings), return_exceptions=True)


def _decisions(answers: Sequence[Decision | BaseException]) -> list[Decision]:
    wrong = [answer for answer in answers if not isinstance(answer, Decision)]
    assert not wrong
    return [answer for answer in answers if isinstance(answer, Decision)]


async def _nothing_is_lost(bank: Bank, accounts: dict[str, int]) -> None:
    assert {account: (await bank.balance(account)).ledger for account in accounts} == accounts
    assert set(leg_sums(await bank.select(ALL_ENTRIES)).values()) == {0}


async def test_debits_of_one_account_that_arrive_together_go_together_and_are_decided_one_by_one(
    bank: Bank, ledger: PostgresLedger
) -> None:
    account = await bank.open(funds=1_000)
    decisions = _decisions(await _together(ledger, [bank.withdrawal(account, 30) for _ in range(100)]))
    posted = [decision for decision in decisions if decision.posted]
    assert len(posted) == 33
    assert [decision.version for decision in posted] == list(range(1, 34))
    assert [decision.available_after for decision in posted] == list(range(970, 0, -30))
    assert {decision.refusal.code for decision in decisions if decision.refusal} == {RefusalCode.INSUFFICIENT_FUNDS}
    assert await bank.value(DISTINCT_WRITERS, account=account) <= 5
    await _nothing_is_lost(bank, {account: 10})


async def test_a_small_debit_after_a_refused_large_one_of_the_same_batch_is_accepted(bank: Bank, ledger: PostgresLedger) -> None:
    account = await bank.open(funds=100)
    await ledger.post(bank.withdrawal(account, 10))
    amounts = [80, 50, 10, 1]
    decisions = _decisions(await _together(ledger, [bank.withdrawal(account, amount) for amount in amounts]))
    assert [decision.posted for decision in decisions] == [True, False, True, False]
    await _nothing_is_lost(bank, {account: 0})


async def test_credits_of_many_accounts_go_together_beside_an_open_debit_of_each(bank: Bank, ledger: PostgresLedger) -> None:
    accounts = [await bank.open(funds=100) for _ in range(5)]
    held = text("SELECT 1 FROM online_balance WHERE tenant = :tenant FOR UPDATE")

    async def hold(connection: AsyncConnection) -> None:
        await connection.execute(text("SET LOCAL ROLE NONE"))  # the application locks a row only in functions
        await connection.execute(held, {"tenant": bank.tenant})

    async with bank.uncommitted(hold):
        answers = _decisions(await _together(ledger, [bank.deposit(account, 1) for account in accounts for _ in range(20)]))
    assert all(answer.posted for answer in answers)
    await _nothing_is_lost(bank, dict.fromkeys(accounts, 120))


async def test_one_bad_leg_fails_alone(bank: Bank, ledger: PostgresLedger) -> None:
    account = await bank.open(funds=100)
    taken = bank.deposit(account, 7)
    await ledger.post(taken)
    good = [bank.deposit(account, 1) for _ in range(20)]
    bad = [
        bank.deposit("nobody", 1),
        bank.deposit(account, 8, transaction_id=taken.request.transaction_id),
        above_the_limit(bank.deposit(account, 1)),
    ]
    answers = await _together(ledger, [*good[:10], *bad, *good[10:]])
    assert [type(answer) for answer in answers[10:13]] == [UnknownAccountError, TransactionConflictError, LedgerIntegrityError]
    assert all(decision.posted for decision in _decisions([*answers[:10], *answers[13:]]))
    await _nothing_is_lost(bank, {account: 127})


@pytest.mark.parametrize("kind", ["deposit", "withdrawal"])
async def test_repeats_of_a_leg_in_one_batch_wait_for_its_answer(bank: Bank, ledger: PostgresLedger, kind: str) -> None:
    account = await bank.open(funds=1_000)
    posting = bank.deposit(account, 10) if kind == "deposit" else bank.withdrawal(account, 10)
    first, *others = _decisions(await _together(ledger, [posting] * 20))
    assert all(other == first for other in others)
    await _nothing_is_lost(bank, {account: 1_010 if kind == "deposit" else 990})


async def test_the_same_id_with_other_content_in_one_batch_is_a_conflict_for_the_later_one(bank: Bank, ledger: PostgresLedger) -> None:
    account, other = await bank.open(funds=100), await bank.open(funds=100)
    transaction_id = new_id()
    postings = [
        bank.deposit(account, 10, transaction_id=transaction_id),
        bank.deposit(account, 11, transaction_id=transaction_id),
        bank.deposit(other, 10, transaction_id=transaction_id),
        bank.withdrawal(account, 10, transaction_id=transaction_id),
    ]
    answers = await _together(ledger, postings)
    assert isinstance(answers[0], Decision)
    assert [type(answer) for answer in answers[1:]] == [TransactionConflictError] * 3
    await _nothing_is_lost(bank, {account: 110, other: 100})


async def test_a_cancelled_caller_changes_nothing_for_the_others_and_its_leg_is_settled_by_posting_it_again(
    bank: Bank, ledger: PostgresLedger
) -> None:
    account = await bank.open(funds=1_000)
    postings = [bank.withdrawal(account, 10) for _ in range(20)]
    tasks = [asyncio.create_task(ledger.post(posting)) for posting in postings]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert all(answer.posted for answer in _decisions(answers[1::2]))
    assert all(answer.posted for answer in _decisions(await _together(ledger, postings)))
    await _nothing_is_lost(bank, {account: 800})


async def test_a_repeat_gets_the_answer_though_the_first_caller_was_cancelled(bank: Bank, ledger: PostgresLedger) -> None:
    account = await bank.open(funds=100)
    posting = bank.withdrawal(account, 10)
    first, repeat = asyncio.create_task(ledger.post(posting)), asyncio.create_task(ledger.post(posting))
    await asyncio.sleep(0)
    first.cancel()
    assert (await repeat).posted
    assert first.cancelled()
    await _nothing_is_lost(bank, {account: 90})


async def test_two_ledgers_that_race_with_the_same_legs_in_the_opposite_order_agree_on_each(bank: Bank, ledger: PostgresLedger) -> None:
    accounts = [await bank.open(funds=500) for _ in range(4)]
    postings = [bank.deposit(account, 10) if number % 2 else bank.withdrawal(account, 10) for account in accounts for number in range(60)]
    backwards = postings[::-1]
    other = PostgresLedger(bank.database)
    mine, theirs = await asyncio.gather(_together(ledger, postings), _together(other, backwards))
    by_id = {
        (answer.account_id, posting.request.transaction_id): answer for posting, answer in zip(postings, _decisions(mine), strict=True)
    }
    for posting, answer in zip(backwards, _decisions(theirs), strict=True):
        assert by_id[answer.account_id, posting.request.transaction_id] == answer
    await _nothing_is_lost(bank, dict.fromkeys(accounts, 500))


async def test_a_leg_that_is_rejected_between_its_batch_s_two_calls_leaves_no_gap_for_those_after_it(
    bank: Bank, ledger: PostgresLedger
) -> None:
    """The debits after it were decided as if it had been booked, so the batch is decided again without it."""
    account = await bank.open(funds=1_000)
    postings = [bank.withdrawal(account, 10) for _ in range(10)]
    overtaken = postings[3]
    rejection = Rejection(request=overtaken.request, refusal=Refusal(code=RefusalCode.CANCELLED, detail="cancelled"))

    async def reject(connection: AsyncConnection) -> None:
        await reject_on(connection, rejection)

    async with bank.uncommitted(reject):
        running = asyncio.create_task(_together(ledger, postings))
        await bank.until_blocked()
    decisions = _decisions(await running)
    assert [decision.posted for decision in decisions] == [True] * 3 + [False] + [True] * 6
    assert decisions[3].refusal is not None
    assert decisions[3].refusal.code is RefusalCode.CANCELLED
    assert sorted(decision.version or 0 for decision in decisions if decision.posted) == list(range(1, 10))
    await _nothing_is_lost(bank, {account: 910})


async def test_a_connection_that_is_killed_in_the_middle_of_a_batch_leaves_every_leg_to_be_settled_by_posting_it_again(
    bank: Bank, ledger: PostgresLedger
) -> None:
    account = await bank.open(funds=10_000)
    blocked = text("SELECT lock_account(:tenant, :account)")
    postings = [bank.withdrawal(account, 10) for _ in range(50)]

    async def hold(connection: AsyncConnection) -> None:
        await connection.execute(blocked, {"tenant": bank.tenant, "account": account})

    async with bank.uncommitted(hold):
        running = asyncio.create_task(_together(ledger, postings))
        await bank.until_blocked()
        await bank.select(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
    answers = await running
    assert any(isinstance(answer, UnavailableError) for answer in answers)
    assert all(answer.posted for answer in _decisions(await _together(ledger, postings)))
    await _nothing_is_lost(bank, {account: 9_500})


async def test_more_legs_than_a_batch_may_have_are_all_answered(bank: Bank, ledger: PostgresLedger) -> None:
    account = await bank.open(funds=0)
    answers = _decisions(await _together(ledger, [bank.deposit(account, 1) for _ in range(2 * MAX_BATCH_LEGS + 10)]))
    assert all(answer.posted for answer in answers)
    await _nothing_is_lost(bank, {account: 2 * MAX_BATCH_LEGS + 10})


async def test_a_batch_takes_two_round_trips_however_large_it_is(bank: Bank, ledger: PostgresLedger) -> None:
    account = await bank.open(funds=1_000)
    counted = []
    for legs in (1, 100):
        with _counted() as counts:
            await _together(ledger, [bank.withdrawal(account, 1) for _ in range(legs)])
        assert counts["COMMIT"] <= 3
        counted.append(counts["round trips"] / counts["COMMIT"])
    # Begin and open in one, record and commit in the other.
    assert counted == [2, 2]


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Statements that are sent by psycopg, by their first words, and its pipelines, each of which is a round trip."""
    counts: Counter[str] = Counter()
    execute, pipeline = psycopg.AsyncConnection.execute, psycopg.AsyncConnection.pipeline

    async def executing(self: psycopg.AsyncConnection[Any], query: Any, *arguments: Any, **options: Any) -> Any:
        counts[str(query).partition("(")[0]] += 1
        return await execute(self, query, *arguments, **options)

    def in_one_go(self: psycopg.AsyncConnection[Any]) -> AbstractAsyncContextManager[psycopg.AsyncPipeline]:
        counts["round trips"] += 1
        return pipeline(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "execute", executing)
        patch.setattr(psycopg.AsyncConnection, "pipeline", in_one_go)
        yield counts


async def test_a_freeze_between_two_batches_refuses_the_second(bank: Bank, ledger: PostgresLedger) -> None:
    account = await bank.open(funds=1_000)
    first = _decisions(await _together(ledger, [bank.withdrawal(account, 1) for _ in range(10)]))
    await bank.set_status(account, AccountStatus.FROZEN)
    second = _decisions(await _together(ledger, [bank.withdrawal(account, 1), bank.deposit(account, 1)]))
    assert all(decision.posted for decision in first)
    assert not any(decision.posted for decision in second)
    await _nothing_is_lost(bank, {account: 990})


async def test_a_leg_that_can_not_even_be_sent_fails_alone(bank: Bank, ledger: PostgresLedger) -> None:
    account = await bank.open()
    good = [bank.deposit(account, 1) for _ in range(10)]
    bad = bank.deposit(account, 1, submitted_by="te\x1fller")  # the separator of values
    answers = await asyncio.gather(*(ledger.post(posting) for posting in [*good[:5], bad, *good[5:]]), return_exceptions=True)
    assert isinstance(answers[5], LedgerIntegrityError)
    assert all(isinstance(answer, Decision) and answer.posted for answer in [*answers[:5], *answers[6:]])


async def test_two_ledgers_that_post_the_same_credits_in_opposite_order_never_wait_in_a_circle(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an outage, when a batch whose outcome is unknown is posted again, while it is still on its way."""
    gave_way = []

    def busy(**why: str) -> BusyError:
        gave_way.append(why["detail"])
        return BusyError(**why)

    monkeypatch.setattr("infra.postgres.database.BusyError", busy)
    account = await bank.open()
    low, middle, high = sorted((bank.deposit(account, 1) for _ in range(3)), key=lambda posting: posting.request.transaction_id)
    async with bank.in_flight(middle, commit=False):
        # Each batch has inserted what it could, and waits for the middle one: in the order of arrival they would hold each other's ends.
        both = asyncio.gather(_together(bank.ledger, [low, middle, high]), _together(bank.ledger, [high, middle, low]))
        await bank.until_blocked(2)
    one, other = await both
    assert one == other[::-1]
    assert gave_way == []
