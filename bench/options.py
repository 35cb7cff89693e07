"""The command line that benchmarks of many cases share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from bench.ledger.server import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class AnyCase(Protocol):
    """What a case has in every benchmark."""

    @property
    def name(self) -> str:
        """What it is called in tables, and on the command line."""
        ...

    @property
    def quick(self) -> bool:
        """Whether a quick run has it."""
        ...


_Case = TypeVar("_Case", bound=AnyCase)


def read_options(
    prog: str,
    description: str | None,
    cases: Sequence[AnyCase],
    *,
    rounds: int,
    seconds: float,
    quick_seconds: float,
    about_seconds: str = "",
    further: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """The options that were given; ends the process where they are wrong, or only ask for help or the list.

    Args:
        prog: the command's name.
        description: what it does, for ``--help``.
        cases: all there are.
        rounds: unless given.
        seconds: unless given, of each measurement in each round.
        quick_seconds: the same of a quick run.
        about_seconds: what else is to be said of them.
        further: adds options that only this benchmark has.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds; the medians are printed ({rounds})")
    parser.add_argument("--seconds", type=float, help=f"of each measurement in each round ({seconds}{about_seconds})")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only cases with this text in their name; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="one short round of the cases that the ratios need: to see that it runs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw a picture (PNG, or SVG by its ending)")
    if further is not None:
        further(parser)
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 1 if options.quick else rounds
    if options.seconds is None:
        options.seconds = quick_seconds if options.quick else seconds
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be greater than zero")
    if options.list:
        print("\n".join(case.name for case in cases))
        parser.exit()
    return options


def chosen(options: argparse.Namespace, cases: Sequence[_Case]) -> tuple[_Case, ...]:
    """The cases that the options name.

    Raises:
        BenchError: there is none.
    """
    found = tuple(
        case
        for case in cases
        if (case.quick or not options.quick) and (not options.only or any(text in case.name for text in options.only))
    )
    if not found:
        message = "no case has such a name; --list shows them"
        raise BenchError(message)
    return found
