"""Which faults a list names, and in which order they are committed."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from ledger.errors import InvalidInputError
from starter.chaos.faults import ALL_FAULTS, blows_of, faults_of, moments_of_a_storm
from starter.chaos.system import Kind, Part


def part(name: str, kind: Kind) -> Part:
    return Part(name=name, kind=kind, find=lambda: None)


PARTS = [part("api", Kind.API), part("kafka-1", Kind.KAFKA), part("kafka-2", Kind.KAFKA), part("consumers", Kind.CONSUMER)]


def named(names: str) -> list[str]:
    return [fault.name for fault in faults_of(names, PARTS)]


def test_a_list_names_faults_and_sets_of_them_each_once_and_in_its_order() -> None:
    assert named("kafka, api") == ["kafka", "api"]
    assert named("kafka,kill") == ["kafka", "api", "consumers"]
    assert named("restart") == ["kafka-restart"]
    assert named("freeze") == ["api-freeze", "consumers-freeze", "kafka-freeze"]
    assert named("random,random") == ["random"]
    assert named("all") == [fault.name for fault in ALL_FAULTS if fault.kind in {None, Kind.API, Kind.KAFKA, Kind.CONSUMER}]


def test_a_fault_that_is_unknown_or_has_no_part_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"--faults must be some of all, kill, .*consumers-freeze.*; it is 'kafak'"):
        named("kafka,kafak")
    with pytest.raises(InvalidInputError, match="--faults befalls a part of kind temporal, and the system has none; it is 'temporal'"):
        named("temporal")


def test_each_part_of_a_kind_has_its_turn_in_each_round() -> None:
    blows = blows_of(faults_of("kafka,random", PARTS), PARTS, rounds=2)
    in_one = [("kafka", "kafka-1"), ("kafka", "kafka-2"), ("random", None)]
    assert [(blow.round, blow.fault.name, blow.part and blow.part.name) for blow in blows] == [
        (number, *each) for number in (1, 2) for each in in_one
    ]


def storm(seed: int, *, seconds: float) -> list[float]:
    return moments_of_a_storm(random.Random(seed), seconds=seconds, every_seconds=2)  # noqa: S311  not for secrets


def test_a_storm_kills_at_moments_that_its_seed_chooses() -> None:
    first, again, other = (storm(seed, seconds=60) for seed in (1, 1, 2))
    assert first == again != other
    assert all(earlier < later for earlier, later in pairwise(first))
    assert 10 < len(first) < 60
    assert first[0] >= 0
    assert first[-1] < 60
    assert len(storm(3, seconds=0.01)) == 1
