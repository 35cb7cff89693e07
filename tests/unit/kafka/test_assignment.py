"""The sticky assignor, without a broker: every partition has one owner, all have equally many, and nothing moves without a need."""

from __future__ import annotations

import random
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from infra.kafka.assignment import assignors

_TOPICS = ("casa.balance-updated", "accounting.transaction-finished")
_PARTITIONS = 6


class _Cluster:
    """As much of a cluster as assignors look at."""

    def topics(self) -> set[str]:
        return set(_TOPICS)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(_PARTITIONS)) if topic in _TOPICS else None


class _Group:
    """Members that join and leave; all that they tell each other goes through bytes, as on the wire."""

    def __init__(self) -> None:
        self.members: dict[str, Any] = {}
        self.owned: dict[str, set[Any]] = {}

    def rebalance(self) -> None:
        told = {name: ConsumerProtocolMemberMetadata.decode(assignor.metadata(_TOPICS).encode()) for name, assignor in self.members.items()}
        leader = next(reversed(self.members.values()))
        for name, assigned in leader.assign(_Cluster(), told).items():
            received = ConsumerProtocolMemberAssignment.decode(assigned.encode())
            self.members[name].on_assignment(received)
            self.owned[name] = set(received.partitions())
        self.owned = {name: owned for name, owned in self.owned.items() if name in self.members}

    def check(self) -> None:
        every = [partition for owned in self.owned.values() for partition in owned]
        assert len(every) == len(set(every)) == _PARTITIONS * len(_TOPICS)
        sizes = [len(owned) for owned in self.owned.values()]
        assert max(sizes) - min(sizes) <= 1


def test_members_keep_what_they_have_as_far_as_all_have_equally_many() -> None:
    choose = random.Random(20261128)  # noqa: S311  nothing to guess
    kept = moved = 0
    for _ in range(40):
        group = _Group()
        for step in range(12):
            if len(group.members) > 1 and choose.random() < 0.4:
                del group.members[choose.choice(list(group.members))]
            else:
                group.members[f"member-{step}"] = assignors()[0]
            before = {name: owned for name, owned in group.owned.items() if name in group.members}
            group.rebalance()
            group.check()
            share = len(_TOPICS) * _PARTITIONS // len(group.members)
            for name, owned in before.items():
                stayed = len(owned & group.owned[name])
                assert stayed >= min(len(owned), share), "a partition moved from a member that had no more than its share"
                kept, moved = kept + stayed, moved + len(owned) - stayed
    assert kept > moved > 0


def test_a_member_that_was_away_takes_nothing_from_those_who_have_it_by_now() -> None:
    group = _Group()
    for name in ("a", "b"):
        group.members[name] = assignors()[0]
    group.rebalance()
    away = group.members.pop("a")
    group.rebalance()
    group.members["c"] = assignors()[0]
    group.rebalance()
    before = dict(group.owned)
    # It still claims what it had, and is heard first.
    group.members = {"a again": away, **group.members}
    group.rebalance()
    group.check()
    assert all(len(group.owned[name] & owned) >= 4 for name, owned in before.items())


def test_consumers_of_one_process_share_nothing() -> None:
    one, other = assignors()[0], assignors()[0]
    group = _Group()
    group.members["one"] = one
    group.rebalance()
    assert other.metadata(_TOPICS).user_data == b""
