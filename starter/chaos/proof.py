"""What is proven at the end: outcomes, repeats, entries and balances of the load, and the six truths of `casaflow check`."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, computed_field

from ledger.errors import UnavailableError
from starter.chaos.load import FINAL
from starter.check import CheckReport, Statement, run_check

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from infra.settings import Settings
    from starter.chaos.load import Apis, Load, Submitted

_AT_ONCE: Final = 32
_ASK_SECONDS: Final = 900.0
"""How long all answers of the API together may take: thousands of transactions are asked for again."""

Entry = tuple[str, str, int]
"""Transaction id, `credit` or `debit`, minor units."""


class Proof(BaseModel):
    """All of it."""

    model_config = ConfigDict(frozen=True)

    statements: tuple[Statement, ...]
    check: CheckReport | None
    """None: the system could not be asked."""

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def proven(self) -> bool:
        """Every statement and every truth holds."""
        return all(statement.proven for statement in self.statements) and self.check is not None and self.check.proven


async def prove(load: Load, apis: Apis, settings: Settings) -> Proof:
    """Ask the system for everything that was submitted once more, and compare; one that doesn't answer proves nothing."""
    outcomes = outcomes_are_final(load.submitted)
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            compared = await _compare(load, apis)
        return Proof(statements=(outcomes, *compared), check=await run_check(settings))
    except TimeoutError:
        silent = f"the API did not answer everything within {_ASK_SECONDS:.0f} s"
    except UnavailableError as error:
        silent = str(error)
    nothing = Statement(title="The system can be asked what it has", counted="nothing else was looked at", offending=(silent,))
    return Proof(statements=(outcomes, nothing), check=None)


async def _compare(load: Load, apis: Apis) -> tuple[Statement, ...]:
    again = [
        (order.transaction_id, order.answer, answer) for order, answer in await load.submit_again(apis, at_once=_AT_ONCE) if order.answer
    ]
    entries = {account: await entries_of(apis, account) for account in load.accounts}
    balances = {account: await _balance(apis, account) for account in load.accounts}
    return (
        repeats_are_answered_alike(again),
        entries_are_those_of_the_outcomes(load.submitted, entries),
        balances_are_those_of_the_outcomes(load.submitted, balances),
    )


def outcomes_are_final(submitted: Sequence[Submitted]) -> Statement:
    """Each id has an outcome, of which the API has told."""
    statuses = Counter(str(order.answer["status"]) for order in submitted if order.answer is not None)
    return Statement(
        title="Every submitted transaction has its outcome",
        counted=f"{len(submitted)} submitted: {', '.join(f'{statuses[status]} {status}' for status in sorted(FINAL))}",
        offending=(
            *(f"transaction {order.transaction_id} has no outcome" for order in submitted if order.answer is None and not order.refusal),
            *(f"transaction {order.transaction_id} was refused: {order.refusal}" for order in submitted if order.refusal),
        ),
    )


def repeats_are_answered_alike(again: Sequence[tuple[str, dict[str, Any], dict[str, Any] | None]]) -> Statement:
    """The same id with the same content is answered as the first time: one outcome, however often it was asked for.

    Args:
        again: id, first final answer, answer now; None: the id was not known any more.
    """
    return Statement(
        title="The same id again is answered the same",
        counted=f"{len(again)} submitted once more",
        offending=tuple(
            f"transaction {transaction_id} was {first['status']}, and the same again is "
            f"{'not known' if now is None else _difference(first, now)}"
            for transaction_id, first, now in again
            if now != first
        ),
    )


def _difference(first: dict[str, Any], now: dict[str, Any]) -> str:
    names = sorted(name for name in first.keys() | now.keys() if first.get(name) != now.get(name))
    return f"answered with another {', '.join(names)}"


def entries_are_those_of_the_outcomes(submitted: Sequence[Submitted], found: Mapping[str, Iterable[Entry]]) -> Statement:
    """Each account's statement has each leg of each completed transaction once, and nothing else."""
    offending: list[str] = []
    total = 0
    for account, lines in found.items():
        has, should_have = Counter(lines), Counter(_expected(submitted, account))
        total += has.total()
        for (transaction_id, direction, cents), count in (should_have - has).items():
            offending.append(f"transaction {transaction_id} has no {direction} of {cents} minor units on account {account}" + _times(count))
        for (transaction_id, direction, cents), count in (has - should_have).items():
            offending.append(
                f"transaction {transaction_id} has a {direction} of {cents} minor units too many on account {account}" + _times(count)
            )
    return Statement(
        title="Entries are those of the outcomes", counted=f"{total} entries of {len(found)} accounts", offending=tuple(offending)
    )


def _times(count: int) -> str:
    return f", {count} times" if count > 1 else ""


def balances_are_those_of_the_outcomes(submitted: Sequence[Submitted], found: Mapping[str, int]) -> Statement:
    """Each account's balance is the sum of what its completed transactions say, in minor units."""
    offending: list[str] = []
    for account, balance in found.items():
        expected = sum(cents if direction == "credit" else -cents for _, direction, cents in _expected(submitted, account))
        if balance != expected:
            offending.append(f"account {account} has a balance of {balance} minor units, and its transactions say {expected}")
    return Statement(title="Balances are those of the outcomes", counted=f"{len(found)} accounts", offending=tuple(offending))


def _expected(submitted: Sequence[Submitted], account: str) -> list[Entry]:
    return [
        (order.transaction_id, direction, order.cents)
        for order in submitted
        if order.answer is not None and order.answer["status"] == "completed"
        for side, direction in (("debtor", "debit"), ("creditor", "credit"))
        if order.body.get(side) == account
    ]


async def entries_of(apis: Apis, account: str) -> list[Entry]:
    """All lines of an account's statement.

    Raises:
        ApiError: the key may not read it.
    """

    async def read(client: Any) -> list[Entry]:  # noqa: ANN401  the client's class is known where it is made
        return [(str(line.transaction_id), str(line.direction), int(line.amount * 100)) async for line in client.statement_lines(account)]

    return await apis.ask(read)


async def _balance(apis: Apis, account: str) -> int:
    found = await apis.ask(lambda client: client.balance(account))
    return int(found.ledger * 100)
