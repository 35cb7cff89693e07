"""What Temporal stores, encrypted: arguments, results, failures, memos, summaries and details; see docs/decisions/0019."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from ledger.errors import CasaflowError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENCODING: Final = b"binary/encrypted"
"""By which an encrypted payload is known, in its metadata under `encoding`."""
CIPHER: Final = b"AES-256-GCM"
CIPHER_METADATA: Final = "encryption-cipher"
KEY_ID_METADATA: Final = "encryption-key-id"
HIDDEN: Final = "(not shown)"
"""Stands in messages where the value is a secret."""

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
"""96 random bits. With them one key may encrypt 2^32 payloads (NIST SP 800-38D, section 8.3); then it has to be rotated."""
_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class UndecryptablePayloadError(CasaflowError):
    """A payload can't be decrypted here. A retry mends it once the process has the key, so it isn't among the errors for good."""

    code: ClassVar[str] = "undecryptable-payload"

    def __init__(self, *, key_id: str, rule: str) -> None:
        self.key_id = key_id
        super().__init__(f"a payload that was encrypted with the key {key_id!r} can't be decrypted: {rule}")


@dataclass(frozen=True)
class PayloadKeys:
    """Keys by their ids; the first one encrypts, all of them decrypt."""

    by_id: Mapping[str, bytes] = field(repr=False)

    @property
    def first_id(self) -> str:
        """Of the key that encrypts."""
        return next(iter(self.by_id))

    @classmethod
    def parsed(cls, text: str, *, name: str) -> PayloadKeys:
        """Read ``id:base64`` entries, separated by commas or line ends.

        Args:
            text: the entries; the first one's key encrypts.
            name: of the setting that they are from.

        Raises:
            InvalidInputError: an entry breaks a rule. The message names the setting and the entry's place, and never a key.
        """
        entries = [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
        if not entries:
            raise InvalidInputError(field=name, value=HIDDEN, rule="must name at least one key as id:base64")
        keys: dict[str, bytes] = {}
        for place, entry in enumerate(entries, start=1):
            key_id, key = _parsed_entry(entry, name=f"{name}, entry {place}")
            if key_id in keys:
                raise InvalidInputError(field=f"{name}, entry {place}", value=key_id, rule="must have an id that no entry before it has")
            keys[key_id] = key
        return cls(keys)


def _parsed_entry(entry: str, *, name: str) -> tuple[str, bytes]:
    key_id, colon, encoded = entry.partition(":")
    if not colon:
        raise InvalidInputError(field=name, value=HIDDEN, rule="must be an id, a colon, and the key in base64")
    if not _KEY_ID.fullmatch(key_id):
        # A key without its id, or the other way round, must not land in a log; so the id isn't shown either.
        rule = "must begin with an id of 1 to 64 letters, digits, dots, hyphens or underscores"
        raise InvalidInputError(field=name, value=HIDDEN, rule=rule)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError(field=name, value=HIDDEN, rule="must have its key in base64") from None
    if len(key) != _KEY_BYTES:
        rule = f"must have a key of {_KEY_BYTES} bytes, not {len(key)}; `openssl rand -base64 {_KEY_BYTES}` makes one"
        raise InvalidInputError(field=name, value=HIDDEN, rule=rule)
    return key_id, key


def new_entry(key_id: str) -> str:
    """A line for a file of keys, with a new key."""
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}"


class EncryptingCodec(PayloadCodec):
    """Encrypts each payload whole, its own metadata included. What isn't encrypted is read as it is, so older histories stay readable."""

    def __init__(self, keys: PayloadKeys) -> None:
        self._first_id = keys.first_id
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.by_id.items()}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt with the first key."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt with the key that each payload names.

        Raises:
            UndecryptablePayloadError: that key isn't there, or the payload was changed on its way.
        """
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        key_id, nonce = self._first_id, os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[key_id].encrypt(nonce, payload.SerializeToString(), _authenticated(key_id))
        metadata = {"encoding": ENCODING, CIPHER_METADATA: CIPHER, KEY_ID_METADATA: key_id.encode()}
        return Payload(metadata=metadata, data=nonce + sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get(KEY_ID_METADATA, b"").decode("utf-8", errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            known = ", ".join(self._ciphers)
            raise UndecryptablePayloadError(key_id=key_id, rule=f"this process has only {known}; keep a key until no history uses it")
        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, _authenticated(key_id)))
        except (InvalidTag, ValueError):
            # A nonce that is too short is a ValueError; both mean that these are not the bytes that were encrypted.
            raise UndecryptablePayloadError(key_id=key_id, rule="it was changed, or encrypted with another key of that id") from None


def _authenticated(key_id: str) -> bytes:
    """What is bound to the ciphertext without being encrypted."""
    return b"casaflow payload 1\x00" + key_id.encode()
