"""The hash chain: computed the same in Python and SQL, and broken by any change."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from infra.kafka.cloud_events import headers_of
from infra.kafka.records import Partition, Record
from infra.postgres.audit import GENESIS_HASH, AuditEffects, _Content, canonical_form
from infra.postgres.database import Database
from tests.integration.consumers.conftest import broken_chains, event, recorded, rows

_RECORDS = 6


@pytest.fixture
async def chain(postgres_url: str, database: Database) -> AsyncIterator[str]:
    """A chain of five events and a record that is none."""
    topic, group = f"test.{uuid.uuid4().hex[:12]}", f"test-{uuid.uuid4().hex[:12]}"
    partition = Partition(topic, 4)
    effects = AuditEffects(database, consumer_group=group)
    await effects.next_offsets({partition: 0})
    for offset in range(_RECORDS):
        sent = event(topic, offset)
        headers = () if offset == 3 else tuple(headers_of(sent))
        record = Record(offset=offset, key=sent.key.encode(), value=sent.data.encode(), headers=headers)
        assert await effects.apply(partition, [record], expected=offset) == 1
    assert broken_chains(postgres_url) == []
    assert len(recorded(postgres_url, topic)) == _RECORDS
    yield str(partition)
    _forget(postgres_url, str(partition))


async def test_a_chain_begins_with_nothing_and_each_record_follows_the_one_before(postgres_url: str, chain: str) -> None:
    previous = GENESIS_HASH
    for position, row in enumerate(rows(postgres_url, "SELECT * FROM audit.record WHERE chain = %s ORDER BY sequence", chain)):
        assert row["sequence"] == position + 1
        assert bytes(row["previous_hash"]) == previous
        previous = bytes(row["hash"])
    (head,) = rows(postgres_url, "SELECT sequence, hash FROM audit.chain WHERE chain = %s", chain)
    assert (head["sequence"], bytes(head["hash"])) == (_RECORDS, previous)


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
_MAYBE_TEXT = st.none() | _TEXT
_TIMES = st.datetimes(timezones=st.just(dt.UTC))
_SQL_HASH = """
SELECT audit.record_hash(ROW(%(chain)s, %(sequence)s, CAST(%(event_id)s AS uuid), %(topic)s, %(partition)s, %(offset)s, %(type)s, %(key)s,
                             %(source)s, %(subject)s, CAST(%(time)s AS timestamptz), %(payload)s, %(problem)s, %(raw_record)s,
                             %(previous_hash)s, ''::bytea, CAST(%(recorded_at)s AS timestamptz))::audit.record)
"""


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.builds(
        _Content,
        event_id=st.none() | st.uuids().map(str),
        type=_MAYBE_TEXT,
        key=_MAYBE_TEXT,
        source=_MAYBE_TEXT,
        subject=_MAYBE_TEXT,
        time=st.none() | _TIMES,
        payload=_MAYBE_TEXT,
        problem=_MAYBE_TEXT,
        raw_record=_MAYBE_TEXT,
    ),
    topic=_TEXT,
    sequence=st.integers(1, 2**63 - 1),
    offset=st.integers(0, 2**63 - 1),
    partition=st.integers(0, 2**31 - 1),
    previous_hash=st.binary(min_size=32, max_size=32),
    recorded_at=_TIMES,
)
def test_python_and_sql_hash_the_same(
    postgres_url: str,
    content: _Content,
    topic: str,
    sequence: int,
    offset: int,
    partition: int,
    previous_hash: bytes,
    recorded_at: dt.datetime,
) -> None:
    place = (f"{topic}/{partition}", sequence, Partition(topic, partition), offset)
    in_python = hashlib.sha256(canonical_form(place, content, previous_hash, recorded_at).encode()).digest()
    values = {
        "chain": place[0],
        "sequence": sequence,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "previous_hash": previous_hash,
        "recorded_at": recorded_at.isoformat(),
        **vars(content),
        "time": content.time.isoformat() if content.time else None,
    }
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        row = connection.execute(_SQL_HASH, values).fetchone()
    assert row is not None
    assert bytes(row[0]) == in_python


def _tamper(url: str, statement: str, chain: str) -> None:
    """Change what may not be changed, as somebody would who has the superuser's rights."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        changed = connection.execute(statement.replace("CHAIN", f"'{chain}'").encode())
        assert changed.rowcount > 0


@pytest.mark.parametrize(
    "change",
    [
        "sequence = 20",
        "event_id = gen_random_uuid()",
        "topic = 'other'",
        "partition = 5",
        '"offset" = 17',
        "type = type || ' '",
        "key = key || '1'",
        "source = '/casaflow/tenants/other'",
        "subject = ''",
        "time = time + interval '1 microsecond'",
        "time = 'infinity'",
        "payload = replace(payload, '1', '2')",
        "payload = payload || ' '",
        "previous_hash = decode(repeat('00', 32), 'hex')",
        "hash = sha256(hash)",
        "recorded_at = recorded_at - interval '1 microsecond'",
        # Two fields whose texts together stay the same.
        "key = left(key, -1), source = right(key, 1) || source",
        # An event that is said to have been none.
        (
            "problem = 'none', raw_record = '{}', event_id = NULL, type = NULL, key = NULL, source = NULL, subject = NULL, time = NULL, "
            "payload = NULL"
        ),
    ],
)
async def test_a_changed_record_breaks_the_chain(postgres_url: str, chain: str, change: str) -> None:
    _tamper(postgres_url, f"UPDATE audit.record SET {change} WHERE chain = CHAIN AND sequence = 2", chain)  # noqa: S608  constants
    assert any(chain in line for line in broken_chains(postgres_url))


