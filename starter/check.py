"""`casaflow check`: proves the six truths of the ledger on the running system, by SQL, by Kafka's offsets, and by asking Temporal.

It reads; the one thing that it tries, whether postings wait for each other, it rolls back. See ``docs/decisions/0006-check.md``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, computed_field

from infra.groups import GROUPS, with_store
from infra.kafka.connection import connection_of
from infra.kafka.offsets import end_offsets
from infra.kafka.topic_scan import TopicScan
from infra.postgres.database import Database
from infra.postgres.lock_probe import probe_locks
from infra.postgres.proof import GroupCounts, PostgresProof, Violations
from infra.postgres.stored_offsets import StoredOffsets
from infra.postgres.topic_proof import compare_with_topics
from infra.temporal.client import connect
from infra.temporal.executions import TransactionExecutions
from ledger.errors import InvalidInputError
from ledger.events import TOPICS
from ledger.ids import transaction_of_workflow, workflow_id

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from infra.groups import Group
    from infra.kafka.connection import KafkaConnection
    from infra.kafka.records import Partition
    from infra.postgres.proof import EventEvidence, LedgerEvidence
    from infra.postgres.topic_proof import TopicEvidence
    from infra.settings import Settings

_OPERATION_SECONDS: Final = 900.0
"""Reading all tables of a large ledger takes minutes; a look-up's time-out would cut that off."""
SETTLE_SECONDS: Final = 60.0
"""How long events that were stored before the check may take to be published and applied. Healthy systems need less than a second."""
_POLL_SECONDS: Final = 0.25
_AT_ONCE: Final = 500
"""Transactions that are asked for at one time, however many have not ended."""

TITLES: Final = {
    1: "No money appears or disappears",
    2: "A transaction id is posted at most once per leg",
    3: "No accepted debit overdraws its account",
    4: "A credit waits for no credit and no debit, a debit for no credit",
    5: "Every posted leg is published, and each group applies it once",
    6: "Every transaction has exactly one outcome",
}


class Statement(BaseModel):
    """One thing that has to be so, and the exact ids where it isn't."""

    model_config = ConfigDict(frozen=True)

    title: str
    counted: str
    """What was looked at, in numbers: a proof over nothing proves nothing."""
    offending: tuple[str, ...] = ()
    """One sentence with the exact ids for each violation; the last one counts those that are not listed."""

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way, which mypy doesn't know
    @property
    def proven(self) -> bool:
        """Nothing contradicts it."""
        return not self.offending


class Finding(Statement):
    """What was found of one truth."""

    number: int


class CheckReport(BaseModel):
    """All findings."""

    model_config = ConfigDict(frozen=True)

    findings: tuple[Finding, ...]
    events_published: int
    events_applied: int
    """Of the published ones, by the audit group."""
    groups: dict[str, GroupCounts]
    """What each group has done with them."""

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def proven(self) -> bool:
        """All six truths hold."""
        return all(finding.proven for finding in self.findings)


async def run_check(settings: Settings, *, settle_seconds: float = SETTLE_SECONDS, with_topics: bool = True) -> CheckReport:
    """Prove the truths.

    Args:
        settings: with the addresses of all three servers.
        settle_seconds: how long events that are on their way may take to arrive.
        with_topics: also read the topics from their beginnings, and compare the events on them with those that are marked as published.

    Raises:
        InvalidInputError: an address is missing.
        UnavailableError: a server did not answer.
    """
    kafka = connection_of(settings)
    database = Database.open(
        _required("postgres_url", settings.postgres_url.get_secret_value() if settings.postgres_url else None),
        pool_size=4,
        operation_timeout_seconds=_OPERATION_SECONDS,
    )
    _required("temporal_address", settings.temporal_address)
    try:
        proof = PostgresProof(database)
        client = await connect(settings)
        executions = TransactionExecutions(client, settings.task_queue)
        ledger = await proof.ledger()
        outcomes = await _outcomes(proof, executions, ledger)
        waits = await _waits(database)
        until, events = await _events(proof, database, kafka, with_store(settings.consumer_groups), settle_seconds)
        topics = await _on_topics(database, kafka, until) if with_topics else None
    finally:
        await database.close()
    findings = (*_ledger_findings(ledger), waits, _event_finding(events, topics), outcomes)
    return CheckReport(
        findings=findings,
        events_published=events.counts["published"],
        events_applied=events.groups["audit"].applied if "audit" in events.groups else 0,
        groups=dict(events.groups),
    )


def _ledger_findings(ledger: LedgerEvidence) -> tuple[Finding, Finding, Finding]:
    counts = ledger.counts
    entries = f"{counts['entries']} entries in {counts['currencies']} currencies, {counts['accounts']} accounts"
    legs = f"{counts['posted']} legs posted, {counts['refused']} refused"
    debits = f"{counts['debits']} debits of {counts['debited_accounts']} accounts"
    return (
        _finding(1, entries, ledger.violations[1]),
        _finding(2, legs, ledger.violations[2]),
        _finding(3, debits, ledger.violations[3]),
    )


