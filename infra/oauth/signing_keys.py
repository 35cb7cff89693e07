"""An issuer's keys: fetched when they are needed, kept, and looked for again when a token names one that isn't known."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from infra.oauth.issuers import OAuthIssuer

_log = structlog.get_logger(__name__)

ASKED_AT_MOST_EVERY_SECONDS: Final = 10.0
"""Whatever tokens come: an unknown key makes the issuer be asked, and guesses must not become a load on it."""
KEPT_SECONDS: Final = 900.0
"""After this the keys are looked for again while they are in use, so that one that the issuer has withdrawn ends."""
_FETCH_SECONDS: Final = 5.0
_MOST_BYTES: Final = 256 * 1024
_MOST_KEYS: Final = 100
_LEAST_RSA_BITS: Final = 2048
"""RFC 7518, section 3.3."""
_FAMILIES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class SigningKeys:
    """The keys of one issuer. While it doesn't answer, those that are known stay good."""

    def __init__(
        self, issuer: OAuthIssuer, *, asked_every_seconds: float = ASKED_AT_MOST_EVERY_SECONDS, kept_seconds: float = KEPT_SECONDS
    ) -> None:
        """Take the issuer.

        Args:
            issuer: whose keys.
            asked_every_seconds: how often it is asked at most.
            kept_seconds: after how long it is asked although nothing new was named.
        """
        self._issuer = issuer
        self._asked_every_seconds = asked_every_seconds
        self._kept_seconds = kept_seconds
        self._keys: dict[str, dict[str, Any]] = {}
        self._made: dict[tuple[str, str], PyJWK] = {}
        self._asked_at = self._fetched_at = float("-inf")
        self._answers = 0
        self._failed: str | None = None
        self._asking = asyncio.Lock()
        self._in_background: asyncio.Task[None] | None = None

    async def find(self, key_id: str, algorithm: str) -> PyJWK | None:
        """The key of this id, for this algorithm; None: the issuer has none.

        Raises:
            UnavailableError: it isn't known, and the issuer didn't answer when it was asked last.
        """
        if key_id not in self._keys:
            await self._ask()
        elif time.monotonic() - self._fetched_at > self._kept_seconds and self._may_ask() and not self._is_asking:
            # Whoever comes with a known key doesn't wait for this.
            self._in_background = asyncio.create_task(self._ask())
        known = self._keys.get(key_id)
        if known is not None:
            return self._key(key_id, known, algorithm)
        if self._failed is not None:
            raise UnavailableError(part="issuer", detail=f"the keys of {self._issuer.issuer} could not be read: {self._failed}")
        return None

    async def stop(self) -> None:
        """End what is under way."""
        if self._in_background is not None:
            self._in_background.cancel()
            await asyncio.gather(self._in_background, return_exceptions=True)

    @property
    def _is_asking(self) -> bool:
        return self._in_background is not None and not self._in_background.done()

    def _may_ask(self) -> bool:
        return time.monotonic() - self._asked_at >= self._asked_every_seconds

    async def _ask(self) -> None:
        before = self._answers
        async with self._asking:  # one at a time: whoever waited finds the answer that came meanwhile
            if self._answers != before or not self._may_ask():
                return
            self._asked_at = time.monotonic()
            try:
                found = _read(await self._fetch())
            except (httpx.HTTPError, OSError, ValueError) as error:
                self._failed = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                _log.warning("oauth.keys-not-read", issuer=self._issuer.issuer, error=self._failed)
                return
            finally:
                self._answers += 1
            self._keys, self._made, self._failed, self._fetched_at = found, {}, None, time.monotonic()
            _log.info("oauth.keys-read", issuer=self._issuer.issuer, keys=len(found))

    async def _fetch(self) -> bytes:
        if not self._issuer.jwks.startswith("http"):
            return await asyncio.to_thread(Path(self._issuer.jwks).read_bytes)
        # No proxy of the environment, and no redirect: the address that was set is the one that is trusted.
        async with (
            asyncio.timeout(_FETCH_SECONDS),
            httpx.AsyncClient(timeout=_FETCH_SECONDS, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", self._issuer.jwks, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                message = f"it answered {answer.status_code}"
                raise ValueError(message)
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MOST_BYTES:
                    message = f"more than {_MOST_BYTES} bytes"
                    raise ValueError(message)
            return bytes(body)

    def _key(self, key_id: str, content: dict[str, Any], algorithm: str) -> PyJWK | None:
        made = self._made.get((key_id, algorithm))
        if made is not None:
            return made
        if content.get("kty") != _FAMILIES[algorithm[:2]] or content.get("alg", algorithm) != algorithm:
            return None
        try:
            key = PyJWK(content, algorithm=algorithm)
        except (PyJWTError, ValueError) as error:
            _log.warning("oauth.key-not-usable", issuer=self._issuer.issuer, key_id=key_id, error=str(error))
            return None
        if isinstance(key.key, RSAPublicKey) and key.key.key_size < _LEAST_RSA_BITS:
            _log.warning("oauth.key-not-usable", issuer=self._issuer.issuer, key_id=key_id, error=f"{key.key.key_size} bits")
            return None
        self._made[key_id, algorithm] = key
        return key


def _read(body: bytes) -> dict[str, dict[str, Any]]:
    """The keys for signatures in a JWK Set, by their ids; what else is in it is passed over, RFC 7517, section 5."""
    content = json.loads(body)
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list):
        message = "it is no JWK Set"
        raise ValueError(message)  # noqa: TRY004  what was read is wrong, not what was called
    usable = [key for key in keys[:_MOST_KEYS] if isinstance(key, dict) and key.get("use", "sig") == "sig"]
    return {key["kid"]: key for key in usable if isinstance(key.get("kid"), str) and key.get("kty") in _FAMILIES.values()}