@pytest.mark.parametrize("change", ["problem = problem || '.'", "raw_record = '{}'"])
async def test_a_changed_record_that_is_no_event_breaks_the_chain(postgres_url: str, chain: str, change: str) -> None:
    _tamper(postgres_url, f"UPDATE audit.record SET {change} WHERE chain = CHAIN AND problem IS NOT NULL", chain)  # noqa: S608
    assert any(chain in line for line in broken_chains(postgres_url))


async def test_a_change_whose_own_hash_was_made_to_fit_breaks_the_link_to_the_next(postgres_url: str, chain: str) -> None:
    _tamper(postgres_url, "UPDATE audit.record SET payload = '{}' WHERE chain = CHAIN AND sequence = 2", chain)
    _tamper(postgres_url, "UPDATE audit.record r SET hash = audit.record_hash(r) WHERE chain = CHAIN AND sequence = 2", chain)
    first = next(line for line in broken_chains(postgres_url) if chain in line)
    assert first.startswith(f"record 3 of chain {chain}")


@pytest.mark.parametrize("sequence", range(1, _RECORDS + 1))
async def test_a_missing_record_breaks_the_chain(postgres_url: str, chain: str, sequence: int) -> None:
    _tamper(postgres_url, f"DELETE FROM audit.record WHERE chain = CHAIN AND sequence = {sequence}", chain)  # noqa: S608
    assert any(chain in line for line in broken_chains(postgres_url))


@pytest.mark.parametrize("place", ["in between", "at the end"])
async def test_an_inserted_record_breaks_the_chain(postgres_url: str, chain: str, place: str) -> None:
    if place == "in between":
        _tamper(postgres_url, "UPDATE audit.record SET sequence = sequence + 100 WHERE chain = CHAIN AND sequence > 2", chain)
        _tamper(postgres_url, "UPDATE audit.record SET sequence = sequence - 99 WHERE chain = CHAIN AND sequence > 100", chain)
    after = 2 if place == "in between" else _RECORDS
    _tamper(
        postgres_url,
        'INSERT INTO audit.record (chain, sequence, event_id, topic, partition, "offset", type, key, source, subject, time, payload, '  # noqa: S608
        "previous_hash, hash, recorded_at) SELECT chain, sequence + 1, gen_random_uuid(), topic, partition, 99, 'made.up', 'main/a', "
        f"'s', 't', now(), '{{}}', hash, hash, now() FROM audit.record WHERE chain = CHAIN AND sequence = {after}",
        chain,
    )
    _tamper(postgres_url, f"UPDATE audit.record r SET hash = audit.record_hash(r) WHERE chain = CHAIN AND sequence = {after + 1}", chain)  # noqa: S608
    assert any(chain in line for line in broken_chains(postgres_url))


async def test_a_chain_whose_end_was_cut_off_does_not_fit_its_head(postgres_url: str, chain: str) -> None:
    _tamper(postgres_url, "DELETE FROM audit.record WHERE chain = CHAIN AND sequence > 4", chain)
    assert [line for line in broken_chains(postgres_url) if chain in line] == [
        f"chain {chain} ends with record 4, its head says {_RECORDS}"
    ]


async def test_a_chain_without_head_and_a_head_without_chain_are_found(postgres_url: str, chain: str) -> None:
    _tamper(postgres_url, "DELETE FROM audit.chain WHERE chain = CHAIN", chain)
    assert any(chain in line for line in broken_chains(postgres_url))
    _tamper(postgres_url, "DELETE FROM audit.record WHERE chain = CHAIN", chain)
    _tamper(postgres_url, "INSERT INTO audit.chain VALUES (CHAIN, 1, sha256(''))", chain)
    assert any(chain in line for line in broken_chains(postgres_url))


def _forget(url: str, chain: str) -> None:
    """A broken chain is of no use to the next test."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM audit.record WHERE chain = %s", [chain])
        connection.execute("DELETE FROM audit.chain WHERE chain = %s", [chain])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit.record SET payload = '{}'",
        "UPDATE audit.record SET payload = payload WHERE false",
        "DELETE FROM audit.record",
        "TRUNCATE audit.record",
        "INSERT INTO audit.record SELECT * FROM audit.record ON CONFLICT (chain, sequence) DO UPDATE SET payload = '{}'",
        "MERGE INTO audit.record r USING audit.chain c ON c.chain = r.chain WHEN MATCHED THEN DELETE",
    ],
)
async def test_records_can_not_be_changed_or_taken_away(postgres_url: str, chain: str, statement: str) -> None:
    before = rows(postgres_url, "SELECT * FROM audit.record WHERE chain = %s ORDER BY sequence", chain)
    with psycopg.connect(postgres_url) as connection, pytest.raises(errors.IntegrityConstraintViolation, match="insert-only"):
        connection.execute(statement.encode())
    assert rows(postgres_url, "SELECT * FROM audit.record WHERE chain = %s ORDER BY sequence", chain) == before
