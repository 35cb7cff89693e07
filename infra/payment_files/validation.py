"""Validates a payment file as a whole before anything of it is posted, and stores its lines."""

from __future__ import annotations

import asyncio
import io
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from infra.payment_files.formats import reader_of
from ledger.errors import BusyError, InvalidInputError, LedgerIntegrityError, UnreadableFormatError
from ledger.ids import payment_transaction_id
from ledger.payment_files import MAX_ATOMIC_LINES, MAX_SHOWN_PROBLEMS, FileHeader, FileMode, FileStatus, LineProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from infra.postgres.accounts import PostgresAccounts
    from infra.postgres.payment_files import PostgresPaymentFiles
    from ledger.payment_files import FileKey, FileProgress, PaymentFile, PaymentLine
    from ledger.waits import WaitingRules

LINES_AT_ONCE: Final = 5_000
"""Lines that are in memory, and stored by one COPY."""
_NO_HEADER: Final = FileHeader(None, None, None, None, None, None)


class FileValidator:
    """Reads a file's bytes where they are stored. Safe to repeat: what an earlier attempt has stored isn't stored again."""

    def __init__(self, files: PostgresPaymentFiles, accounts: PostgresAccounts, rules: WaitingRules, *, bic: str | None = None) -> None:
        """Take where files and accounts are, what a transaction has to wait for, and the bank's BIC."""
        self._bic = bic
        self._files = files
        self._accounts = accounts
        self._rules = rules

    async def validate(self, key: FileKey, *, beat: Callable[[int], None]) -> FileProgress:
        """Find all problems of a file, and have it posted or rejected.

        Args:
            key: which file.
            beat: told after each part how many lines were read.

        Raises:
            NotFoundError: there is no such file.
            UnavailableError: the database did not answer; validate it again.
        """
        file = await self._files.get(key)
        if file.progress.status is not FileStatus.VALIDATING:
            return file.progress
        problems = _Problems()
        stream = io.BufferedReader(_StoredBytes(self._files, key, asyncio.get_running_loop()))
        try:
            read = reader_of(file.media_type, bic=self._bic)
            header, lines = await asyncio.to_thread(read, cast("BinaryIO", stream), problem=problems.add)
        except (InvalidInputError, UnreadableFormatError) as error:
            problems.add(_whole(error))
            return await self._files.malformed(key, _NO_HEADER, lines=0, problems=problems.shown, counted=problems.counted)
        counted = await self._read_all(file, header, lines, problems, beat)
        if problems.counted:
            return await self._files.malformed(key, header, lines=counted, problems=problems.shown, counted=problems.counted)
        return await self._files.validated(key, header, lines=counted)

    async def _read_all(
        self,
        file: PaymentFile,
        header: FileHeader,
        lines: Iterator[PaymentLine],
        problems: _Problems,
        beat: Callable[[int], None],
    ) -> int:
        """Read to the end, and store what is right while nothing is wrong; how many lines there are."""
        source = header.message_id or file.content_hash
        stored = await self._files.lines_stored(file.key)
        seen: set[str] = set()
        counted = 0
        try:
            while part := await asyncio.to_thread(lambda: list(islice(lines, LINES_AT_ONCE))):
                counted = part[-1].number
                await self._check(file, part, problems)
                identified = [(line, line.transaction_id or payment_transaction_id(file.tenant, source, line.number)) for line in part]
                if file.mode is FileMode.ATOMIC and counted <= MAX_ATOMIC_LINES:
                    _check_once(identified, seen, problems)
                new = [pair for pair in identified if pair[0].number > stored]
                if new and not problems.counted:
                    await self._store(file, new)
                beat(counted)
        except InvalidInputError as error:
            problems.add(_whole(error))  # what follows can't be read
        counted += problems.counted if not counted else 0
        if counted == 0:
            problems.add(LineProblem("file", "lines", "0", "must be one at least"))
        if file.mode is FileMode.ATOMIC and counted > MAX_ATOMIC_LINES:
            rule = f"must be {MAX_ATOMIC_LINES} at most with mode=atomic; split the file, or send it with mode=best-effort"
            problems.add(LineProblem("file", "lines", str(counted), rule))
        return counted

    async def _store(self, file: PaymentFile, lines: Sequence[tuple[PaymentLine, str]]) -> None:
        try:
            await self._files.store_lines(file.key, lines)
        except LedgerIntegrityError as error:
            # An attempt that was given up for dead may be at work beside this one. Once it is done, the next one finds its lines.
            if await self._files.lines_stored(file.key) < lines[0][0].number:
                raise
            raise BusyError(part="files", detail=f"file {file.file_id} is being validated elsewhere") from error

    async def _check(self, file: PaymentFile, lines: Sequence[PaymentLine], problems: _Problems) -> None:
        """What is known of accounts for good: their currency. Whether they may pay, and whether they exist by then, is decided later."""
        named = {account for line in lines for account in (line.debtor, line.creditor) if account is not None}
        accounts = await self._accounts.get_many(file.tenant, named)
        for line in lines:
            for field, account_id in (("debtor", line.debtor), ("creditor", line.creditor)):
                account = accounts.get(account_id or "")
                if account is not None and account.currency != line.amount.currency:
                    rule = f"must be that of the {field}'s account, {account.currency}: a payment file converts nothing"
                    problems.add(LineProblem(line.place, "currency", line.amount.currency, rule))
            if self._rules.thresholds.demands_of(file.tenant, line.amount):
                rule = "must be within the threshold above which a second person approves; submit it as a transaction of its own"
                problems.add(LineProblem(line.place, "amount", line.amount.decimal_string, rule))


class _Problems:
    """The first ones, and how many there are."""

    def __init__(self) -> None:
        self.shown: list[LineProblem] = []
        self.counted = 0

    def add(self, problem: LineProblem) -> None:
        self.counted += 1
        if len(self.shown) < MAX_SHOWN_PROBLEMS:
            self.shown.append(problem)


class _StoredBytes(io.RawIOBase):
    """A file's bytes for a reader that runs in a thread of its own; one stored part is in memory."""

    def __init__(self, files: PostgresPaymentFiles, key: FileKey, loop: asyncio.AbstractEventLoop) -> None:
        self._files = files
        self._key = key
        self._loop = loop
        self._number = 0
        self._part = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what the interpreter gives
        if not self._part:
            self._number += 1
            coming = asyncio.run_coroutine_threadsafe(self._files.content(self._key, self._number), self._loop)
            self._part = memoryview(coming.result())
        size = min(len(buffer), len(self._part))
        buffer[:size] = self._part[:size]
        self._part = self._part[size:]
        return size


def _whole(error: InvalidInputError | UnreadableFormatError) -> LineProblem:
    if isinstance(error, InvalidInputError):
        return LineProblem("file", error.field, str(error.value)[:80], error.rule)
    return LineProblem("file", "media type", error.media_type, str(error))


def _check_once(lines: Sequence[tuple[PaymentLine, str]], seen: set[str], problems: _Problems) -> None:
    for line, identifier in lines:
        if identifier in seen:
            problems.add(LineProblem(line.place, "transaction_id", identifier, "must be another one in each line of an atomic file"))
        seen.add(identifier)
