"""Is it alive, and is it of use? The two endpoints without a key."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from ledger.errors import UnavailableError
from starter.api.problems import RETRY_AFTER_SECONDS
from starter.api.services import UsesServices

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is alive, whatever else is not."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(services: UsesServices) -> Response:
    """PostgreSQL and Temporal answer, told apart; 503 when one doesn't. Kafka is not asked: without it, events wait in the outbox."""
    parts: dict[str, str] = {}
    for name, part in (("postgres", services.database), ("temporal", services.temporal)):
        try:
            await part.ping()
            parts[name] = "ready"
        except UnavailableError as error:
            parts[name] = error.detail
    ready = all(state == "ready" for state in parts.values())
    return JSONResponse(
        {"status": "ready" if ready else "not ready", "parts": parts},
        status_code=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE,
        headers={} if ready else {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
