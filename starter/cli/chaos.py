"""`casaflow chaos`: faults on a test system under load, and the proof of what became of the money."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.settings import Settings
from ledger.errors import InvalidInputError
from starter.cli.access import EXIT_NOT_PROVEN, Json
from starter.cli.failures import fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress

    from starter.chaos.report import ChaosReport
    from starter.chaos.run import ChaosRun
    from starter.chaos.system import System

_EXIT_INTERRUPTED: Final = 130
_LARGEST_SEED: Final = 10**6


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chaos)


def chaos(  # noqa: PLR0913, PLR0917  each is an option
    faults: Annotated[
        str,
        typer.Option(
            help="Comma-separated: api, worker, consumers, postgres, standby, temporal, kafka (killed); each with -freeze; servers with "
            "-restart; random (kills at random moments); or the sets kill, freeze, restart, all."
        ),
    ] = "kill",
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="How often each fault is committed.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, max=3_600, help="Load before the first fault, and after each one at least.")] = 10.0,
    per_second: Annotated[float, typer.Option(min=0.1, max=1_000, help="Transactions submitted a second.")] = 10.0,
    freeze_seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long a part stands frozen.")] = 5.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Chooses moments and victims as in the run that printed it.")] = None,
    system: Annotated[
        Path | None, typer.Option(help="Description of a test system, JSON; unless given, the stack in $CASAFLOW_HOME.")
    ] = None,
    confirmed: Annotated[
        str | None,
        typer.Option(
            "--yes-this-is-a-test-system", metavar="NAME", help="The described system's name; needed where it isn't on this machine."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report into this file, .json or .html; .html needs matplotlib.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the timeline into this file, .svg or .png; needs matplotlib.")] = None,
    as_json: Json = False,
) -> None:
    """Kill, freeze and restart the parts of a test system under load, one at a time, and prove what became of the money.

    It opens accounts of its own, and submits transactions among them. Exit code 0 only if each fault was got over, each transaction has
    exactly one outcome, balances are what the outcomes say, and `casaflow check` is green; 1, with the exact ids, otherwise.
    """
    from starter.chaos.description import read_description  # noqa: PLC0415  loaded only where faults are committed, as all below
    from starter.chaos.faults import faults_of  # noqa: PLC0415
    from starter.chaos.run import ChaosRun, Plan  # noqa: PLC0415
    from starter.chaos.system import embedded_system  # noqa: PLC0415
    from starter.cli.chaos_pictures import check_targets  # noqa: PLC0415

    settings = Settings()
    check_targets(report, plot)
    if system is None and confirmed is not None:
        raise InvalidInputError(field="--yes-this-is-a-test-system", value=confirmed, rule="names a system that --system describes")
    target = read_description(system, confirmed=confirmed).system() if system is not None else embedded_system(settings)
    plan = Plan(
        faults=faults_of(faults, target.parts),
        rounds=rounds,
        seconds=seconds,
        per_second=per_second,
        freeze_seconds=freeze_seconds,
        seed=seed if seed is not None else random.SystemRandom().randrange(_LARGEST_SEED),
    )
    typer.echo(f"casaflow chaos: {target.name}, seed {plan.seed}", err=True)
    with _shown(len(plan.blows(target))) as audience:
        found = _run(ChaosRun(target, settings, plan, audience), target)
    _write(found, report, plot, as_json=as_json)
    if not found.proven:
        raise typer.Exit(EXIT_NOT_PROVEN)


def _run(run: ChaosRun, target: System) -> ChaosReport:
    """The run to its end; a signal ends it early, and leaves the system running."""

    async def whole() -> ChaosReport:
        running = asyncio.ensure_future(run.run())
        # Ctrl-C included: where a shell started this in the background, it is ignored unless somebody asks for it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        return await running

    try:
        return asyncio.run(whole())
    except (asyncio.CancelledError, KeyboardInterrupt):
        fail(f"interrupted; nothing was proven. {target.name} goes on running, and nothing of it stands frozen or ended", _EXIT_INTERRUPTED)


def _write(found: ChaosReport, report: Path | None, plot: Path | None, *, as_json: bool) -> None:
    from starter.cli import chaos_pictures  # noqa: PLC0415  as above
    from starter.cli.chaos_tables import show_report  # noqa: PLC0415

    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        show_report(found)
    for target, write in ((report, chaos_pictures.write_report), (plot, chaos_pictures.draw)):
        if target is not None:
            write(found, target)
            typer.echo(f"written: {target}", err=True)


class _Audience:
    """Tells on standard error how the run goes on: lines, and beneath them a bar where it is a terminal."""

    def __init__(self, bar: Progress | None, total: int) -> None:
        self._bar = bar
        self._finished = 0
        self._task = bar.add_task("faults", total=total, finished=0) if bar is not None else None

    def say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            typer.echo(line, err=True)

    def finished(self) -> None:
        self._finished += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, finished=self._finished)

    def over(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)


@contextmanager
def _shown(total: int) -> Iterator[_Audience]:
    from rich.console import Console  # noqa: PLC0415  as above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    if not sys.stderr.isatty():
        yield _Audience(None, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[finished]} transactions finished"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _Audience(bar, total)
