"""The faults that there are, and the order in which they are committed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ledger.errors import InvalidInputError
from starter.chaos.system import Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from starter.chaos.system import Part


class Action(StrEnum):
    """What befalls a part."""

    KILL = "kill"
    """SIGKILL, as a machine that fails, or the kernel where memory is short."""
    FREEZE = "freeze"
    """SIGSTOP for some seconds, then SIGCONT: as a machine that is paused, or swaps. Its connections stay open, and nothing answers."""
    RESTART = "restart"
    """It is asked to end, as on a deployment, and started again."""
    STORM = "storm"
    """Kills of any part at random moments."""


@dataclass(frozen=True)
class Fault:
    """What befalls parts of a kind."""

    name: str
    action: Action
    kind: Kind | None
    """None: any part."""


_NAMES: Final = {Kind.CONSUMER: "consumers"}
_STORM: Final = Fault("random", Action.STORM, None)
_RESTARTED: Final = (Kind.POSTGRES, Kind.STANDBY, Kind.TEMPORAL, Kind.KAFKA)


def _named(kind: Kind, action: Action) -> Fault:
    name = _NAMES.get(kind, kind.value)
    return Fault(name if action is Action.KILL else f"{name}-{action}", action, kind)


ALL_FAULTS: Final = (
    *(_named(kind, Action.KILL) for kind in Kind),
    *(_named(kind, Action.FREEZE) for kind in Kind),
    *(_named(kind, Action.RESTART) for kind in _RESTARTED),
    _STORM,
)
"""In the order in which they are committed unless a run says otherwise."""
BY_DEFAULT: Final = "kill"
_SETS: Final = ("all", Action.KILL.value, Action.FREEZE.value, Action.RESTART.value)


def faults_of(names: str, parts: Iterable[Part]) -> list[Fault]:
    """The faults that a comma-separated list names, each once, in the list's order.

    Args:
        names: of faults, or of sets of them: ``kill``, ``freeze``, ``restart``, ``all``.
        parts: of the system; of a set, what it has no part for is left out.

    Raises:
        InvalidInputError: there is no fault of a name, or the system has no part that it could befall.
    """
    kinds = {part.kind for part in parts}
    by_name = {fault.name: fault for fault in ALL_FAULTS}
    chosen: dict[str, Fault] = {}
    for name in (each.strip() for each in names.split(",")):
        if name in _SETS:
            found = [fault for fault in ALL_FAULTS if name in {"all", fault.action} and (fault.kind is None or fault.kind in kinds)]
        elif name not in by_name:
            known = ", ".join((*_SETS, *by_name))
            raise InvalidInputError(field="--faults", value=name, rule=f"must be some of {known}")
        elif (fault := by_name[name]).kind is not None and fault.kind not in kinds:
            raise InvalidInputError(field="--faults", value=name, rule=f"befalls a part of kind {fault.kind}, and the system has none")
        else:
            found = [fault]
        chosen.update((fault.name, fault) for fault in found)
    return list(chosen.values())


@dataclass(frozen=True)
class Blow:
    """One fault that is to befall one part; of a storm, any."""

    round: int
    """From 1 on."""
    fault: Fault
    part: Part | None


def blows_of(faults: Iterable[Fault], parts: Iterable[Part], *, rounds: int) -> list[Blow]:
    """What is committed in turn: in each round each fault, against one part of its kind after the other."""
    of_kind: dict[Kind, list[Part]] = {}
    for part in parts:
        of_kind.setdefault(part.kind, []).append(part)
    chosen = list(faults)
    return [
        Blow(number, fault, part)
        for number in range(1, rounds + 1)
        for fault in chosen
        for part in (of_kind[fault.kind] if fault.kind is not None else [None])
    ]


def moments_of_a_storm(chance: random.Random, *, seconds: float, every_seconds: float) -> list[float]:
    """At how many seconds after its begin a storm kills: at random, `every_seconds` apart on the average, one kill at least."""
    moments = [chance.uniform(0.0, min(every_seconds, seconds))]
    while (following := moments[-1] + chance.expovariate(1 / every_seconds)) < seconds:
        moments.append(following)
    return moments
