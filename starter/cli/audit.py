"""`casaflow audit`: prove the audit group's hash chains, keep their heads elsewhere, give records out."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from ledger.errors import InvalidInputError
from ledger.statements import parse_instant
from starter.cli.access import EXIT_NOT_PROVEN, Json
from starter.group_stores import on_stores

if TYPE_CHECKING:
    from infra.postgres.audit_trail import AuditVerification, ChainHead
    from infra.postgres.database import Database
    from infra.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    audit = typer.Typer(help="The audit group's hash chains of all events.", no_args_is_help=True)
    app.add_typer(audit, name="audit")
    audit.command("verify")(verify)
    audit.command("heads")(heads)
    audit.command("export")(export)


def verify(
    against: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Heads of earlier, as `casaflow audit heads` has printed them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute all hashes again. Exit code 1, and the records by name, if one was changed, is missing or was inserted.

    Who can write the database can also rewrite a chain as a whole; that is seen by heads that were kept elsewhere (--against).
    """

    async def work(_: Settings, database: Database) -> AuditVerification:
        from infra.postgres.audit_trail import AuditTrail  # noqa: PLC0415  drivers are loaded only where they are used

        return await AuditTrail(database).verify(_read_heads(against) if against is not None else ())

    found = on_stores(work)
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        for sentence in found.offending:
            typer.echo(sentence, err=True)
        if found.total > len(found.offending):
            typer.echo(f"and {found.total - len(found.offending)} more", err=True)
        verdict = f"{found.total} are not as they were" if found.total else "none was changed, is missing or was inserted"
        typer.echo(f"{found.records} records in {found.chains} chains: {verdict}")
    if found.total:
        raise typer.Exit(EXIT_NOT_PROVEN)


def heads() -> None:
    """Print the last record of each chain, as JSON, to be kept where the database's superuser can't write."""

    async def work(_: Settings, database: Database) -> list[ChainHead]:
        from infra.postgres.audit_trail import AuditTrail  # noqa: PLC0415  as above

        return await AuditTrail(database).heads()

    typer.echo(json.dumps([head.model_dump() for head in on_stores(work)], indent=1))


def export(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's events.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Recorded at this instant (RFC 3339) or later.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Recorded before this instant (RFC 3339).")] = None,
) -> None:
    """Print the records as JSON lines, chain by chain, with all that their hashes are taken over."""
    first = parse_instant(since, field="--from") if since is not None else None
    last = parse_instant(until, field="--to") if until is not None else None

    async def work(_: Settings, database: Database) -> None:
        from infra.postgres.audit_trail import AuditTrail  # noqa: PLC0415  as above

        async for page in AuditTrail(database).records(tenant=tenant, since=first, until=last):
            lines = "".join(f"{record.model_dump_json()}\n" for record in page)
            await asyncio.to_thread(sys.stdout.write, lines)

    on_stores(work)


def _read_heads(path: Path) -> list[ChainHead]:
    from infra.postgres.audit_trail import ChainHead  # noqa: PLC0415  as above

    try:
        return TypeAdapter(list[ChainHead]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInputError(
            field="--against", value=str(path), rule="must be a file that `casaflow audit heads` has printed"
        ) from error
