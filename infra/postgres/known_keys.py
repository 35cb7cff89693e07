"""API keys as a process that serves requests knows them: looked up at most once in a few seconds, and their use written in the background.

A key that is revoked elsewhere is worthless once the process has to look it up again, so within that time; see decision record 0035.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from ledger.errors import CasaflowError, UnavailableError

if TYPE_CHECKING:
    from infra.postgres.api_keys import PostgresApiKeys
    from ledger.principals import Principal

_log = structlog.get_logger(__name__)

_MOST_KNOWN: Final = 10_000
NOTED_EVERY_SECONDS: Final = 60.0


class _Known(NamedTuple):
    principal: Principal
    until: float
    """On the monotonic clock."""
    expires_at: dt.datetime | None


class KnownKeys:
    """Keys that were valid a moment ago, by the hash of their plaintext. Only valid ones are remembered, so guesses fill nothing."""

    def __init__(self, keys: PostgresApiKeys, *, seconds: float) -> None:
        """Take the table.

        Args:
            keys: the table.
            seconds: how long a key is good without a look at the table; 0: each request looks.
        """
        self._keys = keys
        self._seconds = seconds
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._used: dict[str, dt.datetime] = {}
        self._noting: asyncio.Task[None] | None = None

    async def authenticate(self, plaintext: str) -> Principal | None:
        """Whose key this is; None when it is malformed, unknown, wrong, expired, or was revoked before it was looked up last.

        Raises:
            UnavailableError: it had to be looked up, and the database did not answer.
        """
        name, now = hashlib.sha256(plaintext.encode()).digest(), dt.datetime.now(dt.UTC)
        known = self._known.get(name)
        if known is None or known.until <= time.monotonic() or (known.expires_at is not None and known.expires_at <= now):
            # From before the look, so that the time it takes doesn't count on top.
            until = time.monotonic() + self._seconds
            self._known.pop(name, None)
            found = await self._keys.find(plaintext)
            if found is None:
                return None
            known = _Known(found.principal, until, found.expires_at)
            self._known[name] = known
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        self._used[known.principal.key_id] = now
        return known.principal

    def forget(self, key_id: str) -> None:
        """Have a key looked up at its next request: it was changed by this process."""
        for name in [name for name, known in self._known.items() if known.principal.key_id == key_id]:
            del self._known[name]

    def start(self) -> None:
        """Begin to write down when keys are used, once a minute."""
        self._noting = asyncio.create_task(self._note_again_and_again())

    async def stop(self) -> None:
        """Write down the rest, and end."""
        if self._noting is not None:
            self._noting.cancel()
            with suppress(asyncio.CancelledError):
                await self._noting
        await self.note_use()

    async def note_use(self) -> None:
        """Write down which keys were used since the last time. Where the database doesn't answer, it is done the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._keys.note_use(used)
        except UnavailableError as error:
            self._used = {**used, **self._used}
            _log.warning("keys.use-not-noted", error=str(error))
        except CasaflowError as error:
            # When a key was used last is no reason to end a process that posts.
            _log.error("keys.use-not-noted", error=str(error))

    async def _note_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(NOTED_EVERY_SECONDS)
            await self.note_use()
