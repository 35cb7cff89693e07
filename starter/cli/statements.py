"""`casaflow balance`, `statement` and `statements`."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.errors import InvalidInputError
from ledger.statements import DEFAULT_PAGE_LINES, MAX_PAGE_LINES, StatementOrder
from starter.cli.access import ApiKey, ApiUrl, Json, api_client, ask, show
from starter.cli.documents import Form, Output, is_document, write_closed, write_period


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (balance, statement, statements):
        app.command()(command)


def balance(
    account_id: str,
    at: Annotated[str | None, typer.Option(help="As of this instant, such as 2026-01-31T12:00:00Z.")] = None,
    value_date: Annotated[str | None, typer.Option(help="As of this value date, such as 2026-01-31.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show an account's balance at this instant, as of another instant, or as of a value date."""
    show(ask(api_url, api_key, lambda client: client.balance(account_id, at=at, value_date=value_date)), as_json=as_json)


def statement(  # noqa: PLR0913, PLR0917  each is an option
    account_id: str,
    since: Annotated[str | None, typer.Option("--from", help="Lines booked at this instant or later.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Lines booked before this instant.")] = None,
    order: Annotated[StatementOrder | None, typer.Option(help="Which line comes first; the oldest unless given.")] = None,
    limit: Annotated[int, typer.Option(help=f"Lines at most, up to {MAX_PAGE_LINES}.")] = DEFAULT_PAGE_LINES,
    cursor: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    form: Form = None,
    output: Output = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show a page of an account's lines with the running balance. Provisional lines may still move; settled ones never change.

    With --format the whole period is written as a document, of settled lines only.
    """
    if is_document(form, output, limit=limit != DEFAULT_PAGE_LINES, cursor=cursor, order=order, json=as_json):
        write_period(api_client(api_url, api_key), account_id, form, output, since=since, until=until)
        return
    page = ask(
        api_url,
        api_key,
        lambda client: client.statement(account_id, since=since, until=until, order=order, limit=limit, cursor=cursor),
    )
    if as_json:
        show(page, as_json=True)
        return
    from starter.cli.statement_tables import show_statement  # noqa: PLC0415  tables are loaded only where they are shown

    show_statement(page)


def statements(  # noqa: PLR0913, PLR0917  each is an option
    account_id: str,
    number: Annotated[int | None, typer.Argument(min=1, help="The closed statement whose lines are to be shown.")] = None,
    limit: Annotated[int | None, typer.Option(help="Statements, or lines of one, at most.")] = None,
    cursor: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    form: Form = None,
    output: Output = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List an account's closed, numbered statements with their closing balances; or show the lines of one of them, or write it."""
    if is_document(form, output, limit=limit, cursor=cursor, json=as_json):
        if number is None:
            raise InvalidInputError(field="--format", value=form, rule="needs the number of a closed statement")
        write_closed(api_client(api_url, api_key), account_id, number, form, output)
        return
    from starter.cli.statement_tables import show_closed_statement, show_statements  # noqa: PLC0415  as above

    if number is None:
        answer = ask(api_url, api_key, lambda client: client.statements(account_id, before=cursor, limit=limit))
    else:
        answer = ask(api_url, api_key, lambda client: client.closed_statement(account_id, number, limit=limit, cursor=cursor))
    if as_json:
        show(answer, as_json=True)
    elif number is None:
        show_statements(answer)
    else:
        show_closed_statement(answer)