async def _waits(database: Database) -> Finding:
    probed = await probe_locks(database)
    counted = f"5 postings side by side on account {probed.account}, rolled back" if probed.account else "no active account to try it on"
    return _finding(4, counted, Violations(shown=list(probed.waits), total=len(probed.waits)))


async def _events(
    proof: PostgresProof, database: Database, kafka: KafkaConnection, groups: Sequence[str], settle_seconds: float
) -> tuple[dt.datetime, EventEvidence]:
    """What became of the events that were stored until now, and when that was; those on their way get some time to arrive."""
    deadline = time.monotonic() + settle_seconds
    until = await proof.now()
    ends = await end_offsets(kafka, TOPICS)
    while True:
        behind = [lag for group in groups for lag in await _behind(database, GROUPS[group], ends)]
        late = time.monotonic() >= deadline
        if not behind or late:
            found = await proof.events(until, groups)
            if not found.violations.total or late:
                for lag in behind:
                    found.violations.add(lag)
                return until, found
            # Published after the ends were read: the group has to come further.
            ends = await end_offsets(kafka, TOPICS)
        await asyncio.sleep(_POLL_SECONDS)


async def _behind(database: Database, group: Group, ends: Mapping[Partition, int]) -> list[str]:
    applied = await StoredOffsets(database, schema=group.name, consumer_group=group.name).stored()
    return [
        f"group {group.name} has come to offset {applied.get(partition, 0)} of {partition}, which ends at {end}"
        for partition, end in ends.items()
        if partition.topic in group.topics and applied.get(partition, 0) < end
    ]


async def _on_topics(database: Database, kafka: KafkaConnection, until: dt.datetime) -> TopicEvidence:
    scan = TopicScan(kafka, await end_offsets(kafka, TOPICS))
    return await compare_with_topics(database, scan.event_ids(), until=until, kept_since=lambda: scan.kept_since)


def _event_finding(events: EventEvidence, topics: TopicEvidence | None) -> Finding:
    counts = events.counts
    counted = f"{counts['events']} events, {counts['published']} published"
    if topics is not None:
        counted += f", {topics.events} on the topics in {topics.records} records"
        counted += f", {topics.beyond_retention} beyond their retention" if topics.beyond_retention else ""
        for missing in topics.missing:
            events.violations.add(missing)
        events.violations.total += topics.missing_total - len(topics.missing)
    for group, of_group in events.groups.items():
        counted += f"; group {group} applied {of_group.applied}"
        counted += f", {of_group.repeats} repeats had no effect" if of_group.repeats else ""
        counted += f", holds {of_group.held}" if of_group.held else ""
        counted += f", skipped {of_group.skipped}" if of_group.skipped else ""
    if not events.violations.total and "audit" in events.groups:
        counted += f"; {counts['chains']} hash chains intact"
    if counts["no_events"]:
        counted += f", with {counts['no_events']} records that are no events"
    return _finding(5, counted, events.violations)


async def _outcomes(proof: PostgresProof, executions: TransactionExecutions, ledger: LedgerEvidence) -> Finding:
    """A transaction that has not ended must be carried by a workflow, and a workflow that was given up must have left an outcome."""
    violations = ledger.violations[6]

    def tell(transaction: tuple[str, str], status: str) -> None:
        tenant, transaction_id = transaction
        violations.add(
            f"transaction {transaction_id} of tenant {tenant} has no outcome, and its workflow {workflow_id(tenant, transaction_id)} "
            f"is {status}"
        )

    # The tables are read again after Temporal was asked: what has ended in the meantime is no violation.
    async for page in proof.unfinished(at_once=_AT_ONCE):
        abandoned = await executions.not_carried(page)
        recorded = await proof.recorded(abandoned)
        for transaction, status in sorted(abandoned.items()):
            if not recorded.get(transaction, False):
                tell(transaction, status)
    async for given_up in executions.given_up(at_once=_AT_ONCE):
        transactions = [found for identifier in given_up if (found := _transaction(identifier)) is not None]
        abandoned = await executions.not_carried(transactions)
        # What is recorded and has not ended was looked at above.
        recorded = await proof.recorded(abandoned)
        for transaction, status in sorted(abandoned.items()):
            if transaction not in recorded:
                tell(transaction, status)
    statuses = {name: ledger.statuses.get(name, 0) for name in ("completed", "rejected", "reversed")}
    parked = await executions.parked()
    counted = ", ".join(f"{count} {name}" for name, count in statuses.items())
    return _finding(6, f"{counted}, {ledger.unfinished} under way, {parked} parked", violations)


def _transaction(identifier: str) -> tuple[str, str] | None:
    try:
        return transaction_of_workflow(identifier)
    except InvalidInputError:
        return None


def _finding(number: int, counted: str, violations: Violations) -> Finding:
    offending = list(violations.shown)
    if violations.total > len(offending):
        offending.append(f"and {violations.total - len(offending)} more")
    return Finding(number=number, title=TITLES[number], counted=counted, offending=tuple(offending))


def _required(field: str, value: str | None) -> str:
    if value is None:
        raise InvalidInputError(field=f"CASAFLOW_{field.upper()}", value=value, rule="must be set, or the stack must run")
    return value
