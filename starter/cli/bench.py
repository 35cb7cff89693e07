"""`casaflow bench`: the benchmarks, which come with the source checkout and not with the wheel."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import typer

from starter.cli.access import EXIT_BAD_INPUT

# What follows the command goes to the benchmark as it is, so that its options stand in one place, beside what they do.
_HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

bench_app = typer.Typer(help="Measure, side by side with other ways to do it. Needs a source checkout.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(bench_app, name="bench")


@bench_app.callback()
def bench() -> None:
    """Measure, side by side with other ways to do it. Needs a source checkout."""


@bench_app.command(context_settings=_HANDED_ON, add_help_option=False)
def ledger(context: typer.Context) -> None:
    """The ledger alone, beside balance rows that are locked, on the PostgreSQL of the stack. Its options: --help."""
    _run("bench.ledger", context.args)


@bench_app.command(context_settings=_HANDED_ON, add_help_option=False)
def statements(context: typer.Context) -> None:
    """Statements and balances in time on an account with a million entries. Its options: --help."""
    _run("bench.statements", context.args)


@bench_app.command(context_settings=_HANDED_ON, add_help_option=False)
def workflow(context: typer.Context) -> None:
    """Whole transactions beside an empty workflow, the plain design and DBOS, on a stack of its own. Its options: --help."""
    _run("bench.workflow", context.args)


@bench_app.command(context_settings=_HANDED_ON, add_help_option=False)
def events(context: typer.Context) -> None:
    """Events published and applied by each group beside a plain aiokafka loop, and the lag at a constant load. Its options: --help."""
    _run("bench.events", context.args)


@bench_app.command(context_settings=_HANDED_ON, add_help_option=False)
def rules(context: typer.Context) -> None:
    """What the shared rules lock, and the lock of a maximum balance, cost a credit. Its options: --help."""
    _run("bench.rules", context.args)


@bench_app.command(context_settings=_HANDED_ON, add_help_option=False)
def upkeep(context: typer.Context) -> None:
    """What folding, maintenance and a long transaction elsewhere cost a debit and a balance. Its options: --help."""
    _run("bench.upkeep", context.args)


@bench_app.command("bank-file", context_settings=_HANDED_ON, add_help_option=False)
def bank_file(context: typer.Context) -> None:
    """A bank's file posted through the ledger alone, each balance compared with the bank's. Its options: --help."""
    _run("bench.bank_file", context.args)


@bench_app.command(context_settings=_HANDED_ON, add_help_option=False)
def files(context: typer.Context) -> None:
    """Payment files beside the same lines as single workflows, on the running stack. Its options: --help."""
    _run("bench.files", context.args)


def _run(module: str, arguments: list[str]) -> None:
    if find_spec("bench") is None:
        typer.echo("casaflow bench: the benchmarks come with the source checkout; run `./run bench` there", err=True)
        raise typer.Exit(EXIT_BAD_INPUT)
    # -P: a folder `bench` where the command happens to be run isn't meant.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606  this interpreter
