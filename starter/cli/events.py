"""`casaflow events`: how far each consumer group is, what it holds, and what operators do about that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from infra.settings import ALL_GROUPS, Settings
from ledger.errors import InvalidInputError, NotFoundError
from ledger.ids import parse_transaction_id
from ledger.statements import parse_instant
from starter.cli.access import EXIT_NOT_PROVEN, Json, operator
from starter.cli.reports import console
from starter.cli.watching import watch_events
from starter.group_stores import kafka_of, on_stores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.groups import Group
    from infra.kafka.lag import GroupLag
    from infra.kafka.records import Partition
    from infra.postgres.database import Database
    from infra.postgres.held_events import HeldEvent
    from infra.postgres.replays import Replayed, Replays
    from infra.postgres.stored_offsets import StoredOffsets

_MOST_SHOWN: Final = 1_000
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help=f"One of {', '.join(ALL_GROUPS)}.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    events = typer.Typer(help="Watch events; how far the consumer groups are, and what they could not handle.", no_args_is_help=True)
    app.add_typer(events, name="events")
    events.command("watch")(watch_events)
    events.command("lag")(lag)
    events.command("dead-letters")(dead_letters)
    events.command("replay")(replay)
    events.command("skip")(skip)


def lag(as_json: Json = False) -> None:
    """Show how many records each group has not applied yet, and what it holds."""

    async def work(settings: Settings, database: Database) -> list[GroupLag]:
        from infra.kafka.lag import group_lags  # noqa: PLC0415  drivers are loaded only where they are used

        return await group_lags(database, kafka_of(settings), settings.consumer_groups)

    found = on_stores(work)
    if as_json:
        typer.echo(json.dumps({group.group: group.model_dump(mode="json", exclude={"group"}) for group in found}))
        return
    table = _table("group", "records to apply", "failed", "waiting", "unreadable")
    for group in found:
        table.add_row(group.group, *(str(number) for number in (group.records, group.failed, group.waiting, group.unreadable)))
    console().print(table)


def dead_letters(group: GroupName, as_json: Json = False) -> None:
    """List what a group holds: events that it could not handle, and those of the same key that wait. Exit code 1 if there are any."""

    async def work(settings: Settings, database: Database) -> list[HeldEvent]:
        return await _replays(settings, database, _group(group)).held(at_most=_MOST_SHOWN)

    found = on_stores(work)
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found]))
    else:
        table = _table("status", "event", "type", "key", "attempts", "held at", "error")
        for one in found:
            name = one.event_id or f"record {one.position}"
            error = Text(one.error or "")  # whatever an event brought along is text, never markup
            table.add_row(one.status, name, one.type, one.key, str(one.attempts), f"{one.held_at:%Y-%m-%d %H:%M:%S}", error)
        console().print(table)
        if len(found) == _MOST_SHOWN:
            typer.echo(f"These are the first {_MOST_SHOWN}.")
    if found:
        raise typer.Exit(EXIT_NOT_PROVEN)


def replay(
    group: GroupName,
    event: Annotated[str | None, typer.Option(help="Try the events of this one's key again, in their order.")] = None,
    all_held: Annotated[bool, typer.Option("--all", help="Try all that the group holds again.")] = False,
    from_offset: Annotated[
        str | None, typer.Option(metavar="TOPIC/PARTITION/OFFSET", help="Have the group read a partition again from there.")
    ] = None,
    from_time: Annotated[
        str | None, typer.Option(help="Have the group read again what was published at this instant (RFC 3339) or later.")
    ] = None,
    from_transaction: Annotated[str | None, typer.Option(help="Have the group read again from this transaction's events on.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose transaction.")] = "main",
    as_json: Json = False,
) -> None:
    """Have a group try again what it holds, or read again from earlier on. What it has applied has no second effect.

    Its members may run meanwhile. Exit code 1 if something is still held.
    """
    given = [name for name, value in (("--event", event), ("--all", all_held), ("--from-offset", from_offset), ("--from-time", from_time),
                                      ("--from-transaction", from_transaction)) if value]  # fmt: skip
    if len(given) != 1:
        raise typer.BadParameter("give one of --event, --all, --from-offset, --from-time and --from-transaction")  # noqa: TRY003, EM101  typer's own
    if event is not None or all_held:
        _replay_held(group, event, as_json=as_json)
        return

    async def work(settings: Settings, database: Database) -> Mapping[Partition, int]:
        from infra.kafka.offsets import offsets_at  # noqa: PLC0415  as above

        of_group = _group(group)
        if from_offset is not None:
            wanted = _parse_place(from_offset, of_group)
        else:
            instant = (
                parse_instant(from_time, field="--from-time")
                if from_time is not None
                else await _first_event(database, tenant, from_transaction or "")
            )
            wanted = await offsets_at(kafka_of(settings), of_group.topics, instant)
        await _note(database, "events.read-again", group, {str(partition): offset for partition, offset in sorted(wanted.items())})
        return await _offsets(database, of_group).rewind(wanted)

    moved = on_stores(work)
    if as_json:
        typer.echo(json.dumps({str(partition): offset for partition, offset in moved.items()}))
        return
    for partition, offset in sorted(moved.items()):
        typer.echo(f"group {group} reads {partition} again from offset {offset}")
    if not moved:
        typer.echo(f"group {group} has nothing to read again: it has not come further than that")


def skip(
    group: GroupName,
    event: Annotated[str, typer.Argument(help="The failed event's id; of what is no event, its number in the list.")],
    reason: Annotated[str, typer.Option(help="Why; recorded with the event.")],
    as_json: Json = False,
) -> None:
    """Pass over a failed event for good, and apply those that wait behind it. Exit code 1 if one of them fails."""
    if not event.isdecimal():
        event = parse_transaction_id(event, field="event")

    async def work(settings: Settings, database: Database) -> Replayed | None:
        replays = _replays(settings, database, _group(group))
        await _note(database, "events.skipped", group, {"event": event, "reason": reason})
        return await replays.skip(event, by=operator().name, reason=reason)

    done = on_stores(work)
    _show_replayed([done] if done is not None else [], as_json=as_json)


def _replay_held(group: str, event: str | None, *, as_json: bool) -> None:
    identifier = parse_transaction_id(event, field="--event") if event is not None else None

    async def work(settings: Settings, database: Database) -> list[Replayed]:
        replays = _replays(settings, database, _group(group))
        keys = await replays.blocked() if identifier is None else [await replays.key_of(identifier)]
        await _note(database, "events.replayed", group, {"keys": [key.key for key in keys]})
        return [await replays.replay(key, by=operator().name) for key in keys]

    _show_replayed(on_stores(work), as_json=as_json)


async def _note(database: Database, action: str, group: str, detail: Mapping[str, Any]) -> None:
    """Record what is about to be done to a group, whether it then succeeds or not."""
    from infra.postgres.administrative_acts import PostgresAdministrativeActs  # noqa: PLC0415  as above

    await PostgresAdministrativeActs(database).record(operator(), action, f"group {group}", detail=detail)


def _show_replayed(done: list[Replayed], *, as_json: bool) -> None:
    failed = [one for one in done if one.failed is not None]
    if as_json:
        typer.echo(json.dumps({"applied": sum(one.applied for one in done), "failed": [_failure(one) for one in failed]}))
    else:
        typer.echo(f"{sum(one.applied for one in done)} events applied")
        for failure in map(_failure, failed):
            typer.echo(f"event {failure['event_id']} fails again, {failure['waiting']} wait behind it: {failure['error']}", err=True)
    if failed:
        raise typer.Exit(EXIT_NOT_PROVEN)


def _failure(one: Replayed) -> dict[str, Any]:
    held = one.failed
    return {"key": one.key.key, "event_id": held.event_id if held else None, "error": held.error if held else None, "waiting": one.waiting}


def _group(name: str) -> Group:
    from infra.groups import GROUPS  # noqa: PLC0415  as above

    if name not in GROUPS:
        raise InvalidInputError(field="GROUP", value=name, rule=f"must be one of {', '.join(GROUPS)}")
    return GROUPS[name]


def _replays(settings: Settings, database: Database, group: Group) -> Replays:
    from infra.postgres.replays import Replays  # noqa: PLC0415  as above

    if group.handler is None:
        raise InvalidInputError(
            field="GROUP", value=group.name, rule="must be a group that can hold events; this one appends whatever comes"
        )
    return Replays(database, group.handler(settings), consumer_group=group.name)


def _offsets(database: Database, group: Group) -> StoredOffsets:
    from infra.postgres.stored_offsets import StoredOffsets  # noqa: PLC0415  as above

    return StoredOffsets(database, schema=group.name, consumer_group=group.name)


def _parse_place(place: str, group: Group) -> dict[Partition, int]:
    from infra.kafka.records import Partition  # noqa: PLC0415  as above

    topic, _, rest = place.partition("/")
    number, _, offset = rest.partition("/")
    if topic not in group.topics or not number.isdecimal() or not offset.isdecimal():
        rule = f"must be TOPIC/PARTITION/OFFSET, with a topic that the group reads: {', '.join(group.topics)}"
        raise InvalidInputError(field="--from-offset", value=place, rule=rule)
    return {Partition(topic, int(number)): int(offset)}


async def _first_event(database: Database, tenant: str, transaction_id: str) -> Any:  # noqa: ANN401  an instant
    from infra.postgres.outbox import first_stored  # noqa: PLC0415  as above

    found = await first_stored(database, tenant, parse_transaction_id(transaction_id, field="--from-transaction"))
    if found is None:
        raise NotFoundError(kind="event of transaction", identifier=transaction_id)
    return found


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table
