from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from infra.postgres.ledger import reject_on
from ledger.accounts import AccountStatus
from ledger.decisions import Decision
from ledger.errors import LedgerIntegrityError, TransactionConflictError
from ledger.money import Money
from ledger.postings import Posting, compensation_posting, credit_posting
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import AccountRef
from ledger.results import Rejection, TransactionResult, TransactionStatus
from tests.integration.postgres.bank import ALL_ENTRIES, PATIENCE_SECONDS, Bank, leg_sums

CANCELLED = Refusal(code=RefusalCode.CANCELLED, detail="it was cancelled before posting had begun")


async def _contents(bank: Bank) -> list[Any]:
    """Everything that posting writes for the bank, except when events were published."""
    return [
        await bank.select("SELECT * FROM transaction WHERE tenant = %(tenant)s ORDER BY transaction_id"),
        await bank.select("SELECT * FROM decision WHERE tenant = %(tenant)s ORDER BY account_id, transaction_id, leg"),
        await bank.select("SELECT * FROM offline_entry WHERE tenant = %(tenant)s ORDER BY account_id, transaction_id, leg"),
        await bank.select("SELECT * FROM online_entry WHERE tenant = %(tenant)s ORDER BY account_id, version"),
        await bank.select("SELECT debited, version FROM online_balance WHERE tenant = %(tenant)s ORDER BY account_id"),
        await bank.select("SELECT * FROM gl_entry WHERE tenant = %(tenant)s ORDER BY transaction_id, leg, account_id, currency"),
        await bank.select("SELECT * FROM event_outbox WHERE tenant = %(tenant)s ORDER BY event_id"),
    ]


