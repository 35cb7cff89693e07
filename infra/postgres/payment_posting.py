"""Posts the lines of a payment file in chunks, each one database transaction with the file's progress. See decision record 0032."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from infra.postgres.plain_lines import FileTexts, PlainLine
from infra.postgres.posting import Bundle, MissedLockError, OvertakenError, RecordedBefore, SimplyPosted, post_batch
from ledger.decisions import Decision
from ledger.errors import (
    BusyError,
    CasaflowError,
    LedgerIntegrityError,
    NotFoundError,
    TransactionConflictError,
    UnavailableError,
    UnknownAccountError,
)
from ledger.payment_files import MAX_ATOMIC_LINES, FileMode, FileProgress, FileReason, FileStatus
from ledger.results import TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import psycopg

    from infra.postgres.database import Database
    from infra.postgres.posting import Answer
    from ledger.payment_files import FileKey

_log = structlog.get_logger(__name__)

CHUNK: Final = 500
"""Lines in one database transaction: enough to share a commit, few enough that a debtor's row is free again in a moment."""
_MAX_ATTEMPTS: Final = 10
_MOST_CURRENCIES: Final = 200_000

_KEY: Final = "tenant = %(tenant)s AND file_id = %(file_id)s::uuid"
_STANDS: Final = f"""
    SELECT mode, status, paused, lines, next_line, completed, rejected, submitted_by, submitted_at FROM payment_file WHERE {_KEY}
"""  # noqa: S608  constants, here and below
_LOCK: Final = f"{_STANDS} FOR NO KEY UPDATE"
_LINES: Final = f"""
    SELECT number, place, transaction_id::text, debtor, creditor, amount, currency, settlement, reference, remittance_information,
           value_date, metadata
      FROM payment_line WHERE {_KEY} AND number >= %(first)s ORDER BY number LIMIT %(at_most)s
"""  # noqa: S608
_CURRENCIES: Final = "SELECT account_id, currency FROM account WHERE tenant = %s AND account_id = ANY (%s) AND kind <> 'internal'"
_STATUSES: Final = """
    SELECT transaction_id::text, status FROM transaction WHERE tenant = %s AND transaction_id = ANY (%s::uuid[])
"""
_REFUSE: Final = """
    INSERT INTO payment_line_refusal (tenant, file_id, number, code, detail)
    SELECT %(tenant)s, %(file_id)s::uuid, r.number, r.code, r.detail
      FROM unnest(%(numbers)s::bigint[], %(codes)s::text[], %(details)s::text[]) AS r (number, code, detail)
"""
_ADVANCE: Final = f"""
    UPDATE payment_file
       SET next_line = %(next_line)s, completed = completed + %(completed)s, rejected = rejected + %(rejected)s,
           status = CASE WHEN %(next_line)s > lines THEN 'completed' ELSE status END,
           finished_at = CASE WHEN %(next_line)s > lines THEN clock_timestamp() END
     WHERE {_KEY}
    RETURNING status, paused, lines, completed, rejected
"""  # noqa: S608
_REJECT_ALL: Final = f"""
    UPDATE payment_file
       SET status = 'rejected', rejected = lines, completed = 0, reason_code = %(code)s, reason_detail = %(detail)s,
           finished_at = clock_timestamp()
     WHERE {_KEY} AND status = 'posting'
    RETURNING status, paused, lines, completed, rejected
"""  # noqa: S608


@dataclass
class _File:
    """What a chunk needs to know of its file."""

    mode: FileMode
    status: FileStatus
    paused: bool
    lines: int
    next_line: int
    completed: int
    rejected: int
    submitted_by: str
    submitted_at: dt.datetime

    @property
    def progress(self) -> FileProgress:
        return FileProgress(status=self.status, paused=self.paused, lines=self.lines, completed=self.completed, rejected=self.rejected)

    @property
    def goes_on(self) -> bool:
        return self.status is FileStatus.POSTING and not self.paused


@dataclass(frozen=True)
class _Refused:
    """A line that became no transaction, or, of an atomic file, one that must not be."""

    number: int
    place: str
    code: str
    detail: str


