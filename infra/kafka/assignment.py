"""Which member of a group gets which partitions: who has one keeps it, as far as all have equally many.

aiokafka 0.14's sticky assignor keeps what it remembers on its class, where all consumers of a process meet, and never learns a generation
(its issues 1175 and 1176). So each consumer gets a class of its own, and the leader counts the assignments that it hands out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNT_BYTES: Final = 4


class _CountedStickyAssignor(StickyPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
    """Of two members that claim a partition, the one with the later assignment has it: a member that was thrown out claims what it had.

    The count travels with the assignment, in the bytes that the protocol leaves to assignors.
    """

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401  aiokafka has no types
        count = 1 + max((cls.parse_member_metadata(member).generation for member in members.values()), default=0)
        user_data = max(count, 1).to_bytes(_COUNT_BYTES, "big")
        return {
            member: ConsumerProtocolMemberAssignment(assigned.version, assigned.assignment, user_data)
            for member, assigned in super().assign(cluster, members).items()
        }

    @classmethod
    def on_assignment(cls, assignment: Any) -> None:  # noqa: ANN401
        super().on_assignment(assignment)
        cls.on_generation_assignment(int.from_bytes(assignment.user_data or b"", "big"))


def assignors() -> tuple[Any]:
    """For one consumer, and no other. One only: for each further one aiokafka joins the group once more, with no end of rebalances."""
    return (type("StickyAssignorOfOneConsumer", (_CountedStickyAssignor,), {}),)
