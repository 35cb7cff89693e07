"""Closing and opening the intake, and waiting until what has begun has come to its end. See ``docs/decisions/0040-upgrades.md``."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from infra.postgres.database import Database
from infra.postgres.intake import KNOWN_SECONDS, PostgresIntake
from infra.postgres.outbox import PostgresOutbox
from infra.temporal.client import connect
from infra.temporal.executions import TransactionExecutions
from ledger.drains import InFlight
from ledger.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from infra.settings import Settings
    from ledger.drains import IntakeState
    from ledger.principals import Actor

_LOOK_SECONDS: Final = 2 * KNOWN_SECONDS
"""Between two looks. An API may take something for a moment after the intake was closed, and Temporal's list may be a moment behind."""
_QUIET_LOOKS: Final = 2
"""One after the other have to find nothing in flight."""


class Drain(NamedTuple):
    """How the intake stands, and what is in flight."""

    intake: IntakeState
    in_flight: InFlight
    is_drained: bool


async def drain(
    settings: Settings, *, actor: Actor, reason: str | None, within_seconds: float, on_look: Callable[[InFlight], None]
) -> Drain:
    """Close the intake, and wait until nothing is in flight that doesn't wait for somebody.

    Args:
        settings: with the addresses of database and Temporal.
        actor: who closes it.
        reason: as callers are told.
        within_seconds: how long to wait; what is in flight then goes on.
        on_look: is told of each look.

    Raises:
        UnavailableError: a server did not answer. The intake stays as it is by then.
    """
    async with _parts(settings) as (intake, outbox, executions):
        await intake.change(actor, is_open=False, reason=reason)
        deadline = time.monotonic() + within_seconds
        quiet = 0
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            found = await _in_flight(outbox, executions)
            on_look(found)
            quiet = quiet + 1 if found.is_over else 0
            if quiet == _QUIET_LOOKS or time.monotonic() >= deadline:
                state = await intake.state()
                return Drain(state, found, is_drained=quiet == _QUIET_LOOKS and not state.is_open)


async def resume(settings: Settings, *, actor: Actor, reason: str | None) -> Drain:
    """Open the intake again.

    Raises:
        UnavailableError: a server did not answer.
    """
    async with _parts(settings) as (intake, outbox, executions):
        await intake.change(actor, is_open=True, reason=reason)
        return Drain(await intake.state(), await _in_flight(outbox, executions), is_drained=False)


async def standing(settings: Settings) -> Drain:
    """How it stands now.

    Raises:
        UnavailableError: a server did not answer.
    """
    async with _parts(settings) as (intake, outbox, executions):
        state, found = await intake.state(), await _in_flight(outbox, executions)
        return Drain(state, found, is_drained=not state.is_open and found.is_over)


@asynccontextmanager
async def _parts(settings: Settings) -> AsyncIterator[tuple[PostgresIntake, PostgresOutbox, TransactionExecutions]]:
    if settings.postgres_url is None:
        raise InvalidInputError(field="CASAFLOW_POSTGRES_URL", value=None, rule="must be set, or the stack must run")
    database = Database.open(settings.postgres_url.get_secret_value(), pool_size=2, role=settings.postgres_role)
    try:
        executions = TransactionExecutions(await connect(settings), settings.task_queue)
        yield PostgresIntake(database), PostgresOutbox(database), executions
    finally:
        await database.close()


async def _in_flight(outbox: PostgresOutbox, executions: TransactionExecutions) -> InFlight:
    # The outbox after Temporal: a transaction that ends between the two leaves its events to be seen.
    moving, waiting, files = await executions.in_flight()
    return InFlight(transactions=moving, files=files, events=(await outbox.backlog()).events, standing=waiting)
