"""The ratios of the ledger's benchmark: each side is where it belongs."""

from __future__ import annotations

import pytest

from bench.ledger.cases import CASES, PGBENCH_CLIENTS, Figures, Throughput, Tpcb, after_figure, storm_figure
from bench.ledger.loads import Accounts, Mix
from bench.ledger.ratios import GOALS, ratios
from bench.ledger.sides import SideName

PLACES = ("alone", "other account", "own account")
AFTER = ("first_debit_ms", "debit_ms", "mean_debit_with_first_ms", "balance_before_any_debit_ms", "balance_ms")


def everything_is_one() -> dict[str, Figures]:
    rates = ("legs_per_second", "transactions_per_second", "p50_ms")
    found = {case.name: dict.fromkeys(rates, 1.0) for case in CASES if isinstance(case, Throughput | Tpcb)}
    found |= {storm_figure(side, place): {"p99_ms": 1.0} for side in (SideName.CASAFLOW, SideName.BATCHED_ROW) for place in PLACES}
    return found | {after_figure(count): dict.fromkeys(AFTER, 1.0) for count in (1_000, 100_000, 1_000_000)}


def name_of(side: SideName, mix: Mix, in_flight: int, accounts: Accounts = Accounts.ONE) -> str:
    return Throughput(side, mix, accounts, in_flight).name


def test_a_complete_run_tells_every_ratio_that_has_a_goal_first() -> None:
    found = ratios(everything_is_one())
    assert list(found)[: len(GOALS)] == list(GOALS)
    assert set(found.values()) == {1.0}


@pytest.mark.parametrize("clients", PGBENCH_CLIENTS)
def test_casaflow_is_compared_with_the_best_rate_that_the_locked_row_reaches(clients: int) -> None:
    figures = everything_is_one()
    figures[name_of(SideName.LOCKED_ROW, Mix.DEBITS, clients)]["legs_per_second"] = 100.0
    figures[name_of(SideName.CASAFLOW, Mix.DEBITS, 64)]["legs_per_second"] = 800.0
    figures[name_of(SideName.CASAFLOW, Mix.DEBITS, 256)]["legs_per_second"] = 1_200.0
    figures[name_of(SideName.CASAFLOW, Mix.CREDITS, 256)]["legs_per_second"] = 1_500.0
    found = ratios(figures)
    assert (found["hot_debit_ratio_64"], found["hot_debit_ratio_256"], found["hot_credit_ratio"]) == (8.0, 12.0, 15.0)


@pytest.mark.parametrize("better", [Accounts.ZIPF, Accounts.EVEN])
def test_one_account_is_compared_with_the_better_way_to_spread_over_a_thousand(better: Accounts) -> None:
    figures = everything_is_one()
    figures[name_of(SideName.CASAFLOW, Mix.CREDITS, 256)]["legs_per_second"] = 3.0
    figures[name_of(SideName.CASAFLOW, Mix.CREDITS, 256, better)]["legs_per_second"] = 2.0
    assert ratios(figures)["hot_vs_spread_credit"] == 1.5


def test_a_lone_debit_is_compared_by_latency_so_that_less_is_better() -> None:
    figures = everything_is_one()
    figures[name_of(SideName.CASAFLOW, Mix.DEBITS, 1)]["p50_ms"] = 3.0
    figures[name_of(SideName.ONE_BY_ONE, Mix.DEBITS, 1)]["p50_ms"] = 2.0
    assert ratios(figures)["single_debit_vs_naive_latency"] == 1.5


def test_a_storm_on_the_credits_own_account_is_compared_with_one_on_another() -> None:
    figures = everything_is_one()
    figures[storm_figure(SideName.CASAFLOW, "own account")]["p99_ms"] = 13.0
    figures[storm_figure(SideName.CASAFLOW, "other account")]["p99_ms"] = 10.0
    assert ratios(figures)["credit_p99_storm_ratio"] == 1.3


def test_a_million_credits_are_compared_with_a_thousand() -> None:
    figures = everything_is_one()
    figures[after_figure(1_000_000)] |= {"debit_ms": 6.0, "balance_ms": 8.0, "first_debit_ms": 90.0}
    figures[after_figure(1_000)] |= {"debit_ms": 5.0, "balance_ms": 4.0, "first_debit_ms": 9.0}
    found = ratios(figures)
    assert (found["debit_after_million_ratio"], found["balance_after_million_ratio"]) == (1.2, 2.0)
    assert found["first_debit_after_million_ratio"] == 10.0


def test_a_filtered_run_leaves_out_what_it_can_not_tell() -> None:
    figures = {name: of_case for name, of_case in everything_is_one().items() if "TPC-B" not in name and "locked row" not in name}
    found = ratios(figures)
    assert found.keys().isdisjoint({"tpcb_ratio_64", "hot_debit_ratio_64", "hot_debit_ratio_256", "hot_credit_ratio"})
    assert found["hot_vs_spread_credit"] == 1.0


def test_a_quick_run_has_what_the_goals_need() -> None:
    # The storm and the accounts with many credits each give several figures.
    names = {case.name for case in CASES if case.quick}
    several = {name: figures for name, figures in everything_is_one().items() if name.startswith(("casaflow: a credit", "casaflow: after"))}
    assert {"casaflow: credit latency in a storm", "casaflow: after many credits"} <= names
    assert set(GOALS) <= set(ratios({name: figures for name, figures in everything_is_one().items() if name in names} | several))


def test_no_two_cases_share_a_name() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
