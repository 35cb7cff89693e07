"""What is recorded of payment files: one scenario for each way that one may go, played on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from temporalio.client import Client, WorkflowHandle

from activities.payment_files import PaymentFileActivities
from infra.payment_files.validation import FileValidator
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.payment_files import PostgresPaymentFiles
from infra.postgres.payment_posting import CHUNK, PaymentPosting
from infra.temporal.payment_files import FileKeeper
from ledger.ids import file_workflow_id
from ledger.payment_files import FileAction, FileKey, FileMode, FileProgress
from starter.payment_files import FileDesk
from tests.workflow.conftest import eventually
from worker import file_worker
from workflows.payment_file import PaymentFileWorkflow

if TYPE_CHECKING:
    from tests.replay.waiting_scenarios import WaitingBank

TWO_PARTS = ["0.01"] * (CHUNK + 20)
"""Amounts that come to two chunks, so to two parts where a part is one chunk."""

Handle = WorkflowHandle[Any, Any]


class SmallParts:
    """The posting service with one chunk a part, and with what somebody does to the file before a part."""

    def __init__(self, inner: PaymentPosting) -> None:
        self._inner = inner
        self.before_part: dict[int, Callable[[FileKey], Awaitable[object]]] = {}
        self._parts = 0

    async def post_some(self, key: FileKey, *, at_most: int, beat: Callable[[int], None]) -> FileProgress:
        self._parts += 1
        if self._parts in self.before_part:
            await self.before_part[self._parts](key)
        return await self._inner.post_some(key, at_most=min(at_most, 1), beat=beat)


class FileCounter:
    """Where files are handed in, and a worker that carries them."""

    def __init__(self, bank: WaitingBank) -> None:
        async def client() -> Client:
            return bank.client

        self._bank = bank
        files = PostgresPaymentFiles(bank.database)
        self.desk = FileDesk(files, FileKeeper(files, client, task_queue=bank.settings.task_queue), most_bytes=100_000)
        self.posting = SmallParts(PaymentPosting(bank.database))
        validator = FileValidator(files, PostgresAccounts(bank.database), bank.settings.waiting_rules, bic=None)
        self.worker = file_worker(bank.client, bank.settings, PaymentFileActivities(validator, self.posting))

    async def hand_in(self, *amounts: str, mode: FileMode = FileMode.BEST_EFFORT) -> Handle:
        """A file with a transfer from A to B for each amount."""
        debtor, creditor = (self._bank.ref(letter).account_id for letter in "AB")
        rows = ["debtor,creditor,amount,currency", *(f"{debtor},{creditor},{amount},EUR" for amount in amounts), ""]

        async def body() -> AsyncIterator[bytes]:
            yield "\n".join(rows).encode()

        file = await self.desk.take_in("main", body(), media_type="text/csv", mode=mode, by="recorder", announced_bytes=None)
        return self._bank.client.get_workflow_handle_for(PaymentFileWorkflow.run, file_workflow_id("main", file.file_id))

    def has_done(self, action: FileAction) -> Callable[[FileKey], Awaitable[object]]:
        """Somebody pauses, resumes or cancels a file."""
        return lambda key: self.desk.change(key, action, by="recorder", reason="for the recording")


@asynccontextmanager
async def _counter(bank: WaitingBank) -> AsyncIterator[FileCounter]:
    counter = FileCounter(bank)
    async with counter.worker:
        yield counter


async def _completed(bank: WaitingBank) -> Handle:
    async with _counter(bank) as counter:
        return await _ended(await counter.hand_in("10", "100.01", "30", *TWO_PARTS))


async def _malformed(bank: WaitingBank) -> Handle:
    async with _counter(bank) as counter:
        return await _ended(await counter.hand_in("10", "1.005"))


async def _atomic(bank: WaitingBank) -> Handle:
    async with _counter(bank) as counter:
        return await _ended(await counter.hand_in("10", "100.01", mode=FileMode.ATOMIC))


async def _paused(bank: WaitingBank) -> Handle:
    async with _counter(bank) as counter:
        counter.posting.before_part[2] = counter.has_done(FileAction.PAUSE)
        handle = await counter.hand_in(*TWO_PARTS)
        await eventually(lambda: _is_paused(handle), seconds=30)
        await counter.has_done(FileAction.RESUME)(FileKey(tenant="main", file_id=handle.id.removeprefix("file-main-")))
        return await _ended(handle)


async def _cancelled(bank: WaitingBank) -> Handle:
    async with _counter(bank) as counter:
        counter.posting.before_part[2] = counter.has_done(FileAction.CANCEL)
        return await _ended(await counter.hand_in(*TWO_PARTS))


async def _is_paused(handle: Handle) -> bool:
    progress: FileProgress = await handle.query(PaymentFileWorkflow.current)
    return progress.paused


async def _ended(handle: Handle) -> Handle:
    await handle.result()
    return handle


FILE_PLAYS = {
    "completed-with-a-refused-line": (_completed, "completed"),
    "rejected-at-validation": (_malformed, "rejected"),
    "rejected-as-a-whole": (_atomic, "rejected"),
    "completed-after-a-pause": (_paused, "completed"),
    "cancelled-after-a-part": (_cancelled, "cancelled"),
}
"""By the name of the recording: how it is played, and the status of the file that it must have ended with."""
