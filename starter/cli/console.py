"""`casaflow console`: the link to the console of the running stack."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from infra.stack.model import StackInfo


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(console)


def console(
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser, instead of only printing it.")] = False,
) -> None:
    """Print the link to the console of the stack in $CASAFLOW_HOME. It brings the key along: give it to nobody."""
    home = Settings().home
    info = read_stack_info(home)
    if info is None:
        raise UnavailableError(part="stack", detail=f"nothing runs in {home.absolute()}; start it with: casaflow up")
    link = console_link(info)
    typer.echo(link)
    if open_browser and not webbrowser.open(link):
        typer.echo("casaflow console: there is no browser here that could be opened", err=True)
        raise typer.Exit(1)


def console_link(info: StackInfo) -> str:
    """Where the console is, with the key in the fragment, which no browser sends to a server, and the page takes out of the address."""
    return f"{info.api}/console#key={quote(info.api_key, safe='')}"
