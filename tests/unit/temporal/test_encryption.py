"""What Temporal stores can be read with the keys only, and with each key that was ever the first."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from infra.temporal.encryption import EncryptingCodec, PayloadKeys, UndecryptablePayloadError, new_entry
from ledger.errors import InvalidInputError

OLD, NEW = new_entry("2026-10"), new_entry("2026-11")
PAYLOAD = Payload(metadata={"encoding": b"json/plain"}, data=b'{"account_id":"AT611904300234573201"}')


def codec(*entries: str) -> EncryptingCodec:
    return EncryptingCodec(PayloadKeys.parsed(",".join(entries), name="KEYS"))


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=3), st.binary(max_size=500))
async def test_what_was_encrypted_comes_back_byte_for_byte_and_shows_nothing_on_its_way(metadata: dict[str, bytes], data: bytes) -> None:
    payload = Payload(metadata=metadata, data=b"personal: " + data)
    (sealed,) = await codec(NEW).encode([payload])
    assert sealed.metadata == {"encoding": b"binary/encrypted", "encryption-cipher": b"AES-256-GCM", "encryption-key-id": b"2026-11"}
    assert b"personal" not in sealed.SerializeToString()
    assert await codec(NEW).decode([sealed]) == [payload]


async def test_the_same_payload_never_looks_the_same_twice() -> None:
    first, second = await codec(NEW).encode([PAYLOAD, PAYLOAD])
    assert first.data != second.data


async def test_after_a_rotation_the_new_key_encrypts_and_the_old_one_still_decrypts() -> None:
    before = await codec(OLD).encode([PAYLOAD])
    rotated = codec(NEW, OLD)
    assert await rotated.decode(before) == [PAYLOAD]
    (after,) = await rotated.encode([PAYLOAD])
    assert after.metadata["encryption-key-id"] == b"2026-11"
    assert await codec(NEW).decode([after]) == [PAYLOAD]


async def test_a_payload_from_before_encryption_is_read_as_it_is() -> None:
    assert await codec(NEW).decode([PAYLOAD]) == [PAYLOAD]


async def test_without_its_key_a_payload_stays_closed_and_the_error_names_the_key() -> None:
    with pytest.raises(UndecryptablePayloadError, match="'2026-10' can't be decrypted: this process has only 2026-11") as found:
        await codec(NEW).decode(await codec(OLD).encode([PAYLOAD]))
    assert found.value.key_id == "2026-10"


@pytest.mark.parametrize("change", [0, 11, 12, -1])
async def test_a_payload_that_was_changed_is_not_accepted(change: int) -> None:
    (sealed,) = await codec(NEW).encode([PAYLOAD])
    changed = bytearray(sealed.data)
    changed[change] ^= 1
    sealed.data = bytes(changed)
    with pytest.raises(UndecryptablePayloadError, match="it was changed"):
        await codec(NEW).decode([sealed])


async def test_a_payload_cut_short_is_not_accepted() -> None:
    (sealed,) = await codec(NEW).encode([PAYLOAD])
    sealed.data = sealed.data[:5]
    with pytest.raises(UndecryptablePayloadError, match="it was changed"):
        await codec(NEW).decode([sealed])


async def test_a_key_id_that_was_exchanged_is_not_accepted_even_where_both_name_the_same_key() -> None:
    same = NEW.partition(":")[2]
    (sealed,) = await codec(NEW).encode([PAYLOAD])
    sealed.metadata["encryption-key-id"] = b"other"
    with pytest.raises(UndecryptablePayloadError, match="it was changed"):
        await codec(NEW, f"other:{same}").decode([sealed])


SECRET = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("text", "place", "rule"),
    [
        (" , ", "", "must name at least one key as id:base64"),
        (SECRET, ", entry 1", "must be an id, a colon, and the key in base64"),
        (f"a:{SECRET},{SECRET}", ", entry 2", "must be an id, a colon, and the key in base64"),
        (f"{SECRET}:a", ", entry 1", "must begin with an id of 1 to 64 letters, digits, dots, hyphens or underscores"),
        ("a:!", ", entry 1", "must have its key in base64"),
        (f"a:{SECRET[:-4]}", ", entry 1", "must have a key of 32 bytes, not 30; `openssl rand -base64 32` makes one"),
        (f"a:{SECRET}\na:{SECRET}", ", entry 2", "must have an id that no entry before it has"),
    ],
)
def test_a_malformed_key_is_refused_with_its_place_and_rule_and_without_the_key(text: str, place: str, rule: str) -> None:
    with pytest.raises(InvalidInputError) as found:
        PayloadKeys.parsed(text, name="CASAFLOW_PAYLOAD_KEYS")
    assert (found.value.field, found.value.rule) == (f"CASAFLOW_PAYLOAD_KEYS{place}", rule)
    assert SECRET[:8] not in str(found.value)


def test_keys_do_not_show_themselves() -> None:
    keys = PayloadKeys.parsed(NEW, name="KEYS")
    assert repr(keys) == "PayloadKeys()"
