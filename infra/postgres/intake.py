"""Whether new work is taken: one row, which all processes look at. See decision record 0040."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from infra.postgres.administrative_acts import record_act
from ledger.drains import IntakeState
from ledger.errors import DrainingError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.principals import Actor

KNOWN_SECONDS: Final = 1.0
"""How long a process goes by what it read: for so long it may still take something after the intake was closed."""
_READ: Final = text("SELECT is_open, changed_at, changed_by, reason FROM intake")
_CHANGE: Final = text("""
    UPDATE intake SET is_open = :is_open, changed_at = clock_timestamp(), changed_by = :by, reason = :reason
     WHERE is_open <> :is_open
    RETURNING true
""")


class PostgresIntake:
    """The row, and what this process last read of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: IntakeState | None = None
        self._read_at = 0.0

    async def admit(self) -> None:
        """Return if new work is taken.

        Raises:
            DrainingError: it isn't.
            UnavailableError: the database did not answer.
        """
        if self._known is None or time.monotonic() - self._read_at > KNOWN_SECONDS:
            # From before the question, so that what is known is never older than it seems.
            asked_at = time.monotonic()
            self._known, self._read_at = await self.state(), asked_at
        if not self._known.is_open:
            raise DrainingError(since=self._known.changed_at, reason=self._known.reason)

    async def state(self) -> IntakeState:
        """As it stands now.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> IntakeState:
            return IntakeState.model_validate(dict((await connection.execute(_READ)).mappings().one()))

        return await self._database.run_statement(work)

    async def change(self, actor: Actor, *, is_open: bool, reason: str | None) -> bool:
        """Open or close it, and record the act. One that is so already stays as it is.

        Returns:
            Whether it was changed.

        Raises:
            UnavailableError: the outcome is unknown; it may be done again.
        """

        async def work(connection: AsyncConnection) -> bool:
            changed = await connection.execute(_CHANGE, {"is_open": is_open, "by": actor.name, "reason": reason})
            if changed.one_or_none() is None:
                return False
            action = "intake.opened" if is_open else "intake.closed"
            await record_act(connection, actor, action, "intake", tenant=None, detail={"reason": reason})
            return True

        return await self._database.run(work)