async def test_a_repeated_leg_gets_the_stored_answer_and_changes_nothing(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open()
    closed = await bank.open()
    await bank.close(closed)
    reversed_debit = bank.transfer(debtor, closed, 50)
    reversed_legs = await bank.post_transfer(reversed_debit)
    debit = bank.transfer(debtor, creditor, 200)
    debited, credited = await bank.post_transfer(debit)
    answers: list[tuple[Posting, Decision]] = [
        (debit, debited),
        (credit_posting(debit, debited, conversion=None), credited),
        (reversed_debit, reversed_legs[0]),
        (credit_posting(reversed_debit, reversed_legs[0], conversion=None), reversed_legs[1]),
        (compensation_posting(reversed_debit, reversed_legs[0], reversed_legs[1]), reversed_legs[2]),
    ]
    before = await _contents(bank)
    for posting, answer in answers:
        assert await bank.post(posting) == answer
    assert await _contents(bank) == before


async def test_a_refusal_is_answered_again_even_when_it_would_be_accepted_by_now(bank: Bank) -> None:
    poor, frozen = await bank.open(funds=10), await bank.open()
    await bank.set_status(frozen, AccountStatus.FROZEN)
    withdrawal, deposit = bank.withdrawal(poor, 11), bank.deposit(frozen, 5)
    refused = [await bank.post(withdrawal), await bank.post(deposit)]
    await bank.post(bank.deposit(poor, 100))
    await bank.set_status(frozen, AccountStatus.ACTIVE)
    before = await _contents(bank)
    assert [await bank.post(withdrawal), await bank.post(deposit)] == refused
    assert [leg.posted for leg in refused] == [False, False]
    assert await _contents(bank) == before


async def test_an_accepted_debit_is_answered_again_even_when_it_would_be_refused_by_now(bank: Bank) -> None:
    account = await bank.open(funds=100)
    withdrawal = bank.withdrawal(account, 100)
    accepted = await bank.post(withdrawal)
    await bank.close(account)
    assert await bank.post(withdrawal) == accepted
    assert accepted.posted


async def test_a_repeat_by_a_colleague_a_day_later_is_the_same_transaction(bank: Bank) -> None:
    account = await bank.open()
    posting = bank.deposit(account, 5)
    first = await bank.post(posting)
    later = posting.request.model_copy(update={"submitted_by": "other", "submitted_at": first.decided_at})
    assert await bank.post(bank.first(later)) == first


def _other_contents(bank: Bank, posting: Posting, other_account: str) -> list[Posting]:
    """The same id with one thing changed each: amount, reference, metadata, settlement, account, direction."""
    request = posting.request
    account = request.debtor or request.creditor
    assert account is not None
    side = "debtor" if request.debtor else "creditor"
    other_side = "creditor" if request.debtor else "debtor"
    ref = AccountRef(account_id=other_account, currency="EUR")
    changes: list[dict[str, Any]] = [
        {"amount": Money(minor_units=request.amount.minor_units + 1, currency="EUR")},
        {"reference": "another"},
        {"metadata": {"a": "b"}},
        {"settlement": "clearing"},
        {side: ref},
        {side: None, other_side: account},
        {side: None, other_side: ref},
        {other_side: ref},
    ]
    return [bank.first(request.model_copy(update=change)) for change in changes]


async def test_the_same_id_with_other_content_or_other_accounts_is_a_conflict_and_writes_nothing(bank: Bank) -> None:
    account, other = await bank.open(funds=1000), await bank.open(funds=1000)
    for posting in (bank.deposit(account, 5), bank.withdrawal(account, 5), bank.withdrawal(account, 5000)):
        await bank.post(posting)
        before = await _contents(bank)
        for changed in _other_contents(bank, posting, other):
            with pytest.raises(TransactionConflictError):
                await bank.post(changed)
            with pytest.raises(TransactionConflictError):
                await bank.ledger.reject(Rejection(request=changed.request, refusal=CANCELLED))
        assert await _contents(bank) == before


@pytest.mark.parametrize("kind", ["credit", "debit"])
@pytest.mark.parametrize("differs", ["amount", "account"])
async def test_of_two_contents_that_race_under_one_id_one_is_posted_and_the_other_is_a_conflict(
    bank: Bank, kind: str, differs: str
) -> None:
    account, other = await bank.open(funds=1000), await bank.open(funds=1000)
    make = bank.deposit if kind == "credit" else bank.withdrawal
    first = make(account, 5)
    # On another account the racing leg shares no lock but the transaction's id.
    transaction_id = first.request.transaction_id
    rival = make(account, 6, transaction_id=transaction_id) if differs == "amount" else make(other, 5, transaction_id=transaction_id)
    async with bank.in_flight(first) as decision:
        racing = asyncio.create_task(bank.post(rival))
        await bank.until_blocked()
        assert not racing.done()
    with pytest.raises(TransactionConflictError):
        await racing
    assert await bank.count("decision", transaction_id) == 1
    assert await bank.post(first) == decision
    assert set(leg_sums(await bank.select(ALL_ENTRIES)).values()) == {0}
    balances = [(await bank.balance(each)).ledger for each in (account, other)]
    assert balances == [1005 if kind == "credit" else 995, 1000]


@pytest.mark.parametrize("kind", ["credit", "debit", "refused debit"])
async def test_one_id_racing_on_many_connections_is_posted_once_and_all_get_the_same_answer(bank: Bank, kind: str) -> None:
    account = await bank.open(funds=1000)
    for _ in range(10):
        posting = {
            "credit": bank.deposit(account, 5),
            "debit": bank.withdrawal(account, 5),
            "refused debit": bank.withdrawal(account, 5000),
        }[kind]
        answers = await asyncio.gather(*(bank.post(posting) for _ in range(8)))
        assert len({answer.model_dump_json() for answer in answers}) == 1
        assert await bank.count("decision", posting.request.transaction_id) == 1
        assert await bank.count("event_outbox", posting.request.transaction_id) == (1 if kind == "refused debit" else 2)
    assert (await bank.balance(account)).ledger == {"credit": 1050, "debit": 950, "refused debit": 1000}[kind]
    assert set(leg_sums(await bank.select(ALL_ENTRIES)).values()) == {0}


@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest.mark.parametrize("kind", ["credit", "debit"])
async def test_a_repeat_waits_for_the_same_id_in_flight_and_takes_its_answer_or_its_place(bank: Bank, kind: str, ends: str) -> None:
    account = await bank.open(funds=1000)
    posting = bank.deposit(account, 5) if kind == "credit" else bank.withdrawal(account, 5)

    async with bank.in_flight(posting, commit=ends == "commit") as decision:
        repeat = asyncio.create_task(bank.post(posting))
        await bank.until_blocked()
        assert not repeat.done()
    answer = await repeat

    assert answer.posted
    assert (answer == decision) == (ends == "commit")
    assert await bank.post(posting) == answer
    assert await bank.count("decision", posting.request.transaction_id) == 1
    assert (await bank.balance(account)).ledger == (1005 if kind == "credit" else 995)


async def test_two_processes_that_post_the_same_ids_at_once_post_each_once_and_get_the_same_answers(
    bank: Bank, pytestconfig: pytest.Config
) -> None:
    account = await bank.open(funds=100)
    postings = [bank.withdrawal(account, 7) if number % 2 else bank.deposit(account, 3) for number in range(120)]
    work = json.dumps({"url": bank.url, "postings": [posting.model_dump(mode="json") for posting in postings]})

    async def run() -> list[dict[str, Any]]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.postgres.posting_process"),
            cwd=pytestconfig.rootpath,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(work.encode())
        assert process.returncode == 0
        answers: list[dict[str, Any]] = json.loads(output)
        return answers

    async with asyncio.timeout(PATIENCE_SECONDS):
        await bank.rows.execute("SELECT pg_advisory_lock(1)")
        processes = asyncio.gather(run(), run())
        await bank.until_blocked(2)  # Both are ready, and begin at once.
        await bank.rows.execute("SELECT pg_advisory_unlock(1)")
        one, other = await processes

    assert one == other
    accepted = [posting for posting, answer in zip(postings, one, strict=True) if answer["outcome"] == "posted"]
    debits = [posting for posting in accepted if posting.is_debit]
    assert 0 < len(debits) < len([posting for posting in postings if posting.is_debit]), "the funds should run out"
    balance = 100 + sum(-posting.amount.minor_units if posting.is_debit else posting.amount.minor_units for posting in accepted)
    assert (await bank.balance(account)).ledger == balance
    assert sorted(answer["version"] for answer in one if answer["version"]) == list(range(1, len(debits) + 1))
    assert await bank.value("SELECT count(*) FROM decision WHERE tenant = %(tenant)s") == len(postings) + 1


# ---- reject ----


async def test_a_rejection_is_recorded_once_with_its_event_and_repeats_get_it(bank: Bank) -> None:
    account = await bank.open()
    request = bank.request(creditor=account, amount=5)
    rejected = await bank.ledger.reject(Rejection(request=request, refusal=CANCELLED))
    expected = TransactionResult(transaction_id=request.transaction_id, status=TransactionStatus.REJECTED, reason=CANCELLED)
    assert rejected == expected
    before = await _contents(bank)
    later = Refusal(code=RefusalCode.RATE_UNAVAILABLE, detail="another reason")
    assert await bank.ledger.reject(Rejection(request=request, refusal=CANCELLED)) == expected
    assert await bank.ledger.reject(Rejection(request=request, refusal=later)) == expected
    assert await _contents(bank) == before
    (event,) = await bank.outbox.unpublished(bank.tenant, request.transaction_id)
    assert (event.type, event.subject) == ("casaflow.accounting.transaction-rejected.v1", request.transaction_id)
    assert json.loads(event.data)["reason"]["code"] == "cancelled"
    record = await bank.transactions.get(bank.tenant, request.transaction_id)
    assert record is not None
    assert (record.result, record.request, record.finished_at) == (expected, request, event.time)


async def test_rejections_that_race_are_recorded_once(bank: Bank) -> None:
    account = await bank.open()
    for _ in range(5):
        request = bank.request(creditor=account, amount=5)
        rejections = [
            Rejection(request=request, refusal=CANCELLED.model_copy(update={"detail": f"reason {number}"})) for number in range(8)
        ]
        results = await asyncio.gather(*(bank.ledger.reject(rejection) for rejection in rejections))
        assert len({result.model_dump_json() for result in results}) == 1
        assert await bank.count("event_outbox", request.transaction_id) == 1


async def test_rejecting_an_id_that_has_legs_gets_the_stored_result(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open()
    deposit, transfer = bank.deposit(creditor, 5), bank.transfer(debtor, creditor, 100)
    deposited, debited = await bank.post(deposit), await bank.post(transfer)
    unfunded = bank.withdrawal(debtor, 10**6)
    refused = await bank.post(unfunded)
    before = await _contents(bank)
    rejections = [Rejection(request=posting.request, refusal=CANCELLED) for posting in (deposit, transfer, unfunded)]
    results = [await bank.ledger.reject(rejection) for rejection in rejections]
    assert [(result.status, result.legs) for result in results] == [
        (TransactionStatus.COMPLETED, (deposited,)),
        (TransactionStatus.PROCESSING, (debited,)),
        (TransactionStatus.REJECTED, (refused,)),
    ]
    assert results[2].reason == refused.refusal
    assert await _contents(bank) == before


@pytest.mark.parametrize("kind", ["credit", "debit", "transfer"])
async def test_a_leg_that_comes_after_its_rejection_is_refused_for_the_same_reason_and_moves_no_money(bank: Bank, kind: str) -> None:
    account, other = await bank.open(funds=1000), await bank.open()
    posting = {"credit": bank.deposit(account, 5), "debit": bank.withdrawal(account, 5), "transfer": bank.transfer(account, other, 5)}[kind]
    await bank.ledger.reject(Rejection(request=posting.request, refusal=CANCELLED))
    before = await _contents(bank)
    for _ in range(2):
        late = await bank.post(posting)
        assert (late.posted, late.refusal, late.amount, late.version) == (False, CANCELLED, posting.amount, None)
    assert await _contents(bank) == before
    assert (await bank.balance(account)).ledger == 1000


LONGER_THAN_A_LEG_SECONDS = 0.1


async def _reject_after(seconds: float, bank: Bank, rejection: Rejection) -> TransactionResult:
    await asyncio.sleep(max(seconds, 0))
    return await bank.ledger.reject(rejection)


async def _post_after(seconds: float, bank: Bank, posting: Posting) -> Decision:
    await asyncio.sleep(max(seconds, 0))
    return await bank.post(posting)


async def test_a_leg_and_a_rejection_that_race_agree_on_one_outcome(bank: Bank) -> None:
    account = await bank.open(funds=10_000)
    outcomes = set()
    for number in range(60):
        posting = bank.withdrawal(account, 5) if number % 2 else bank.deposit(account, 5)
        rejection = Rejection(request=posting.request, refusal=CANCELLED)
        # From a leg with a handicap to a rejection with one.
        handicap = (number / 30 - 1) * LONGER_THAN_A_LEG_SECONDS
        decision, result = await asyncio.gather(_post_after(-handicap, bank, posting), _reject_after(handicap, bank, rejection))
        outcomes.add(decision.posted)
        status = TransactionStatus.COMPLETED if decision.posted else TransactionStatus.REJECTED
        assert result.status is status
        assert await bank.count("gl_entry", posting.request.transaction_id) == (1 if decision.posted else 0)
        assert await bank.count("event_outbox", posting.request.transaction_id) == (2 if decision.posted else 1)
        record = await bank.transactions.get(bank.tenant, posting.request.transaction_id)
        assert record is not None
        assert record.result == result
    assert outcomes == {True, False}, "each side should have won some of the races"


@pytest.mark.parametrize("kind", ["credit", "debit"])
async def test_a_leg_waits_for_its_rejection_in_flight(bank: Bank, kind: str) -> None:
    account = await bank.open(funds=1000)
    posting = bank.deposit(account, 5) if kind == "credit" else bank.withdrawal(account, 5)
    rejection = Rejection(request=posting.request, refusal=CANCELLED)
    async with bank.uncommitted(lambda connection: reject_on(connection, rejection)):
        late = asyncio.create_task(bank.post(posting))
        await bank.until_blocked()
        assert not late.done()
    assert (await late).refusal == CANCELLED
    assert await bank.count("gl_entry", posting.request.transaction_id) == 0
    assert (await bank.balance(account)).ledger == 1000


async def test_a_leg_that_was_never_decided_cannot_follow_once_the_transaction_is_completed(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open()
    debit = bank.transfer(debtor, creditor, 100)
    debited, credited = await bank.post_transfer(debit)
    before = await _contents(bank)
    with pytest.raises(LedgerIntegrityError):
        await bank.post(compensation_posting(debit, debited, credited))
    assert await _contents(bank) == before
