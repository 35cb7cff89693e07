"""Payment files beside the same lines as single workflows, on the running stack: ``casaflow bench files [--json]``.

Each round hands in a file of every shape over HTTP and waits until each of its lines has its outcome, then submits lines of the same shape
as transactions, each a workflow of its own. All of the stack takes part: the workers, the relay of the events, the consumer groups. The
accounts are opened before the clock runs. `files_vs_single` is how many times as many lines per second a file makes, of the shape where
that is least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import psutil
from casaflow_client import AsyncClient, Patience

from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.errors import CasaflowError
from starter.posting import Order, Tally, post_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ACCOUNTS: Final = 1_000
OVERDRAFT: Final = "1000000000"
IN_FLIGHT: Final = 64
"""Single transactions at one time."""
_LOOK_EVERY_SECONDS: Final = 0.05
_PART_LINES: Final = 5_000
_MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True)
class Shape:
    """Who pays whom."""

    name: str
    debtors: int
    """How many of the accounts pay, in turn."""

    def pairs(self, prefix: str, lines: int) -> Iterator[tuple[str, str]]:
        """Debtor and creditor of each line."""
        for number in range(lines):
            debtor = number % self.debtors
            creditor = (debtor + 1 + number * 7 % (ACCOUNTS - 1)) % ACCOUNTS
            yield f"{prefix}-{debtor}", f"{prefix}-{creditor}"


SHAPES: Final = (Shape("payroll", 1), Shape("spread", ACCOUNTS))


@dataclass(frozen=True)
class Rates:
    """What one file, and single transactions beside it, came to; lines per second."""

    whole: float
    """From the first byte sent to the last line's outcome, validation included."""
    posting: float
    """From the end of the validation on."""
    single: float
    worker_mib: float
    """The largest worker's memory (RSS) while the file was posted."""


async def measure(client: AsyncClient, shape: Shape, *, lines: int, singles: int, workers: Sequence[int]) -> Rates:
    """Post a file and single transactions of a shape, on new accounts.

    Raises:
        CasaflowError: the API refused something, or did not answer.
    """
    prefix = f"bench-{uuid.uuid4().hex[:10]}"
    await _open_accounts(client, prefix)
    started = time.perf_counter()
    file = (await client.send_file(lambda: _content(shape, prefix, lines), "text/csv")).content
    validated: float | None = None
    largest = 0
    while file["finished_at"] is None:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        file = (await client.file(file["file_id"])).content
        if validated is None and file["status"] != "validating":
            validated = time.perf_counter()
        largest = max([largest, *(psutil.Process(pid).memory_info().rss for pid in workers if psutil.pid_exists(pid))])
    ended = time.perf_counter()
    if file["completed"] != lines:
        message = f"{file['completed']} of {lines} lines were posted: {file['reason']}"
        raise CasaflowError(message)
    tally = Tally()
    await post_all(client, _orders(shape, prefix, singles), in_flight=IN_FLIGHT, tally=tally, on_done=lambda: None)
    return Rates(
        whole=lines / (ended - started),
        posting=lines / (ended - (validated or started)),
        single=tally.per_second,
        worker_mib=largest / _MEBIBYTE,
    )


async def _open_accounts(client: AsyncClient, prefix: str) -> None:
    slots = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with slots:
            await client.open_account(
                {"account_id": f"{prefix}-{number}", "currency": "EUR", "kind": "current", "overdraft_limit": OVERDRAFT}
            )

    await asyncio.gather(*(one(number) for number in range(ACCOUNTS)))


def _content(shape: Shape, prefix: str, lines: int) -> Iterator[bytes]:
    part = ["debtor,creditor,amount,currency,reference"]
    for number, (debtor, creditor) in enumerate(shape.pairs(prefix, lines), start=1):
        part.append(f"{debtor},{creditor},1.00,EUR,{number}")
        if len(part) >= _PART_LINES:
            yield ("\n".join(part) + "\n").encode()
            part = []
    if part:
        yield ("\n".join(part) + "\n").encode()


def _orders(shape: Shape, prefix: str, lines: int) -> Iterable[Order]:
    for number, (debtor, creditor) in enumerate(shape.pairs(prefix, lines), start=1):
        body: dict[str, Any] = {
            "transaction_id": str(uuid.uuid4()), "debtor": debtor, "creditor": creditor, "amount": "1.00", "currency": "EUR",
            "reference": str(number),
        }  # fmt: skip
        # No order of theirs is asked for: nobody waits for an account's last one.
        yield Order(body=body, accounts=(), label=f"line {number}")


def report(measured: dict[str, list[Rates]], *, lines: int) -> dict[str, Any]:
    """Medians over the rounds, by name."""
    found: dict[str, Any] = {"lines": lines}
    ratios = []
    for name, rounds in measured.items():
        found[f"{name}_lines_per_s"] = round(median(each.whole for each in rounds), 1)
        found[f"{name}_posting_per_s"] = round(median(each.posting for each in rounds), 1)
        found[f"{name}_single_per_s"] = round(median(each.single for each in rounds), 1)
        found[f"{name}_worker_mib"] = round(max(each.worker_mib for each in rounds), 1)
        ratios.append(median(each.whole / each.single for each in rounds))
    found["files_vs_single"] = round(min(ratios), 2)
    return found


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    info = read_stack_info(Settings().home)
    if info is None:
        message = f"nothing runs in {Settings().home.absolute()}: start it with `casaflow up --detach`"
        raise CasaflowError(message)
    workers = json.loads((Settings().home / "stack.json").read_text())["pids"]["worker"]
    measured: dict[str, list[Rates]] = {}
    async with AsyncClient(info.api, info.api_key, connections=IN_FLIGHT, patience=Patience(seconds=None, on_wait=_say)) as client:
        for _ in range(options.rounds):
            for shape in SHAPES:
                rates = await measure(client, shape, lines=options.lines, singles=options.singles, workers=workers)
                measured.setdefault(shape.name, []).append(rates)
                print(f"{shape.name}: {rates}", file=sys.stderr)
    return report(measured, lines=options.lines)


def _say(reason: str) -> None:
    print(f"waiting: {reason}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(prog="casaflow bench files", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lines", type=int, default=100_000, help="of each file (default: %(default)s)")
    parser.add_argument("--singles", type=int, default=1_000, help="single transactions beside each file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    options = parser.parse_args(arguments)
    try:
        found = asyncio.run(_run(options))
    except CasaflowError as error:
        parser.exit(1, f"casaflow bench files: {error}\n")
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
