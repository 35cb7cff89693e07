"""How often a key may ask: a bucket of tokens for each key, in this process alone. Several processes each grant the whole rate.

Headers as draft-ietf-httpapi-ratelimit-headers-10 names them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders

from starter.api import problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FORGOTTEN_ABOVE: Final = 10_000
"""Keys that are remembered; of more, those whose bucket is full again are forgotten, which changes nothing for them."""


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class TokenBuckets:
    """Grants so many requests a second for each key, and a burst of so many at once after a pause."""

    def __init__(self, *, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Fill the buckets.

        Args:
            per_second: tokens that come back each second.
            burst: what a bucket holds.
            clock: seconds.
        """
        self.per_second = per_second
        self.burst = burst
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key_id: str) -> tuple[bool, int, int]:
        """Take a token.

        Returns:
            Whether there was one, how many are left, and in how many seconds there is one, or one more.
        """
        now = self._clock()
        bucket = self._buckets.setdefault(key_id, _Bucket(self.burst, now))
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.filled_at) * self.per_second)
        bucket.filled_at = now
        granted = bucket.tokens >= 1
        if granted:
            bucket.tokens -= 1
        if len(self._buckets) > _FORGOTTEN_ABOVE:
            self._forget(now)
        left = int(bucket.tokens)
        return granted, left, math.ceil((left + 1 - bucket.tokens) / self.per_second)

    def _forget(self, now: float) -> None:
        refilled_seconds = self.burst / self.per_second
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if now - bucket.filled_at < refilled_seconds}


class RateLimit:
    """Answers 429 to a key that asks too often; stands behind the check of the key, and before the body is read."""

    def __init__(self, app: ASGIApp, *, per_second: float, burst: int) -> None:
        self._app = app
        self._buckets = TokenBuckets(per_second=per_second, burst=burst)
        self._policy = f'"key";q={burst};w={max(1, math.ceil(burst / per_second))}'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI
        principal = scope.get("state", {}).get("principal")
        if scope["type"] != "http" or principal is None:
            await self._app(scope, receive, send)
            return
        granted, left, seconds = self._buckets.take(principal.key_id)

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = self._policy
                headers["RateLimit"] = f'"key";r={left};t={seconds}'
            await send(message)

        if granted:
            await self._app(scope, receive, adding)
            return
        detail = f"the key may ask {self._buckets.per_second:g} times a second, and {self._buckets.burst} times at once"
        refused = problems.problem(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", detail, headers={"Retry-After": str(seconds)})
        await refused(scope, receive, adding)
