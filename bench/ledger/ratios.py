"""The ratios that the goals are set in, from the medians of one run. A ratio that a filtered run can't tell is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.ledger.cases import PGBENCH_CLIENTS, Figures, Throughput, after_figure, storm_figure
from bench.ledger.loads import Accounts, Mix
from bench.ledger.sides import SideName
from bench.rounds import told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GOALS: Final = {
    "hot_debit_ratio_64": "at least 8",
    "hot_debit_ratio_256": "at least 12",
    "hot_credit_ratio": "at least 12",
    "hot_vs_spread_credit": "at least 0.95",
    "credit_p99_storm_ratio": "at most 1.3",
    "debit_after_million_ratio": "at most 1.2",
    "balance_after_million_ratio": "at most 1.2",
    "single_debit_vs_naive_latency": "at most 1.5",
}
"""By key, the goals of the design on two cores."""


def locked_row_best(medians: Mapping[str, Figures]) -> float:
    """The best rate that the locked row of one account reaches, at 1, 16 or 64 clients.

    Raises:
        KeyError: one of them was not measured.
    """
    return max(_rate(medians, SideName.LOCKED_ROW, Mix.DEBITS, clients) for clients in PGBENCH_CLIENTS)


def ratios(medians: Mapping[str, Figures]) -> Figures:
    """Every ratio whose figures are there, those of the goals first.

    Args:
        medians: of the figures of each case, by the case's name.
    """
    return told(_RATIOS, medians)


def _rate(medians: Mapping[str, Figures], side: SideName, mix: Mix, in_flight: int, accounts: Accounts = Accounts.ONE) -> float:
    return medians[Throughput(side, mix, accounts, in_flight).name]["legs_per_second"]


def _latency(medians: Mapping[str, Figures], side: SideName) -> float:
    return medians[Throughput(side, Mix.DEBITS, Accounts.ONE, 1).name]["p50_ms"]


def _casaflow(medians: Mapping[str, Figures], mix: Mix, in_flight: int, accounts: Accounts = Accounts.ONE) -> float:
    return _rate(medians, SideName.CASAFLOW, mix, in_flight, accounts)


def _against_batched_row(medians: Mapping[str, Figures], mix: Mix) -> float:
    return _casaflow(medians, mix, 256) / _rate(medians, SideName.BATCHED_ROW, mix, 256)


def _storm(medians: Mapping[str, Figures], side: SideName, place: str) -> float:
    return medians[storm_figure(side, "own account")]["p99_ms"] / medians[storm_figure(side, place)]["p99_ms"]


def _after_million(medians: Mapping[str, Figures], figure: str) -> float:
    return medians[after_figure(1_000_000)][figure] / medians[after_figure(1_000)][figure]


_RATIOS: Final[dict[str, Callable[[Mapping[str, Figures]], float]]] = {
    "hot_debit_ratio_64": lambda of: _casaflow(of, Mix.DEBITS, 64) / locked_row_best(of),
    "hot_debit_ratio_256": lambda of: _casaflow(of, Mix.DEBITS, 256) / locked_row_best(of),
    "hot_credit_ratio": lambda of: _casaflow(of, Mix.CREDITS, 256) / locked_row_best(of),
    # Against the better of the two ways to spread the same load over 1,000 accounts.
    "hot_vs_spread_credit": lambda of: (
        _casaflow(of, Mix.CREDITS, 256) / max(_casaflow(of, Mix.CREDITS, 256, accounts) for accounts in (Accounts.ZIPF, Accounts.EVEN))
    ),
    "credit_p99_storm_ratio": lambda of: _storm(of, SideName.CASAFLOW, "other account"),
    "debit_after_million_ratio": lambda of: _after_million(of, "debit_ms"),
    "balance_after_million_ratio": lambda of: _after_million(of, "balance_ms"),
    "single_debit_vs_naive_latency": lambda of: _latency(of, SideName.CASAFLOW) / _latency(of, SideName.ONE_BY_ONE),
    "first_debit_after_million_ratio": lambda of: _after_million(of, "first_debit_ms"),
    "mean_debit_with_first_after_million_ratio": lambda of: _after_million(of, "mean_debit_with_first_ms"),
    "balance_before_any_debit_after_million_ratio": lambda of: _after_million(of, "balance_before_any_debit_ms"),
    "batching_debit_ratio": lambda of: (
        _rate(of, SideName.BATCHED_ROW, Mix.DEBITS, 256)
        / max(_rate(of, SideName.ONE_BY_ONE, Mix.DEBITS, in_flight) for in_flight in (1, 16, 64))
    ),
    "split_debit_ratio": lambda of: _against_batched_row(of, Mix.DEBITS),
    "split_credit_ratio": lambda of: _against_batched_row(of, Mix.CREDITS),
    "split_half_ratio": lambda of: _against_batched_row(of, Mix.HALF),
    "batched_row_credit_p99_storm_ratio": lambda of: _storm(of, SideName.BATCHED_ROW, "other account"),
    "tpcb_ratio_64": lambda of: (
        of["casaflow: TPC-B, 64 in flight"]["transactions_per_second"]
        / max(of[f"pgbench: TPC-B, {clients} in flight"]["transactions_per_second"] for clients in PGBENCH_CLIENTS)
    ),
}
