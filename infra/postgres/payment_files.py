"""Payment files as the database has them: their bytes, what they say, how far they are, and what became of their lines."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from infra.postgres.json import to_jsonb
from ledger.errors import DuplicateFileError, FileEndedError, LedgerIntegrityError, NotFoundError
from ledger.payment_files import (
    MAX_SHOWN_PROBLEMS,
    DecidedLine,
    FileAction,
    FileHeader,
    FileKey,
    FileMode,
    FileProgress,
    FileReason,
    FileStatus,
    LineProblem,
    NewFile,
    PaymentFile,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import psycopg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.payment_files import PaymentLine

_KEY: Final = "tenant = :tenant AND file_id = CAST(:file_id AS uuid)"
_STORE_CONTENT: Final = text("""
    INSERT INTO payment_file_content (tenant, file_id, number, content) VALUES (:tenant, CAST(:file_id AS uuid), :number, :content)
""")
_CONTENT: Final = text(f"SELECT content FROM payment_file_content WHERE {_KEY} AND number = :number")  # noqa: S608  constants, here and below
_ENTER: Final = text("""
    INSERT INTO payment_file (tenant, file_id, mode, media_type, size, content_hash, submitted_by, submitted_at)
    VALUES (:tenant, CAST(:file_id AS uuid), :mode, :media_type, :size, :content_hash, :submitted_by, :submitted_at)
    ON CONFLICT DO NOTHING
""")
_SAME_CONTENT: Final = text("""
    SELECT CAST(file_id AS text) FROM payment_file WHERE tenant = :tenant AND content_hash = :content_hash AND status <> 'rejected'
""")
_SAME_MESSAGE: Final = text("""
    SELECT CAST(file_id AS text) FROM payment_file
     WHERE tenant = :tenant AND message_id = :message_id AND status <> 'rejected' AND file_id <> CAST(:file_id AS uuid)
""")
_COLUMNS: Final = (
    "tenant, CAST(file_id AS text) AS file_id, mode, media_type, size, content_hash, message_id, header, status, paused, lines, next_line, "
    "completed, rejected, problems, reason_code, reason_detail, submitted_by, submitted_at, finished_at"
)
_FIND: Final = text(f"SELECT {_COLUMNS} FROM payment_file WHERE {_KEY}")  # noqa: S608
_LOCK: Final = text(f"{_FIND.text} FOR NO KEY UPDATE")
_PAGE: Final = text(f"""
    SELECT {_COLUMNS} FROM payment_file
     WHERE tenant = :tenant AND (submitted_at, file_id) < (:submitted_at, CAST(:file_id AS uuid))
     ORDER BY submitted_at DESC, payment_file.file_id DESC LIMIT :at_most
""")  # noqa: S608
_UNFINISHED: Final = text("""
    SELECT tenant, CAST(file_id AS text) AS file_id FROM payment_file
     WHERE status IN ('validating', 'posting') AND submitted_at < :until ORDER BY submitted_at LIMIT :at_most
""")
_PROBLEMS: Final = text(f"SELECT place, field, value, rule FROM payment_file_problem WHERE {_KEY} ORDER BY position LIMIT :at_most")  # noqa: S608
_STORE_PROBLEM: Final = text("""
    INSERT INTO payment_file_problem (tenant, file_id, position, place, field, value, rule)
    SELECT :tenant, CAST(:file_id AS uuid), p.ordinality, p.place, p.field, p.value, p.rule
      FROM unnest(CAST(:places AS text[]), CAST(:fields AS text[]), CAST(:values AS text[]), CAST(:rules AS text[]))
           WITH ORDINALITY AS p (place, field, value, rule, ordinality)
""")
_VALIDATED: Final = text(f"""
    UPDATE payment_file SET status = 'posting', lines = :lines, header = CAST(:header AS jsonb), message_id = :message_id WHERE {_KEY}
""")  # noqa: S608
_REJECTED: Final = text(f"""
    UPDATE payment_file
       SET status = 'rejected', lines = :lines, rejected = :lines, completed = 0, problems = :problems, header = CAST(:header AS jsonb),
           message_id = :message_id, reason_code = :reason_code, reason_detail = :reason_detail, finished_at = clock_timestamp()
     WHERE {_KEY}
