"""Server-sent events: what is published, as it is published, to whoever watches. See decision record 0034.

Source: the HTML standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

import structlog
from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from pydantic import Field

from infra.kafka.event_feed import Ended, EventFeed, FeedEvent, Missing, Position, Reached, Told
from ledger.errors import InvalidInputError, TooManyError, UnavailableError
from ledger.ids import parse_account_id, parse_transaction_id
from ledger.principals import Principal
from starter.api.models.fields import AccountId, StrictBody, Uuid
from starter.api.services import ReadsEvents, UsesServices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Receive, Scope, Send

router = APIRouter(prefix="/v1/events", tags=["events"])
_log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT_SECONDS: Final = 10.0
"""Between two signs of life of a stream that has nothing to tell: below the time-outs of common proxies."""
STALLED_SECONDS: Final = 60.0
"""How long a reader may take nothing before the connection is given up."""
LIFETIME_SECONDS: Final = 15 * 60.0
"""After that a stream ends, and whoever watches comes back with his key, which may have been revoked."""
_RECONNECT_MILLISECONDS: Final = 1_000
_POSITION: Final = re.compile(r"[0-9]{1,19}(?:[.-][0-9]{1,19}){0,999}", re.ASCII)
_POSITION_RULE: Final = "must be the id of an event of this API, as it was given"
_LARGEST_OFFSET: Final = 2**63 - 1


class EventQuery(StrictBody):
    """Which events; all of the tenant unless an account or a transaction is named."""

    account_id: AccountId | None = Field(default=None, description="Those of this account: its entries, holds and transactions.")
    transaction_id: Uuid | None = Field(default=None, description="Those of this transaction: its entries, captures and its end.")

    def wants(self) -> Callable[[FeedEvent], bool]:
        """Whether an event is meant.

        Raises:
            InvalidInputError: one of the two breaks a rule.
        """
        account_id = parse_account_id(self.account_id, field="account_id") if self.account_id is not None else None
        transaction_id = parse_transaction_id(self.transaction_id) if self.transaction_id is not None else None

        def meant(event: FeedEvent) -> bool:
            return (account_id is None or account_id in _accounts_of(event)) and (
                transaction_id is None or transaction_id in {event.attributes.subject, event.data.get("transaction_id")}
            )

        return meant


def _accounts_of(event: FeedEvent) -> set[str | None]:
    """All accounts that an event is about: that of an entry or a hold, and those that a transaction names or booked on."""
    data, instruction = event.data, event.data.get("instruction") or {}
    if "account_id" in data:
        return {data["account_id"]}
    named = {instruction.get("debtor"), instruction.get("creditor")}
    return named | {part["account_id"] for part in (*data.get("legs", ()), *instruction.get("shares", ()))}


class EventStreams:
    """The streams of this process: so many at one time, and so many of one key."""

    def __init__(self, feed: EventFeed, *, at_most: int, of_a_key: int) -> None:
        """Take the feed.

        Args:
            feed: what is told.
            at_most: streams of the process.
            of_a_key: streams of one API key.
        """
        self.feed = feed
        self._at_most = at_most
        self._of_a_key = of_a_key
        self._open: Counter[str] = Counter()

    @asynccontextmanager
    async def place(self, key_id: str) -> AsyncIterator[None]:
        """Count a stream as long as it is open.

        Raises:
            TooManyError: there are as many as there may be.
        """
        if self._open[key_id] >= self._of_a_key:
            raise TooManyError(detail=f"the key has {self._of_a_key} streams open, as many as it may have")
        if self._open.total() >= self._at_most:
            raise TooManyError(detail=f"{self._at_most} streams are open, as many as this process may have")
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]


class EventStreamResponse(Response):
    """A stream of events, whose first position is there when the answer begins."""

    media_type = MEDIA_TYPE

    def __init__(self, chunks: AsyncGenerator[str], status_code: int = HTTPStatus.OK) -> None:
        super().__init__(status_code=status_code, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI
        """Send until the stream ends, or whoever reads has gone."""
        gone = asyncio.create_task(_gone(receive))
        sending = asyncio.create_task(self._send_all(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, sending):
                task.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in chunks:
                async with asyncio.timeout(STALLED_SECONDS):
                    await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@router.get(
    "",
    response_class=EventStreamResponse,
    responses={
        200: {"description": "Events, for as long as the connection lasts.", "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}},
        429: {"description": "The key, or this process, has as many streams open as it may have."},
    },
)
async def watch_events(
    query: Annotated[EventQuery, Query()],
    services: UsesServices,
    principal: ReadsEvents,
    last_event_id: Annotated[str | None, Header(description="The last `id` of a stream before; this one goes on behind it.")] = None,
) -> EventStreamResponse:
    """Watch the tenant's events as they are published (server-sent events): in `data` a CloudEvent, in `event` its type.

    Each `id` is a position behind which another stream goes on, on any process of the API, as long as the topics keep the events: browsers
    send it as `Last-Event-ID` by themselves. Without it a stream begins now. An event may come again, under the same CloudEvents `id`, as
    in the topics. Comments are signs of life. What is no event of the ledger has a type of its own: `casaflow.stream.missing` (some events
    are kept no longer; the stream goes on) and `casaflow.stream.ended`, whose data says why in `code`: `too-slow`, `stopping`, `expired`,
    `interrupted` or `unavailable`. Come back with the last `id` after each of these ends.
    """
    streams = services.event_streams
    if streams is None:
        raise UnavailableError(part="kafka", detail="CASAFLOW_KAFKA_BOOTSTRAP_SERVERS is not set")
    chunks = _chunks(streams, principal, query.wants(), last_event_id)
    try:
        # The first position, or whatever stands against it: afterwards the answer has begun, and can't be another one.
        first = await anext(chunks)
    except BaseException:
        await chunks.aclose()
        raise
    return EventStreamResponse(_with_first(first, chunks))


async def _with_first(first: str, rest: AsyncGenerator[str]) -> AsyncGenerator[str]:
    async with aclosing(rest):
        yield first
        async for chunk in rest:
            yield chunk


async def _chunks(
    streams: EventStreams, principal: Principal, wants: Callable[[FeedEvent], bool], last_event_id: str | None
) -> AsyncGenerator[str]:
    async with streams.place(principal.key_id):
        places = await streams.feed.places()
        after = position_of(last_event_id, places) if last_event_id else None
        ends_at = asyncio.get_running_loop().time() + LIFETIME_SECONDS
        yield f"retry: {_RECONNECT_MILLISECONDS}\n\n"
        async with aclosing(streams.feed.stream(principal.tenant, wants, after=after)) as stream:
            coming = asyncio.ensure_future(anext(stream))
            try:
                while True:
                    await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
                    if not coming.done():
                        if asyncio.get_running_loop().time() > ends_at:
                            yield _written(Ended("expired", "a stream lasts a quarter of an hour; go on behind the last event"), places)
                            return
                        yield ": alive\n\n"
                        continue
                    told = coming.result()
                    yield _written(told, places)
                    if isinstance(told, Ended):
                        return
                    coming = asyncio.ensure_future(anext(stream))
            except UnavailableError as error:
                yield _written(Ended("unavailable", str(error)), places)
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)


def _written(told: Told, places: list[tuple[str, int]]) -> str:
    """One entry of the stream. An id without data changes the position and tells no event."""
    match told:
        case FeedEvent():
            return f"id: {id_of(told.position, places)}\nevent: {told.attributes.type}\ndata: {told.structured}\n\n"
        case Reached():
            return f"id: {id_of(told.position, places)}\n\n"
        case Missing():
            detail = {"detail": "events between the last one and this are kept no longer"}
            return f"id: {id_of(told.position, places)}\nevent: casaflow.stream.missing\ndata: {json.dumps(detail)}\n\n"
        case Ended():
            content: dict[str, Any] = {"code": told.code, "detail": told.detail}
            return f"event: casaflow.stream.ended\ndata: {json.dumps(content)}\n\n"


def id_of(position: Position, places: list[tuple[str, int]]) -> str:
    """A position as the id of an event: the offsets of each topic's partitions with dots, topics with hyphens between them."""
    written = ""
    for number, (offset, (topic, _)) in enumerate(zip(position, places, strict=True)):
        separator = "" if number == 0 else "." if places[number - 1][0] == topic else "-"
        written += f"{separator}{offset}"
    return written


def position_of(identifier: str, places: list[tuple[str, int]]) -> Position:
    """The position that an id stands for.

    Raises:
        InvalidInputError: it is none that :func:`id_of` has written for these partitions.
    """
    offsets = [int(offset) for offset in re.split("[.-]", identifier)] if _POSITION.fullmatch(identifier) else []
    if len(offsets) == len(places) and max(offsets) <= _LARGEST_OFFSET and id_of(tuple(offsets), places) == identifier:
        return tuple(offsets)
    raise InvalidInputError(field="Last-Event-ID", value=identifier, rule=_POSITION_RULE)
