"""What a run comes to: each fault with the pause after it, what was proven, and the timeline of finished transactions."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, computed_field

from starter.chaos.faults import Action
from starter.chaos.proof import Proof

if TYPE_CHECKING:
    from starter.check import Finding


class Struck(BaseModel):
    """A process that a fault befell."""

    model_config = ConfigDict(frozen=True)

    part: str
    pid: int
    at_seconds: float
    """Since the load began, as all times here."""


class FaultReport(BaseModel):
    """One fault, and what the clients noticed of it."""

    model_config = ConfigDict(frozen=True)

    round: int
    fault: str
    action: Action
    struck: tuple[Struck, ...]
    begin_seconds: float
    end_seconds: float
    """Until then what happened is counted to this fault."""
    back_after_seconds: float | None
    """From the (last) blow until all parts that it befell answered again; None: they didn't. A freeze is part of it."""
    longest_gap_seconds: float
    """In which no transaction was finished."""
    first_finish_seconds: float | None
    """From the (first) blow until a transaction was finished that was submitted after it; None: none was."""
    slowest_seconds: float | None
    """How long the slowest transaction took of those that were under way."""
    finished: int
    """Transactions that were finished in that time."""
    errors: dict[str, int]
    """Attempts of clients that failed, by the reason; each was repeated with the same id."""
    problem: str | None
    """Why the fault could not be committed, or its part was not back."""

    @property
    def recovered(self) -> bool:
        """Whether it was committed, the part came back, and work went on."""
        return self.problem is None and self.first_finish_seconds is not None


class Calm(BaseModel):
    """The load before the first fault, to compare with."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    finished: int
    longest_gap_seconds: float
    p50_seconds: float | None
    p99_seconds: float | None


class ChaosReport(BaseModel):
    """The whole run."""

    model_config = ConfigDict(frozen=True)

    system: str
    started_at: dt.datetime
    seconds: float
    seed: int
    """The same seed chooses the same amounts, moments and victims; what the system makes of them is its own."""
    per_second: float
    """Transactions that were submitted in a second, as long as there was room."""
    accounts: tuple[str, ...]
    calm: Calm
    faults: tuple[FaultReport, ...]
    bin_seconds: float
    timeline: tuple[int, ...]
    """Transactions finished in each `bin_seconds` since the load began."""
    proof: Proof

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way, which mypy doesn't know
    @property
    def proven(self) -> bool:
        """Each fault was committed and got over, and nothing is lost, doubled or wrong."""
        return self.proof.proven and all(fault.recovered for fault in self.faults)

    @property
    def truths(self) -> tuple[Finding, ...]:
        """What `check` found of each truth; empty where the system could not be asked."""
        return self.proof.check.findings if self.proof.check is not None else ()

    @property
    def offending(self) -> list[str]:
        """Everything that is not as it has to be, with the exact ids."""
        return [
            *(
                f"fault {fault.fault}: {fault.problem or 'no transaction was finished after it'}"
                for fault in self.faults
                if not fault.recovered
            ),
            *(offender for statement in self.proof.statements for offender in statement.offending),
            *(f"truth {finding.number}: {offender}" for finding in self.truths for offender in finding.offending),
        ]
