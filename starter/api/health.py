"""Is it alive, and is it of use? The two endpoints without a key."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal

from fastapi import APIRouter, Request, Response

from ledger.errors import UnavailableError
from starter.api.models.fields import Answer
from starter.api.problems import RETRY_AFTER_SECONDS
from starter.api.services import UsesServices

if TYPE_CHECKING:
    from fastapi import FastAPI

    from infra.postgres.database import Database
    from starter.submit import TemporalConnection

router = APIRouter(tags=["health"])

_PING_SECONDS: Final = 5.0
"""Whoever asks does not wait longer; a part that answers later is not ready."""


class Liveness(Answer):
    """The process is there."""

    status: Literal["alive"] = "alive"


class Readiness(Answer):
    """What the process needs, and whether it has it."""

    status: Literal["ready", "not ready"]
    parts: dict[str, str]
    """`ready`, or what is the matter."""


@router.get("/healthz")
async def healthz() -> Liveness:
    """The process is alive, whatever else is not."""
    return Liveness()


def say_stopping(app: FastAPI) -> None:
    """Be not ready from now on, while requests are still answered."""
    app.state.stopping = True


@router.get(
    "/readyz", responses={503: {"model": Readiness, "description": "A part does not answer, or the API is about to stop; the others do."}}
)
async def readyz(request: Request, response: Response, services: UsesServices) -> Readiness:
    """PostgreSQL and Temporal answer, told apart; 503 when one doesn't, and while the API is about to stop.

    Kafka is not asked: without it, events wait in the outbox. Nor is the intake: while no new work is taken, reading goes on.
    """
    asked: dict[str, Database | TemporalConnection] = {"postgres": services.database, "temporal": services.temporal}
    states = dict(zip(asked, await asyncio.gather(*(_state(part) for part in asked.values())), strict=True))
    if getattr(request.app.state, "stopping", False):
        states["api"] = "about to stop"
    ready = all(state == "ready" for state in states.values())
    if not ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Readiness(status="ready" if ready else "not ready", parts=states)


async def _state(part: Database | TemporalConnection) -> str:
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await part.ping()
    except UnavailableError as error:
        return error.detail
    except TimeoutError:
        return f"no answer within {_PING_SECONDS:.0f} s"
    return "ready"