""")  # noqa: S608
_LINES_STORED: Final = text(f"SELECT coalesce(max(number), 0) FROM payment_line WHERE {_KEY}")  # noqa: S608
_CHANGES: Final = {
    FileAction.PAUSE: text(f"UPDATE payment_file SET paused = true WHERE {_KEY}"),  # noqa: S608
    FileAction.RESUME: text(f"UPDATE payment_file SET paused = false WHERE {_KEY}"),  # noqa: S608
    FileAction.CANCEL: text(f"""
        UPDATE payment_file SET status = 'cancelled', paused = false, rejected = lines - completed, reason_code = 'cancelled',
               reason_detail = :detail, finished_at = clock_timestamp()
         WHERE {_KEY}
    """),  # noqa: S608
}
_NOTE_ACTION: Final = text(f"""
    INSERT INTO payment_file_action (tenant, file_id, position, action, by, reason)
    SELECT :tenant, CAST(:file_id AS uuid), count(*) + 1, :action, :by, :reason FROM payment_file_action WHERE {_KEY}
""")  # noqa: S608
# What a line came to is what its transaction came to, but where it became none.
_LINES: Final = text("""
    SELECT l.number, l.place, CAST(l.transaction_id AS text) AS transaction_id, l.debtor, l.creditor, l.amount AS minor_units, l.currency,
           l.end_to_end_id, l.reference, l.instruction, o.status,
           CASE WHEN o.status = 'rejected' THEN coalesce(r.code, t.reason ->> 'code', f.reason_code) END AS reason_code,
           CASE WHEN o.status = 'rejected' THEN coalesce(r.detail, t.reason ->> 'detail', f.reason_detail) END AS reason_detail
      FROM payment_file f
      JOIN payment_line l USING (tenant, file_id)
      LEFT JOIN payment_line_refusal r USING (tenant, file_id, number)
      LEFT JOIN transaction t ON t.tenant = l.tenant AND t.transaction_id = l.transaction_id AND l.number < f.next_line
     CROSS JOIN LATERAL (SELECT CASE
           WHEN r.number IS NOT NULL OR f.status = 'rejected' THEN 'rejected'
           WHEN l.number >= f.next_line THEN CASE WHEN f.status = 'cancelled' THEN 'rejected' ELSE 'pending' END
           WHEN t.status = 'completed' THEN 'completed'
           ELSE 'rejected' END AS status) AS o
     WHERE f.tenant = :tenant AND f.file_id = CAST(:file_id AS uuid) AND l.number > :after
       AND (CAST(:status AS text) IS NULL OR o.status = :status)
     ORDER BY l.number LIMIT :at_most
""")
_COPY_LINES: Final = """
    COPY payment_line (tenant, file_id, number, place, transaction_id, debtor, creditor, amount, currency, settlement, end_to_end_id,
                       reference, remittance_information, value_date, metadata, instruction)
    FROM STDIN