@dataclass
class _Chunk:
    """Lines that follow each other, ready to be posted."""

    first: int
    next_line: int
    lines: list[PlainLine] = field(default_factory=list)
    numbers: list[tuple[int, str]] = field(default_factory=list)
    """Of the lines: number and place."""
    refused: list[_Refused] = field(default_factory=list)


class _RefusedError(Exception):
    """Of an atomic file a line is refused; nothing is written."""

    def __init__(self, refused: Sequence[_Refused]) -> None:
        self.refused = refused
        super().__init__("a line is refused")


class PaymentPosting:
    """Posts lines. Several that post one file do no harm: each chunk begins under the lock of the file's row, where the last one ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._currencies: dict[tuple[str, str], str] = {}
        """By tenant and account: an account's currency never changes."""

    async def post_some(self, key: FileKey, *, at_most: int, beat: Callable[[int], None]) -> FileProgress:
        """Post lines until so many are decided, or the file is paused or over.

        Args:
            key: which file.
            at_most: lines.
            beat: told after each chunk how many lines are decided.

        Raises:
            NotFoundError: there is no such file.
            UnavailableError: the outcome of the last chunk is unknown; go on, and it is found or posted.
        """
        file = await self._stands(key)
        begun_at, size = file.next_line, CHUNK if file.mode is FileMode.BEST_EFFORT else MAX_ATOMIC_LINES
        coming: asyncio.Task[_Chunk] | None = None
        try:
            while file.goes_on and file.next_line - begun_at < at_most:
                chunk = await coming if coming is not None else await self._prepared(key, file, file.next_line, size)
                coming = None
                if chunk.first != file.next_line:
                    continue  # somebody else has posted meanwhile
                if chunk.next_line <= file.lines and file.mode is FileMode.BEST_EFFORT:
                    # Put together while PostgreSQL writes this one.
                    coming = asyncio.create_task(self._prepared(key, file, chunk.next_line, size))
                try:
                    file = await self._posted(key, file, chunk)
                except LedgerIntegrityError as error:
                    await _dropped(coming)
                    coming = None
                    if len(chunk.lines) <= 1 or file.mode is FileMode.ATOMIC:
                        file = await self._after_a_defect(key, file, chunk, error)
                    size = max(1, len(chunk.lines) // 2)
                    continue
                size = min(size * 2, CHUNK) if file.mode is FileMode.BEST_EFFORT else size
                beat(file.completed + file.rejected)
        finally:
            await _dropped(coming)
        return file.progress

    async def _stands(self, key: FileKey) -> _File:
        async def work(driver: psycopg.AsyncConnection[Any]) -> _File:
            return _file(await (await driver.execute(_STANDS, key.model_dump())).fetchone(), key)

        return await self._database.run_on_driver(work)

    async def _prepared(self, key: FileKey, file: _File, first: int, at_most: int) -> _Chunk:
        """The next lines, with all that can be written of them before they are decided."""
        values = {**key.model_dump(), "first": first, "at_most": at_most}

        async def work(driver: psycopg.AsyncConnection[Any]) -> list[tuple[Any, ...]]:
            rows = await (await driver.execute(_LINES, values)).fetchall()
            if len(self._currencies) > _MOST_CURRENCIES:
                self._currencies.clear()
            named = {account for row in rows for account in row[3:5] if account is not None}
            unknown = [account for account in named if (key.tenant, account) not in self._currencies]
            if unknown:
                found = await driver.execute(_CURRENCIES, (key.tenant, unknown))
                self._currencies.update({(key.tenant, row[0]): row[1] for row in await found.fetchall()})
            return rows

        rows = await self._database.run_on_driver(work)
        chunk = _Chunk(first=first, next_line=first)
        texts = FileTexts.of(key.tenant, file.submitted_by, file.submitted_at, dt.datetime.now(dt.UTC).date())
        ids: set[str] = set()
        for row in rows:
            number, place, transaction_id = row[:3]
            if transaction_id in ids:
                break  # a batch holds each id once; the next one finds what became of it
            ids.add(transaction_id)
            chunk.next_line = number + 1
            refused = self._unfit(key.tenant, row)
            if refused is not None:
                chunk.refused.append(refused)
            else:
                chunk.lines.append(PlainLine(texts, row[2:]))
                chunk.numbers.append((number, place))
        return chunk

    def _unfit(self, tenant: str, row: tuple[Any, ...]) -> _Refused | None:
        """Why a line can't be a transaction; None when it can."""
        number, place, _, debtor, creditor, _, currency = row[:7]
        for name, account_id in (("debtor", debtor), ("creditor", creditor)):
            own = self._currencies.get((tenant, account_id)) if account_id is not None else currency
            if own is None:
                return _Refused(number, place, FileReason.UNKNOWN_ACCOUNT, f"{name}: there is no account {account_id}")
            if own != currency:
                detail = f"{name}: account {account_id} is kept in {own}, and a payment file converts nothing"
                return _Refused(number, place, FileReason.CURRENCY_MISMATCH, detail)
        return None

    async def _posted(self, key: FileKey, file: _File, chunk: _Chunk) -> _File:
        """Post a chunk, all of it or nothing, unless somebody else has gone on with the file.

        Raises:
            LedgerIntegrityError: something of it can't be recorded; nothing was.
            UnavailableError: the outcome is unknown.
        """
        look_up = False
        for _ in range(_MAX_ATTEMPTS):
            try:
                return await self._attempt(key, chunk, look_up=look_up)
            except OvertakenError:
                look_up = True
            except (MissedLockError, BusyError):
                continue
            except _RefusedError as error:
                return await self._rejected(key, file, error.refused)
            except CasaflowError:
                raise
            except Exception as error:
                _log.error("file.chunk-not-decided", file_id=key.file_id, first=chunk.first, exc_info=error)
                message = f"{type(error).__name__}: {error}"
                raise LedgerIntegrityError(message) from error
        raise BusyError(part="postgres", detail=f"others were faster {_MAX_ATTEMPTS} times in a row")

    async def _attempt(self, key: FileKey, chunk: _Chunk, *, look_up: bool) -> _File:
        async def work(driver: psycopg.AsyncConnection[Any]) -> _File:
            await driver.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            file = _file(await (await driver.execute(_LOCK, key.model_dump())).fetchone(), key)
            if not file.goes_on or file.next_line != chunk.first:
                await driver.execute("ROLLBACK")
                return file
            bundles = [_bundle(line) for line in chunk.lines] if look_up else chunk.lines
            answers = await post_batch(driver, bundles, look_up=look_up, commit=False) if bundles else []
            refused = list(chunk.refused)
            outcomes = await _outcomes(driver, key.tenant, chunk, answers, refused)
            if file.mode is FileMode.ATOMIC and (outcomes[False] or refused):
                raise _RefusedError([*refused, *_refusals(chunk, answers)])
            if refused:
                await driver.execute(_REFUSE, {**key.model_dump(), **_columns(refused)})
            counts = {"next_line": chunk.next_line, "completed": outcomes[True], "rejected": outcomes[False] + len(refused)}
            row = await (await driver.execute(_ADVANCE, {**key.model_dump(), **counts})).fetchone()
            await driver.execute("COMMIT")
            return _advanced(file, row, next_line=chunk.next_line)

        return await self._database.run_on_driver(work)

    async def _rejected(self, key: FileKey, file: _File, refused: Sequence[_Refused]) -> _File:
        """Record that nothing of an atomic file is posted, and why."""
        first = min(refused, key=lambda line: line.number) if refused else None
        detail = f"{first.place} is refused: {first.detail}" if first is not None else "a line is refused"
        reason = {"code": FileReason.LINE_REFUSED.value, "detail": f"{detail}; so none of the file's lines is posted"}

        async def work(driver: psycopg.AsyncConnection[Any]) -> _File:
            await driver.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            row = await (await driver.execute(_REJECT_ALL, {**key.model_dump(), **reason})).fetchone()
            if row is None:
                await driver.execute("ROLLBACK")
                return _file(await (await driver.execute(_STANDS, key.model_dump())).fetchone(), key)
            if refused:
                await driver.execute(_REFUSE, {**key.model_dump(), **_columns(refused)})
            await driver.execute("COMMIT")
            return _advanced(file, row, next_line=file.next_line)

        return await self._database.run_on_driver(work)

    async def _after_a_defect(self, key: FileKey, file: _File, chunk: _Chunk, error: LedgerIntegrityError) -> _File:
        """Go on without a line that can't be recorded; an atomic file ends with it."""
        refused = [_Refused(number, place, FileReason.LEDGER_INTEGRITY, str(error)[:500]) for number, place in chunk.numbers[:1]]
        if file.mode is FileMode.ATOMIC:
            return await self._rejected(key, file, refused)
        return await self._posted(key, file, _Chunk(chunk.first, chunk.next_line, refused=[*chunk.refused, *refused]))


def _bundle(line: PlainLine) -> Bundle:
    request = line.request()
    return Bundle(request, line.legs(request), linked=request.linked)


async def _dropped(coming: asyncio.Task[_Chunk] | None) -> None:
    if coming is not None:
        with suppress(CasaflowError, asyncio.CancelledError):
            await coming


async def _outcomes(
    driver: psycopg.AsyncConnection[Any], tenant: str, chunk: _Chunk, answers: Sequence[Answer | CasaflowError], refused: list[_Refused]
) -> Counter[bool]:
    """How many lines are completed (True) and rejected by the ledger (False); those that became no transaction go to `refused`."""
    outcomes: Counter[bool] = Counter()
    before: dict[str, tuple[int, str]] = {}
    for line, where, answer in zip(chunk.lines, chunk.numbers, answers, strict=True):
        if isinstance(answer, SimplyPosted):
            outcomes[True] += 1
        elif isinstance(answer, TransactionResult):
            outcomes[answer.status is TransactionStatus.COMPLETED] += 1
        elif isinstance(answer, Decision):
            outcomes[answer.posted] += 1
        elif isinstance(answer, RecordedBefore):
            before[line.transaction_id] = where
        else:
            refused.append(_without_transaction(where, answer))
    if before:
        for transaction_id, status in await (await driver.execute(_STATUSES, (tenant, list(before)))).fetchall():
            if status in {TransactionStatus.PROCESSING, TransactionStatus.PARKED}:
                detail = f"transaction {transaction_id} is under way, and was not begun by this file; look it up"
                refused.append(_Refused(*before[transaction_id], FileReason.IN_PROGRESS, detail))
            else:
                outcomes[status == TransactionStatus.COMPLETED] += 1
    return outcomes


def _without_transaction(where: tuple[int, str], error: CasaflowError) -> _Refused:
    codes = {UnknownAccountError: FileReason.UNKNOWN_ACCOUNT, TransactionConflictError: FileReason.TRANSACTION_CONFLICT}
    return _Refused(*where, codes.get(type(error), FileReason.LEDGER_INTEGRITY), str(error)[:500])


def _refusals(chunk: _Chunk, answers: Sequence[Answer | CasaflowError]) -> list[_Refused]:
    """What the ledger says of an atomic file's lines, of which none will be recorded."""
    found: list[_Refused] = []
    for where, answer in zip(chunk.numbers, answers, strict=True):
        reason = answer.refusal if isinstance(answer, Decision) else answer.reason if isinstance(answer, TransactionResult) else None
        if reason is not None:
            found.append(_Refused(*where, reason.code, reason.detail))
    return found


def _columns(refused: Sequence[_Refused]) -> Mapping[str, list[Any]]:
    return {
        "numbers": [line.number for line in refused],
        "codes": [str(line.code) for line in refused],
        "details": [line.detail for line in refused],
    }


def _file(row: tuple[Any, ...] | None, key: FileKey) -> _File:
    if row is None:
        raise NotFoundError(kind="file", identifier=key.file_id)
    mode, status, paused, lines, next_line, completed, rejected, submitted_by, submitted_at = row
    return _File(
        FileMode(mode), FileStatus(status), paused, lines, next_line, completed, rejected, submitted_by, submitted_at.astimezone(dt.UTC)
    )


def _advanced(file: _File, row: tuple[Any, ...] | None, *, next_line: int) -> _File:
    if row is None:
        message = "a file that was there is not"
        raise UnavailableError(part="postgres", detail=message)
    return _File(file.mode, FileStatus(row[0]), row[1], row[2], next_line, row[3], row[4], file.submitted_by, file.submitted_at)
