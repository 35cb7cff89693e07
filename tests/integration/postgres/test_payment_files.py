"""Payment files in the database: a message id counts once, and a repeat of what was stored or decided changes nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid

import pytest

from infra.payment_files.validation import FileValidator
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.payment_files import PostgresPaymentFiles
from infra.postgres.payment_posting import PaymentPosting
from ledger.accounts import AccountKind
from ledger.errors import BusyError, NotFoundError
from ledger.payment_files import FileHeader, FileKey, FileMode, FileStatus, LineProblem, NewFile
from ledger.waits import ApprovalThresholds, WaitingRules

HEADER = FileHeader("MSG-1", dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC), "Anna", "1.00", 1, "pain.001.001.09")


@pytest.fixture
def tenant() -> str:
    return f"files-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def files(database: Database) -> PostgresPaymentFiles:
    return PostgresPaymentFiles(database)


async def _entered(files: PostgresPaymentFiles, tenant: str, content: bytes = b"") -> FileKey:
    key = FileKey(tenant=tenant, file_id=str(uuid.uuid4()))
    if content:
        await files.store_content(key, 1, content)
    await files.enter(
        NewFile(
            **key.model_dump(),
            mode=FileMode.BEST_EFFORT,
            media_type="text/csv",
            size=len(content),
            content_hash=key.file_id,
            submitted_by="teller",
            submitted_at=dt.datetime.now(dt.UTC),
        )
    )
    return key


async def test_second_file_with_a_message_id_is_rejected_and_names_the_first(files: PostgresPaymentFiles, tenant: str) -> None:
    first, second = await _entered(files, tenant), await _entered(files, tenant)
    assert (await files.validated(first, HEADER, lines=1)).status is FileStatus.POSTING
    assert (await files.validated(second, HEADER, lines=1)).status is FileStatus.REJECTED
    (problem,) = await files.problems(second, at_most=10)
    assert (problem.field, problem.value) == ("message_id", "MSG-1")
    assert first.file_id in problem.rule
    assert FileHeader.of((await files.get(first)).header) == HEADER
    assert (await files.validated(await _entered(files, f"{tenant}-2"), HEADER, lines=1)).status is FileStatus.POSTING


async def test_of_files_with_one_message_id_at_the_same_time_one_is_posted(files: PostgresPaymentFiles, tenant: str) -> None:
    keys = [await _entered(files, tenant) for _ in range(4)]
    found = await asyncio.gather(*(files.validated(key, HEADER, lines=1) for key in keys))
    assert sorted(progress.status for progress in found) == ["posting", "rejected", "rejected", "rejected"]


async def test_message_id_of_a_rejected_file_may_come_again(files: PostgresPaymentFiles, tenant: str) -> None:
    problem = LineProblem("line 2", "amount", "x", "must be right")
    rejected = await files.malformed(await _entered(files, tenant), HEADER, lines=1, problems=[problem], counted=1)
    assert rejected.status is FileStatus.REJECTED
    assert (await files.validated(await _entered(files, tenant), HEADER, lines=1)).status is FileStatus.POSTING


async def test_line_above_the_threshold_is_no_way_around_a_second_person(
    files: PostgresPaymentFiles, database: Database, tenant: str
) -> None:
    rules = WaitingRules(thresholds=ApprovalThresholds(everywhere={"EUR": 100_00}))
    key = await _entered(files, tenant, b"debtor,creditor,amount,currency\nA,B,100.00,EUR\nA,B,100.01,EUR\n")
    assert (await FileValidator(files, PostgresAccounts(database), rules).validate(key, beat=lambda _: None)).status == "rejected"
    (problem,) = await files.problems(key, at_most=10)
    assert (problem.place, problem.field) == ("line 3", "amount")
    assert "second person" in problem.rule


async def test_two_that_read_and_two_that_post_one_file_do_it_once(files: PostgresPaymentFiles, database: Database, tenant: str) -> None:
    accounts = PostgresAccounts(database)
    for account_id in ("A", "B"):
        await accounts.open_account(tenant=tenant, account_id=account_id, currency="EUR", kind=AccountKind.CURRENT)
    key = await _entered(files, tenant, b"debtor,creditor,amount,currency\n" + b",A,1.00,EUR\n" * 1_200 + b"A,B,2.00,EUR\n" * 600)
    readers = [FileValidator(files, accounts, WaitingRules()).validate(key, beat=lambda _: None) for _ in range(2)]
    read = await asyncio.gather(*readers, return_exceptions=True)
    assert all(isinstance(each, BusyError) or getattr(each, "lines", 0) == 1_800 for each in read)
    posting = [PaymentPosting(database).post_some(key, at_most=10_000, beat=lambda _: None) for _ in range(2)]
    for progress in await asyncio.gather(*posting):
        assert (progress.status, progress.completed, progress.rejected) == ("completed", 1_800, 0)
    balance = await accounts.balance(tenant, "B")
    assert balance is not None
    assert balance.ledger == 1_200_00


async def test_file_that_is_not_there_is_said_to_be_so(database: Database, tenant: str) -> None:
    with pytest.raises(NotFoundError):
        await PaymentPosting(database).post_some(FileKey(tenant=tenant, file_id=str(uuid.uuid4())), at_most=1, beat=lambda _: None)