"""
_FORGET: Final = text("SELECT forget_broken_uploads()")


class PostgresPaymentFiles:
    """Payment files of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- coming in ----

    async def store_content(self, key: FileKey, number: int, content: bytes) -> None:
        """Store the bytes of a file, a part at a time; nothing of it counts before :meth:`enter`.

        Raises:
            UnavailableError: the database did not answer.
        """
        values = {**key.model_dump(), "number": number, "content": content}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_STORE_CONTENT, values)

        await self._database.run_statement(work)

    async def enter(self, new: NewFile) -> None:
        """Enter a file whose content is stored.

        Raises:
            DuplicateFileError: the tenant has a file with this content, and it wasn't rejected.
            UnavailableError: the database did not answer; the same file again is either entered or a duplicate.
        """

        async def work(connection: AsyncConnection) -> None:
            if not (await connection.execute(_ENTER, new.model_dump())).rowcount:
                raise DuplicateFileError(file_id=str((await connection.execute(_SAME_CONTENT, new.model_dump())).scalar_one()))

        await self._database.run(work)

    async def forget_broken_uploads(self) -> int:
        """Take away what uploads have left that broke off more than a day ago; how many parts that was."""

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(_FORGET)).scalar_one())

        return await self._database.run(work)

    async def content(self, key: FileKey, number: int) -> bytes:
        """One part of a file's bytes, counted from 1; empty after the last one."""

        async def work(connection: AsyncConnection) -> bytes:
            found = (await connection.execute(_CONTENT, {**key.model_dump(), "number": number})).scalar_one_or_none()
            return bytes(found) if found is not None else b""

        return await self._database.run_statement(work)

    # ---- being validated ----

    async def lines_stored(self, key: FileKey) -> int:
        """The number of the last line that is stored."""

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(_LINES_STORED, key.model_dump())).scalar_one())

        return await self._database.run_statement(work)

    async def store_lines(self, key: FileKey, lines: Sequence[tuple[PaymentLine, str]]) -> None:
        """Store lines, each with its transaction id.

        Raises:
            LedgerIntegrityError: one of these numbers is stored.
        """
        rows = [_row(key, line, transaction_id) for line, transaction_id in lines]

        async def work(driver: psycopg.AsyncConnection[Any]) -> None:
            async with driver.cursor() as cursor, cursor.copy(_COPY_LINES) as copy:
                for row in rows:
                    await copy.write_row(row)

        await self._database.run_on_driver(work)

    async def validated(self, key: FileKey, header: FileHeader, *, lines: int) -> FileProgress:
        """Have a file posted; one that is over stays as it is."""
        return await self._end_validation(key, header, lines=lines, problems=(), counted=0)

    async def malformed(
        self, key: FileKey, header: FileHeader, *, lines: int, problems: Sequence[LineProblem], counted: int
    ) -> FileProgress:
        """Reject a file for what its lines say."""
        return await self._end_validation(key, header, lines=lines, problems=problems, counted=counted)

    async def _end_validation(
        self, key: FileKey, header: FileHeader, *, lines: int, problems: Sequence[LineProblem], counted: int
    ) -> FileProgress:
        values = {**key.model_dump(), "lines": lines, "header": to_jsonb(header.texts), "message_id": header.message_id}

        async def work(connection: AsyncConnection) -> FileProgress:
            file = await _found(connection, key, lock=True)
            if file.progress.status is not FileStatus.VALIDATING:
                return file.progress
            shown, number = list(problems), counted
            if header.message_id is not None:
                earlier = (await connection.execute(_SAME_MESSAGE, values)).scalar_one_or_none()
                if earlier is not None:
                    rule = f"must be new, and file {earlier} has it; look at what became of it"
                    shown, number = [LineProblem("file", "message_id", header.message_id, rule), *shown], number + 1
            if number == 0:
                await connection.execute(_VALIDATED, values)
                return FileProgress(status=FileStatus.POSTING, paused=file.progress.paused, lines=lines)
            first = shown[0]
            detail = f"{number} problem{'s' if number > 1 else ''}; the first one: {first.place}: {first.field} {first.rule}"
            await connection.execute(_STORE_PROBLEM, {**key.model_dump(), **_problem_columns(shown[:MAX_SHOWN_PROBLEMS])})
            reason = {"problems": number, "reason_code": FileReason.MALFORMED.value, "reason_detail": detail}
            await connection.execute(_REJECTED, {**values, **reason})
            return FileProgress(status=FileStatus.REJECTED, lines=lines, rejected=lines)

        with suppress(LedgerIntegrityError):
            return await self._database.run(work)
        return await self._database.run(work)  # another file with the same message id was faster, and is seen now

    # ---- as it stands ----

    async def get(self, key: FileKey) -> PaymentFile:
        """The file.

        Raises:
            NotFoundError: the tenant has no such file.
        """

        async def work(connection: AsyncConnection) -> PaymentFile:
            return await _found(connection, key)

        return await self._database.run_statement(work)

    async def page(self, tenant: str, *, after: tuple[dt.datetime, str] | None, at_most: int) -> list[PaymentFile]:
        """Files, the newest first; those after `after` (instant and id)."""
        submitted_at, file_id = after or (dt.datetime.max.replace(tzinfo=dt.UTC), "ffffffff-ffff-ffff-ffff-ffffffffffff")
        values = {"tenant": tenant, "submitted_at": submitted_at, "file_id": file_id, "at_most": at_most}

        async def work(connection: AsyncConnection) -> list[PaymentFile]:
            return [_file(dict(row)) for row in (await connection.execute(_PAGE, values)).mappings()]

        return await self._database.run_statement(work)

    async def problems(self, key: FileKey, *, at_most: int) -> list[LineProblem]:
        """The first problems of a file."""

        async def work(connection: AsyncConnection) -> list[LineProblem]:
            return [LineProblem(*row) for row in await connection.execute(_PROBLEMS, {**key.model_dump(), "at_most": at_most})]

        return await self._database.run_statement(work)

    async def lines(self, key: FileKey, *, after: int, at_most: int, status: str | None = None) -> list[DecidedLine]:
        """Lines with numbers above `after`, with what became of them."""
        values = {**key.model_dump(), "after": after, "at_most": at_most, "status": status}

        async def work(connection: AsyncConnection) -> list[DecidedLine]:
            return [DecidedLine.model_validate(dict(row)) for row in (await connection.execute(_LINES, values)).mappings()]

        return await self._database.run_statement(work)

    async def all_lines(self, key: FileKey, *, at_once: int) -> AsyncIterator[list[DecidedLine]]:
        """All lines, so many at once."""
        after = 0
        while page := await self.lines(key, after=after, at_most=at_once):
            yield page
            after = page[-1].number

    async def unfinished(self, *, until: dt.datetime, at_most: int) -> list[FileKey]:
        """Files that are not over, of those that came before `until`."""

        async def work(connection: AsyncConnection) -> list[FileKey]:
            found = await connection.execute(_UNFINISHED, {"until": until, "at_most": at_most})
            return [FileKey(tenant=row.tenant, file_id=row.file_id) for row in found]

        return await self._database.run_statement(work)

    async def change(self, key: FileKey, action: FileAction, *, by: str, reason: str | None) -> PaymentFile:
        """Pause, resume or cancel a file, and note who did it. A change that is so already is no change.

        Raises:
            NotFoundError: the tenant has no such file.
            FileEndedError: it is over.
            UnavailableError: the outcome is unknown; change it again.
        """

        async def work(connection: AsyncConnection) -> PaymentFile:
            file = await _found(connection, key, lock=True)
            if _is_so(file, action):
                return file
            if file.progress.final:
                raise FileEndedError(file_id=key.file_id, status=file.progress.status, wanted=action)
            detail = f"it was cancelled by {by}{f': {reason}' if reason else ''}"
            await connection.execute(_CHANGES[action], {**key.model_dump(), "detail": detail})
            await connection.execute(_NOTE_ACTION, {**key.model_dump(), "action": action.value, "by": by, "reason": reason})
            return await _found(connection, key)

        return await self._database.run(work)


