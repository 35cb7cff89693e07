"""Payment files: validated as a whole, then posted a part at a time. Ordinary activities with heartbeats."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities.call import errors_as_temporals
from ledger.payment_files import FileKey, FileProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.ports import PaymentFilePosting, PaymentFileReader

LINES_OF_A_PART: Final = 20_000
"""Lines that one activity posts: some seconds of work, so that a worker that stops is waited for, and a history stays short."""


class FilePart(BaseModel):
    """The next lines of a file."""

    model_config = ConfigDict(frozen=True)

    key: FileKey
    at_most: int = LINES_OF_A_PART


class PaymentFileActivities:
    """Hands files to what reads and posts them. Both find out by themselves where the last attempt ended."""

    def __init__(self, reader: PaymentFileReader, posting: PaymentFilePosting) -> None:
        self._reader = reader
        self._posting = posting

    @activity.defn(name="files.validate")
    async def validate(self, key: FileKey) -> FileProgress:
        """Find all problems of a file, and have it posted or rejected.

        Raises:
            ApplicationError: UnavailableError, retryable; NotFoundError, not retryable.
        """
        with _file_call(key):
            return await self._reader.validate(key, beat=activity.heartbeat)

    @activity.defn(name="files.post")
    async def post(self, part: FilePart) -> FileProgress:
        """Post the next lines, up to where the file is paused or over.

        Raises:
            ApplicationError: as :meth:`validate`.
        """
        with _file_call(part.key):
            return await self._posting.post_some(part.key, at_most=part.at_most, beat=activity.heartbeat)


@contextmanager
def _file_call(key: FileKey) -> Iterator[None]:
    with structlog.contextvars.bound_contextvars(tenant=key.tenant, file_id=key.file_id), errors_as_temporals():
        yield
