"""What benchmarks of many cases have in common: figures by round, their medians, and the ratios of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.ledger.measuring import medians as medians_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.ledger.cases import Figures


@dataclass
class Rounds:
    """The figures of each case in each round."""

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    """By case."""

    def add(self, name: str, figures: Figures) -> None:
        """Take what a case measured in a round."""
        self.rounds.setdefault(name, []).append(figures)

    @property
    def medians(self) -> dict[str, Figures]:
        """By case, the median of each figure over the rounds."""
        return {name: medians_of(of_rounds) for name, of_rounds in self.rounds.items()}


def told(ratios: Mapping[str, Callable[[Mapping[str, Figures]], float]], medians: Mapping[str, Figures]) -> Figures:
    """Every ratio whose figures are there; those that a filtered run can't tell are left out.

    Args:
        ratios: by key, from the medians of each case; KeyError where a figure was not measured.
        medians: of the figures of each case, by the case's name.
    """
    found: Figures = {}
    for name, ratio in ratios.items():
        try:
            found[name] = ratio(medians)
        except KeyError:
            continue
    return found
