"""The one way to hand in a payment file, and to pause, resume or cancel one."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import uuid
from typing import TYPE_CHECKING, Final

import structlog

from infra.payment_files.formats import reader_of, report_writer
from ledger.errors import DuplicateFileError, FileTooLargeError, InvalidInputError, UnavailableError
from ledger.payment_files import FileHeader, FileKey, NewFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import BinaryIO

    from infra.postgres.intake import PostgresIntake
    from infra.postgres.payment_files import PostgresPaymentFiles
    from infra.temporal.payment_files import FileKeeper
    from ledger.payment_files import FileAction, FileMode, LineOutcome, PaymentFile

_log = structlog.get_logger(__name__)

PART_BYTES: Final = 1024 * 1024
"""Of a file, that are in memory and stored at once."""

LINES_AT_ONCE: Final = 1_000
"""Of an outcome, that are in memory."""


class FileDesk:
    """Takes payment files in, and changes what becomes of them."""

    def __init__(self, files: PostgresPaymentFiles, keeper: FileKeeper, *, most_bytes: int, intake: PostgresIntake | None = None) -> None:
        """Take where files are, what starts their workflows, how large a file may be, and whether new ones are taken (None: always)."""
        self.files = files
        self._keeper = keeper
        self._most_bytes = most_bytes
        self._intake = intake

    async def take_in(
        self, tenant: str, body: AsyncIterator[bytes], *, media_type: str, mode: FileMode, by: str, announced_bytes: int | None
    ) -> PaymentFile:
        """Store a file as it arrives, and have it validated and posted.

        Args:
            tenant: whose file it is.
            body: its bytes.
            media_type: its format.
            mode: what a refused line does to the others.
            by: the authenticated principal.
            announced_bytes: how large the file says that it is; None: it doesn't.

        Raises:
            UnreadableFormatError: nothing here reads this format.
            FileTooLargeError: it has more bytes than are allowed.
            DuplicateFileError: it came before, and wasn't rejected.
            DrainingError: no files are taken now.
            UnavailableError: the database did not answer; the same file again is taken in, or a duplicate.
        """
        reader_of(media_type)
        if announced_bytes is not None and announced_bytes > self._most_bytes:
            raise FileTooLargeError(most_bytes=self._most_bytes)
        if self._intake is not None:
            await self._intake.admit()
        key = FileKey(tenant=tenant, file_id=str(uuid.uuid4()))
        size, content_hash = await self._stored(key, body)
        new = NewFile(
            **key.model_dump(), mode=mode, media_type=media_type, size=size, content_hash=content_hash, submitted_by=by,
            submitted_at=dt.datetime.now(dt.UTC),
        )  # fmt: skip
        try:
            await self.files.enter(new)
        except DuplicateFileError as error:
            # Whoever sent it first may have died before its workflow was started.
            await self._started(FileKey(tenant=tenant, file_id=error.file_id))
            raise
        await self._started(key)
        return await self.files.get(key)

    async def change(self, key: FileKey, action: FileAction, *, by: str, reason: str | None) -> PaymentFile:
        """Pause, resume or cancel a file. A change that is so already is no change.

        Raises:
            NotFoundError: the tenant has no such file.
            FileEndedError: it is over.
            UnavailableError: the database did not answer; change it again.
        """
        file = await self.files.change(key, action, by=by, reason=reason)
        await self._keeper.tell(key)
        return file

    async def report(self, file: PaymentFile, out: BinaryIO) -> None:
        """Write what became of a file that is over as pain.002. The writer runs in a thread; a page of lines is in memory.

        Raises:
            InvalidInputError: the file isn't over.
            UnreadableFormatError: nothing here writes pain.002.
        """
        progress = file.progress
        if not progress.final or file.finished_at is None:
            raise InvalidInputError(field="format", value="pain.002", rule="must be csv until the file is over")
        write, loop = report_writer(), asyncio.get_running_loop()
        status = "RJCT" if not progress.completed else "PART" if progress.rejected else "ACSC"

        def outcomes() -> Iterator[LineOutcome]:
            after = 0
            while page := asyncio.run_coroutine_threadsafe(self.files.lines(file.key, after=after, at_most=LINES_AT_ONCE), loop).result():
                yield from (line.outcome for line in page if line.outcome is not None)
                after = page[-1].number

        await asyncio.to_thread(
            write, out, FileHeader.of(file.header), status, outcomes(), message_id=uuid.UUID(file.file_id).hex, created_at=file.finished_at
        )

    async def _stored(self, key: FileKey, body: AsyncIterator[bytes]) -> tuple[int, str]:
        """Size and hash of what is stored."""
        digest, size, number = hashlib.sha256(), 0, 0
        part = bytearray()
        async for received in body:
            size += len(received)
            if size > self._most_bytes:
                raise FileTooLargeError(most_bytes=self._most_bytes)
            digest.update(received)
            part += received
            while len(part) >= PART_BYTES:
                number += 1
                await self.files.store_content(key, number, bytes(part[:PART_BYTES]))
                del part[:PART_BYTES]
        if part:
            await self.files.store_content(key, number + 1, bytes(part))
        return size, digest.hexdigest()

    async def _started(self, key: FileKey) -> None:
        """Start the workflow of a file that isn't over; while Temporal is away it waits for the workers' upkeep."""
        if (await self.files.get(key)).progress.final:
            return
        try:
            await self._keeper.start(key)
        except UnavailableError as error:
            _log.warning("file.not-started-yet", tenant=key.tenant, file_id=key.file_id, reason=str(error))
