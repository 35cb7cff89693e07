"""`casaflow restored`: what was told and is lost, after the ledger was restored to an earlier instant. See ``docs/decisions/0041``.

The topics and Temporal go on where they were; the ledger and the stores of its consumer groups went back together. What was published since
stands behind the groups' stored offsets, so that is where the topics are read from.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final

from infra.groups import GROUPS, with_store
from infra.kafka.cloud_events import MalformedEventError
from infra.kafka.connection import connection_of
from infra.kafka.offsets import end_offsets, offsets_at, send_group_back
from infra.kafka.received import received_event
from infra.kafka.topic_scan import TopicScan
from infra.postgres.administrative_acts import PostgresAdministrativeActs
from infra.postgres.database import Database
from infra.postgres.restored import RestoredLedger, Standing
from infra.postgres.stored_offsets import StoredOffsets
from infra.temporal.client import connect
from infra.temporal.restored_runs import RestoredRuns
from ledger.errors import InvalidInputError
from ledger.events import TOPIC_BALANCE_UPDATED, TOPICS
from ledger.restores import CarriedRun, GoneOn, LostEvent, LostItem, LostKind, RestoreReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.kafka.received import ReceivedEvent
    from infra.kafka.records import Partition, Record
    from infra.settings import Settings
    from ledger.principals import Actor
    from ledger.requests import TransactionRequest

_OPERATION_SECONDS: Final = 900.0
_AT_ONCE: Final = 500
_MARGIN: Final = dt.timedelta(minutes=10)
"""Temporal's clock is not the database's, and a workflow may have completed a while after what it posted."""
_BALANCE_GROUP: Final = "balance"
"""It has no store: its offsets are Kafka's, and did not go back."""


async def find_lost(settings: Settings, *, since: dt.datetime | None, actor: Actor | None) -> RestoreReport:
    """Find what was told and is lost.

    Args:
        settings: with the addresses of all three servers.
        since: read the topics, and what Temporal has completed, from this instant on; None: from where the groups' stores stand.
        actor: also have groups and Temporal go on with the restored ledger, as told by whom; None: only look.

    Raises:
        InvalidInputError: an address is missing.
        UnavailableError: a server did not answer.
    """
    kafka = connection_of(settings)
    if settings.postgres_url is None:
        raise InvalidInputError(field="CASAFLOW_POSTGRES_URL", value=None, rule="must be set, or the stack must run")
    groups = with_store(settings.consumer_groups)
    database = Database.open(
        settings.postgres_url.get_secret_value(), pool_size=2, operation_timeout_seconds=_OPERATION_SECONDS, role=settings.postgres_role
    )
    try:
        ledger = RestoredLedger(database)
        runs = RestoredRuns(await connect(settings), settings.task_queue)
        ends = await end_offsets(kafka, TOPICS)
        begins = await (_places_of(database, groups, ends) if since is None else offsets_at(kafka, TOPICS, since))
        # A partition without a record since then has nothing to read.
        begins = {partition: begins.get(partition, end) for partition, end in ends.items()} if since is not None else begins
        lost = _Lost()
        records = await lost.read(ledger, TopicScan(kafka, ends, begins))
        newest = since or await ledger.newest()
        compared = await lost.compare(ledger, runs, newest - _MARGIN if newest is not None else None)
        report = RestoreReport(records=records, runs=compared, lost=lost.items(), applied=await ledger.applied_unknown(groups))
        if actor is None or report.applied:
            return report
        await PostgresAdministrativeActs(database).record(actor, "ledger.restored", "ledger", detail={"lost": len(report.lost)})
        moved, again = await ledger.go_on_behind(ends, groups)
        if _BALANCE_GROUP in settings.consumer_groups:
            # It writes what the ledger says now of each account that an event names, so it only has to look again.
            of_balances = {partition: offset for partition, offset in begins.items() if partition.topic == TOPIC_BALANCE_UPDATED}
            await send_group_back(kafka, _BALANCE_GROUP, of_balances)
        removed = [item.run for item in report.lost if item.run is not None]
        for run in removed:
            await runs.remove(run)
        return report.model_copy(update={"done": GoneOn(partitions=moved, events_again=again, runs_removed=len(removed))})
    finally:
        await database.close()


async def _places_of(database: Database, groups: Sequence[str], ends: Mapping[Partition, int]) -> dict[Partition, int]:
    """Where the first of the groups goes on with each partition; its beginning, where one has never read it."""
    places = dict(ends)
    for name in groups:
        stored = await StoredOffsets(database, schema=name, consumer_group=name).stored()
        for partition, place in places.items():
            if partition.topic in GROUPS[name].topics:
                places[partition] = min(place, stored.get(partition, 0))
    return places if groups else {}


