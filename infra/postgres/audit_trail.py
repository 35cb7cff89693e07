"""Reads the audit group's chains: proves them, tells their heads, and gives their records out."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text

from infra.postgres.event_rules import CHAIN_RULES
from infra.postgres.json import to_jsonb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

_AT_ONCE: Final = 1_000
_ONE_SNAPSHOT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_HEADS: Final = text("SELECT chain, sequence, encode(hash, 'hex') AS hash FROM audit.chain ORDER BY chain")
# A head of earlier, and the record that it was of: who rewrote the chain since then has another hash there, or none.
_AGAINST: Final = text("""
    SELECT format('record %s of chain %s had the hash %s, and %s', h.sequence, h.chain, h.hash,
                  CASE WHEN r.chain IS NULL THEN 'is missing' ELSE 'has ' || encode(r.hash, 'hex') END) AS violation
      FROM jsonb_to_recordset(CAST(:heads AS jsonb)) AS h (chain text, sequence bigint, hash text)
      LEFT JOIN audit.record r ON r.chain = h.chain AND r.sequence = h.sequence
     WHERE r.chain IS NULL OR encode(r.hash, 'hex') <> h.hash
     ORDER BY h.chain
""")
_RECORDS: Final = text("""
    SELECT chain, sequence, CAST(event_id AS text) AS event_id, topic, partition, "offset", type, key, source, subject, time, payload,
           problem, raw_record, encode(previous_hash, 'hex') AS previous_hash, encode(hash, 'hex') AS hash, recorded_at
      FROM audit.record
     WHERE (chain, sequence) > (:chain, :sequence)
       AND (CAST(:tenant AS text) IS NULL OR source = '/casaflow/tenants/' || CAST(:tenant AS text))
       AND (CAST(:since AS timestamptz) IS NULL OR recorded_at >= :since) AND (CAST(:until AS timestamptz) IS NULL OR recorded_at < :until)
     ORDER BY chain, sequence LIMIT :at_most
""")


class ChainHead(BaseModel):
    """The last record of a chain. Kept where the database's superuser can't write, it fixes the chain up to that record."""

    model_config = ConfigDict(frozen=True)

    chain: str
    """Topic and partition."""
    sequence: int
    hash: str
    """SHA-256, hexadecimal."""


class AuditRecord(BaseModel):
    """A record of a chain, with everything that its hash is taken over."""

    model_config = ConfigDict(frozen=True)

    chain: str
    sequence: int
    event_id: str | None
    topic: str
    partition: int
    offset: int
    type: str | None
    key: str | None
    source: str | None
    subject: str | None
    time: dt.datetime | None
    payload: str | None
    """The event's data, byte for byte as it was published."""
    problem: str | None
    """Why it is no event; None: it is one."""
    raw_record: str | None
    previous_hash: str
    hash: str
    recorded_at: dt.datetime


class AuditVerification(BaseModel):
    """What a verification has found."""

    model_config = ConfigDict(frozen=True)

    records: int
    chains: int
    offending: tuple[str, ...]
    """A sentence for each record that was changed, is missing or was inserted; up to 100 of each rule."""
    total: int
    """How many there are."""


class AuditTrail:
    """The chains of the audit group."""

    def __init__(self, database: Database) -> None:
        """Take a database whose operations may take as long as reading all records does."""
        self._database = database

    async def verify(self, heads: Sequence[ChainHead] = ()) -> AuditVerification:
        """Compute each record's hash again and compare it, its link to the one before, and the heads.

        Args:
            heads: of earlier, kept elsewhere: they show a chain that was rewritten as a whole, or cut off and closed again.

        Raises:
            UnavailableError: the database did not answer.
        """
        given = [head.model_dump() for head in heads]

        async def work(connection: AsyncConnection) -> AuditVerification:
            await connection.execute(_ONE_SNAPSHOT)
            offending: list[str] = []
            total = 0
            for rule in CHAIN_RULES:
                rows = (await connection.execute(rule.query)).all()
                offending += [row.violation for row in rows]
                total += rows[0].total if rows else 0
            against = list((await connection.execute(_AGAINST, {"heads": to_jsonb(given)})).scalars()) if given else []
            records = (await connection.execute(text("SELECT count(*) FROM audit.record"))).scalar_one()
            chains = (await connection.execute(text("SELECT count(*) FROM audit.chain"))).scalar_one()
            return AuditVerification(records=records, chains=chains, offending=(*offending, *against), total=total + len(against))

        return await self._database.run(work)

    async def heads(self) -> list[ChainHead]:
        """The chains' last records now.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> list[ChainHead]:
            return [ChainHead.model_validate(dict(row)) for row in (await connection.execute(_HEADS)).mappings()]

        return await self._database.run_statement(work)

    async def records(
        self, *, tenant: str | None = None, since: dt.datetime | None = None, until: dt.datetime | None = None
    ) -> AsyncIterator[list[AuditRecord]]:
        """Records chain by chain, in their order, some at a time.

        Args:
            tenant: whose events; None: everything, what is no event included.
            since: recorded then or later.
            until: recorded before it.

        Raises:
            UnavailableError: the database did not answer.
        """
        place = {"chain": "", "sequence": 0}

        async def work(connection: AsyncConnection) -> list[AuditRecord]:
            values = {**place, "tenant": tenant, "since": since, "until": until, "at_most": _AT_ONCE}
            return [AuditRecord.model_validate(dict(row)) for row in (await connection.execute(_RECORDS, values)).mappings()]

        while page := await self._database.run_statement(work):
            yield page
            place = {"chain": page[-1].chain, "sequence": page[-1].sequence}
