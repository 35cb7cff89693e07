"""One run: load, faults one at a time, and the proof at the end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from ledger.errors import UnavailableError
from starter.chaos.answers import Answers
from starter.chaos.faults import Action, Fault, blows_of, moments_of_a_storm
from starter.chaos.load import Load
from starter.chaos.measuring import BIN_SECONDS, between, first_finish, longest_gap, slowest, timeline
from starter.chaos.proof import entries_of, prove
from starter.chaos.report import Calm, ChaosReport, FaultReport, Struck
from starter.chaos.striking import Striker
from starter.chaos.system import Kind, run_command
from starter.posting import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.settings import Settings
    from starter.chaos.faults import Blow
    from starter.chaos.system import Part, Process, System

_FIRST_LOOK_SECONDS: Final = 60.0
"""How long a part may take to answer before anything is done to it."""
_BACK_SECONDS: Final = 300.0
"""How long a part may take to come back."""
_FIRST_FINISH_SECONDS: Final = 120.0
"""How long it may take until something that was submitted after a fault is finished."""
OUTSTANDING_SECONDS: Final = 300.0
"""How long what is under way at the end may take. A workflow task whose worker is gone is missed after ten seconds, or twenty."""
_LOOK_SECONDS: Final = 0.1
_LONGEST_HESITATION_SECONDS: Final = 1.0
"""Each blow comes at a random moment within this time, so that it meets the load anywhere."""
_STORM_EVERY_SECONDS: Final = 2.0
"""Between the kills of a storm, on the average."""


class Audience(Protocol):
    """Who is told how a run goes on."""

    def say(self, line: str) -> None:
        """Something happened."""

    def finished(self) -> None:
        """A transaction was finished."""

    def over(self) -> None:
        """A fault is over."""


@dataclass(frozen=True)
class Plan:
    """What is done."""

    faults: Sequence[Fault]
    rounds: int
    seconds: float
    """Load before the first fault, and after each, at least."""
    per_second: float
    freeze_seconds: float
    seed: int

    def blows(self, system: System) -> list[Blow]:
        """The faults in turn."""
        return blows_of(self.faults, system.parts, rounds=self.rounds)


@dataclass
class _Happened:
    """One fault, as far as it has come."""

    blow: Blow
    begin: float
    struck: list[Struck] = field(default_factory=list)
    back_after: float | None = None
    problem: str | None = None
    end: float = 0.0


class ChaosRun:
    """A run on one system."""

    def __init__(self, system: System, settings: Settings, plan: Plan, audience: Audience) -> None:
        self._system = system
        self._settings = system.settings(settings)
        self._plan = plan
        self._audience = audience
        self._chance = random.Random(plan.seed)  # noqa: S311  not for secrets
        self._answers = Answers(system, self._settings)
        self._striker = Striker(self._answers, audience.say, plan.freeze_seconds)
        self._parts = {part.name: part for part in system.parts}
        """By name, as they are now: a standby that was promoted is the primary."""
        # An own source of chance: how many transactions there are depends on the system, and must not choose the victims.
        amounts = random.Random(plan.seed)  # noqa: S311  as above
        self._load = Load(system, amounts, plan.per_second, audience.finished)

    async def run(self) -> ChaosReport:
        """Do it, and report; whatever happens, nothing that this run has frozen or ended is left so.

        Raises:
            ApiError: the key may not do what is needed.
            UnavailableError: the system is not well to begin with.
        """
        started_at = dt.datetime.now(dt.UTC)
        await self._all_well(_FIRST_LOOK_SECONDS)
        await self._answers.count()
        async with self._load.apis() as apis:
            await self._load.open_accounts(apis)
            # A key that may not read would be found out only at the end.
            await entries_of(apis, self._load.accounts[0])
            calm_from = self._load.now
            loading = asyncio.create_task(self._load.run(apis))
            try:
                await asyncio.sleep(self._plan.seconds)
                calm_until = self._load.now
                happened = [await self._one(blow) for blow in self._plan.blows(self._system)]
                await self._end_of_load(loading)
            finally:
                loading.cancel()
                for line in self._striker.release():
                    self._audience.say(line)
                with contextlib.suppress(asyncio.CancelledError):
                    await loading
            self._audience.say("all faults are over; proving what became of everything")
            proof = await prove(self._load, apis, self._settings)
        return ChaosReport(
            system=self._system.name,
            started_at=started_at,
            seconds=round(self._load.now, 3),
            seed=self._plan.seed,
            per_second=self._plan.per_second,
            accounts=tuple(self._load.accounts),
            calm=self._calm(calm_from, calm_until),
            faults=tuple(self._measured(each) for each in happened),
            bin_seconds=BIN_SECONDS,
            timeline=tuple(timeline(self._load.finishes)),
            proof=proof,
        )

    async def _all_well(self, seconds: float) -> None:
        for part in self._parts.values():
            await self._striker.back(part, instead_of=None, seconds=seconds)

    async def _end_of_load(self, loading: asyncio.Task[None]) -> None:
        """Wait for the outcomes of what is under way, and then no longer: what has none by then is named by the proof."""
        self._load.stop()
        self._audience.say(f"no more load; {self._load.under_way} transactions are under way")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTSTANDING_SECONDS):
                await asyncio.shield(loading)

    async def _one(self, blow: Blow) -> _Happened:
        await asyncio.sleep(self._chance.uniform(0.0, _LONGEST_HESITATION_SECONDS))
        happened = _Happened(blow, begin=self._load.now)
        try:
            if blow.fault.action is Action.STORM:
                await self._storm(happened)
            else:
                await self._blow(happened)
        except UnavailableError as error:
            happened.problem = str(error)
            self._audience.say(f"{blow.fault.name}: {error}")
        await self._until_work_goes_on(happened)
        happened.end = self._load.now
        self._audience.over()
        return happened

    async def _until_work_goes_on(self, happened: _Happened) -> None:
        """Keep the load up for its time, and until something that was submitted after the fault is finished."""
        until, at_most = happened.begin + self._plan.seconds, self._load.now + _FIRST_FINISH_SECONDS
        while self._load.now < at_most:
            if self._load.now >= until and self._first_finish(happened) is not None:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _blow(self, happened: _Happened) -> None:
        part = self._now(happened.blow)
        action = happened.blow.fault.action
        heir = next((each for each in self._parts.values() if each.promote), None) if part.kind is Kind.POSTGRES else None
        process = await self._strike(happened, part, action)
        at = happened.struck[-1].at_seconds
        if heir is not None and action is Action.KILL:
            await self._promote(part, heir)
            part = self._parts[heir.name]
            await self._striker.back(part, instead_of=None, seconds=_BACK_SECONDS)
        else:
            if action is not Action.FREEZE:
                await self._striker.start(part)
            instead_of = None if action is Action.FREEZE else process
            await self._striker.back(part, instead_of=instead_of, seconds=_BACK_SECONDS)
        happened.back_after = self._load.now - at
        self._audience.say(f"{part.name}: does its work again after {happened.back_after:.1f} s")
        if heir is not None and action is Action.KILL:
            await self._rejoin(happened.struck[-1].part, process)

    async def _strike(self, happened: _Happened, part: Part, action: Action) -> Process:
        at = self._load.now
        if not happened.struck:
            happened.begin = at
        process = await self._striker.strike(part, action)
        happened.struck.append(Struck(part=part.name, pid=process.pid, at_seconds=round(at, 3)))
        return process

    async def _promote(self, primary: Part, heir: Part) -> None:
        await run_command(heir.promote or (), what=heir.name)
        self._parts[heir.name] = replace(heir, kind=Kind.POSTGRES, promote=None)
        self._parts[primary.name] = replace(primary, kind=Kind.STANDBY)

    async def _rejoin(self, name: str, was: Process) -> None:
        """Have the former primary copy the new one, where there is a command for that; otherwise it is gone from here on."""
        part = self._parts[name]
        if part.start is None:
            del self._parts[name]
            self._answers.standbys -= 1
            return
        await self._striker.start(part)
        await self._striker.back(part, instead_of=was, seconds=_BACK_SECONDS)

    def _now(self, blow: Blow) -> Part:
        """The part that a fault befalls: of PostgreSQL's, whichever is the primary, or a standby, by now."""
        meant = self._parts.get(blow.part.name) if blow.part is not None else None
        if meant is not None and meant.kind is blow.fault.kind:
            return meant
        for part in self._parts.values():
            if part.kind is blow.fault.kind:
                return part
        raise UnavailableError(part=blow.fault.name, detail="there is no such part any more")

    async def _storm(self, happened: _Happened) -> None:
        """Kill any part at random moments. A primary that has an heir is spared: who takes over is for one fault at a time."""
        has_heir = any(part.promote for part in self._parts.values())
        victims = [part for part in self._parts.values() if not (has_heir and part.kind in {Kind.POSTGRES, Kind.STANDBY})]
        last: dict[str, Process] = {}
        begin = self._load.now
        for moment in moments_of_a_storm(self._chance, seconds=self._plan.seconds, every_seconds=_STORM_EVERY_SECONDS):
            await asyncio.sleep(max(0.0, begin + moment - self._load.now))
            part = self._chance.choice(victims)
            if part.find() is None:
                continue  # it is being started again
            last[part.name] = await self._strike(happened, part, Action.KILL)
            await self._striker.start(part)
        if not happened.struck:
            raise UnavailableError(part=happened.blow.fault.name, detail="no process ran that could be hurt")
        for part in victims:
            await self._striker.back(part, instead_of=last.get(part.name), seconds=_BACK_SECONDS)
        happened.back_after = self._load.now - happened.struck[-1].at_seconds
        self._audience.say(f"all parts do their work again {happened.back_after:.1f} s after the last kill")

    def _first_finish(self, happened: _Happened) -> float | None:
        return first_finish((each.span for each in self._load.submitted), after=happened.begin)

    def _measured(self, happened: _Happened) -> FaultReport:
        begin, end = happened.begin, happened.end
        spans = [each.span for each in self._load.submitted]
        back_after, first, longest = happened.back_after, self._first_finish(happened), slowest(spans, begin=begin, end=end)
        return FaultReport(
            round=happened.blow.round,
            fault=happened.blow.fault.name,
            action=happened.blow.fault.action,
            struck=tuple(happened.struck),
            begin_seconds=round(begin, 3),
            end_seconds=round(end, 3),
            back_after_seconds=None if back_after is None else round(back_after, 3),
            longest_gap_seconds=round(longest_gap(self._load.finishes, begin=begin, end=end), 3),
            first_finish_seconds=None if first is None else round(first, 3),
            slowest_seconds=None if longest is None else round(longest, 3),
            finished=between(self._load.finishes, begin=begin, end=end),
            errors=self._load.errors_between(begin, end),
            problem=happened.problem,
        )

    def _calm(self, begin: float, end: float) -> Calm:
        took = [
            each.finished_at - each.submitted_at
            for each in self._load.submitted
            if each.finished_at is not None and begin <= each.submitted_at and each.finished_at < end
        ]
        return Calm(
            seconds=round(end - begin, 3),
            finished=len(took),
            longest_gap_seconds=round(longest_gap(self._load.finishes, begin=begin, end=end), 3),
            p50_seconds=percentile(took, 50),
            p99_seconds=percentile(took, 99),
        )
