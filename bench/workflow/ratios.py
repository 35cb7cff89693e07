"""The ratios that the goals are set in, from the medians of one run. A ratio that a filtered run can't tell is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.rounds import told
from bench.workflow.cases import Case, Figures, Side
from bench.workflow.loads import Accounts, What

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GOALS: Final = {
    "deposit_vs_empty": "at least 0.7",
    "transfer_vs_empty": "at least 0.65",
    "deposit_vs_plain": "at least 2.5",
    "hot_vs_spread": "at least 0.95",
    "latency_vs_empty_p50": "at most 1.8",
    "vs_dbos_hot": "at least 1",
}
"""By key, the goals of the design on two cores."""


def ratios(medians: Mapping[str, Figures]) -> Figures:
    """Every ratio whose figures are there, those of the goals first.

    Args:
        medians: of the figures of each case, by the case's name.
    """
    return told(_RATIOS, medians)


def _of(medians: Mapping[str, Figures], case: Case, figure: str = "transactions_per_second") -> float:
    return medians[case.name][figure]


_EMPTY: Final = Case(Side.EMPTY, 50)
_DEPOSIT: Final = Case(Side.CASAFLOW, 50)
_TRANSFER: Final = Case(Side.CASAFLOW, 50, What.TRANSFER)
_PLAIN: Final = Case(Side.PLAIN, 50)

_RATIOS: Final[dict[str, Callable[[Mapping[str, Figures]], float]]] = {
    "deposit_vs_empty": lambda of: _of(of, _DEPOSIT) / _of(of, _EMPTY),
    "transfer_vs_empty": lambda of: _of(of, _TRANSFER) / _of(of, _EMPTY),
    "deposit_vs_plain": lambda of: _of(of, _DEPOSIT) / _of(of, _PLAIN),
    # The slower of both kinds: a busy creditor, a busy debtor.
    "hot_vs_spread": lambda of: min(
        _of(of, Case(Side.CASAFLOW, 50, what, Accounts.ONE)) / _of(of, Case(Side.CASAFLOW, 50, what))
        for what in (What.DEPOSIT, What.WITHDRAWAL)
    ),
    "latency_vs_empty_p50": lambda of: _of(of, Case(Side.CASAFLOW, 1), "p50_ms") / _of(of, Case(Side.EMPTY, 1), "p50_ms"),
    "vs_dbos_hot": lambda of: (
        _of(of, Case(Side.CASAFLOW, 50, What.WITHDRAWAL, Accounts.ONE)) / _of(of, Case(Side.DBOS, 50, What.WITHDRAWAL, Accounts.ONE))
    ),
    # The same in CPU time, which other work on the machine disturbs less than rates; more is better, as above.
    "deposit_vs_empty_cpu": lambda of: _of(of, _EMPTY, "cpu_ms") / _of(of, _DEPOSIT, "cpu_ms"),
    "transfer_vs_empty_cpu": lambda of: _of(of, _EMPTY, "cpu_ms") / _of(of, _TRANSFER, "cpu_ms"),
    "deposit_vs_plain_cpu": lambda of: _of(of, _PLAIN, "cpu_ms") / _of(of, _DEPOSIT, "cpu_ms"),
}