def _is_so(file: PaymentFile, action: FileAction) -> bool:
    if action is FileAction.CANCEL:
        return file.progress.status is FileStatus.CANCELLED
    return not file.progress.final and file.progress.paused == (action is FileAction.PAUSE)


async def _found(connection: AsyncConnection, key: FileKey, *, lock: bool = False) -> PaymentFile:
    row = (await connection.execute(_LOCK if lock else _FIND, key.model_dump())).mappings().one_or_none()
    if row is None:
        raise NotFoundError(kind="file", identifier=key.file_id)
    return _file(dict(row))


def _file(row: Mapping[str, Any]) -> PaymentFile:
    fields = {name: value for name, value in row.items() if name not in FileProgress.model_fields}
    progress = FileProgress(**{name: row[name] for name in FileProgress.model_fields})
    return PaymentFile(**{**fields, "mode": FileMode(row["mode"]), "progress": progress})


def _problem_columns(problems: Sequence[LineProblem]) -> dict[str, list[str]]:
    return {
        "places": [problem.place for problem in problems],
        "fields": [problem.field for problem in problems],
        "values": [problem.value for problem in problems],
        "rules": [problem.rule for problem in problems],
    }


def _row(key: FileKey, line: PaymentLine, transaction_id: str) -> tuple[object, ...]:
    return (
        key.tenant, key.file_id, line.number, line.place, transaction_id, line.debtor, line.creditor, line.amount.minor_units,
        line.amount.currency, line.settlement, line.end_to_end_id, line.reference, line.remittance_information, line.value_date,
        to_jsonb(line.whole_metadata), to_jsonb(dict(line.instruction)),
    )  # fmt: skip