class _Lost:
    """What is found, by kind, tenant and id, in the order in which it happened."""

    def __init__(self) -> None:
        self._found: dict[tuple[LostKind, str, str], LostItem] = {}

    def items(self) -> tuple[LostItem, ...]:
        return tuple(self._found.values())

    async def read(self, ledger: RestoredLedger, scan: TopicScan) -> int:
        """Keep each event that the ledger does not know; how many records were read."""
        count = 0
        async for batch in scan.records():
            count += len(batch)
            events = {event.event_id: event for partition, record in batch if (event := _event(record, partition)) is not None}
            for event_id in await ledger.unknown_events(events):
                self._add(events[event_id])
        self._found = dict(sorted(self._found.items(), key=lambda found: min(event.time for event in found[1].events)))
        return count

    async def compare(self, ledger: RestoredLedger, runs: RestoredRuns, since: dt.datetime | None) -> int:
        """Keep each workflow that has done more than the ledger has; how many were looked at."""
        count = 0
        async for page in runs.since(since, at_once=_AT_ONCE):
            count += len(page)
            for kind in LostKind:
                of_kind = [run for run in page if run.kind is kind]
                standing = await ledger.standing(kind, [(run.tenant, run.identifier) for run in of_kind]) if of_kind else {}
                for run in of_kind:
                    has = standing.get((run.tenant, run.identifier))
                    if await _did_more(runs, run, has):
                        self._carried(run, await runs.request(run), known=has is not None)
        # A file's lines, and what Temporal has forgotten, have no workflow.
        return count

    def _add(self, event: ReceivedEvent) -> None:
        content = json.loads(event.data)
        kind = LostKind.HOLD if "hold_id" in content and "instruction" not in content else LostKind.TRANSACTION
        key = (kind, event.tenant, event.subject)
        item = self._found.get(key) or LostItem(kind=kind, tenant=event.tenant, identifier=event.subject)
        told = LostEvent(
            event_id=event.event_id,
            type=event.type,
            topic=event.topic,
            partition=event.partition,
            offset=event.offset,
            time=event.time,
            account_id=content.get("account_id"),
            amount=_amount(content.get("amount")),
        )
        self._found[key] = item.model_copy(update={**_asked(content, kind), "events": (*item.events, told)})

    def _carried(self, run: CarriedRun, request: TransactionRequest | None, *, known: bool) -> None:
        key = (run.kind, run.tenant, run.identifier)
        item = self._found.get(key) or LostItem(kind=run.kind, tenant=run.tenant, identifier=run.identifier)
        if request is not None and item.amount is None:
            item = item.model_copy(
                update={
                    "debtor": request.debtor.account_id if request.debtor else None,
                    "creditor": request.creditor.account_id if request.creditor else None,
                    "amount": str(request.amount),
                    "reference": request.reference,
                }
            )
        self._found[key] = item.model_copy(update={"run": run, "known": known})


async def _did_more(runs: RestoredRuns, run: CarriedRun, has: Standing | None) -> bool:
    """Whether the workflow has done something that the ledger lacks."""
    if run.status == "completed":
        # A hold that was refused completes, too, and is a row; only of a file that is over the workflow ends.
        return has is None or not has.ended
    if run.kind is not LostKind.TRANSACTION:
        # A hold's and a file's workflow begin when there is nothing yet; so nothing was done where nothing has ended well.
        return has is None and bool(await runs.done(run))
    if has is not None and has.ended:
        return False
    done = await runs.done(run)
    decided = has.decided if has is not None else 0
    return done["casa.post"] > decided or (done["casa.post_linked"] > 0 and not decided) or done["casa.reject"] > 0


def _event(record: Record, partition: Partition) -> ReceivedEvent | None:
    """None: it is no event of casaflow's, so no leg can have stored it."""
    try:
        return received_event(record, partition)
    except MalformedEventError:
        return None


def _asked(content: Mapping[str, Any], kind: LostKind) -> dict[str, str | None]:
    """What was asked for, and how it was told to have ended."""
    if kind is LostKind.HOLD:
        return {
            "debtor": content.get("account_id"),
            "amount": _amount(content.get("amount")),
            "reference": content.get("reference"),
            "told": content.get("status"),
        }
    asked = content["instruction"]
    found: dict[str, str | None] = {name: asked.get(name) for name in ("debtor", "creditor", "reference")}
    found["amount"] = _amount(asked.get("instructed"))
    return found | ({"told": content["status"]} if "status" in content else {})


def _amount(content: Mapping[str, str] | None) -> str | None:
    return f"{content['value']} {content['currency']}" if content else None
