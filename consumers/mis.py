"""The group mis, management information: adds what it reads to totals per hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumers.member import member_of
from infra.postgres.mis import MisEffects
from ledger.events import TOPICS

if TYPE_CHECKING:
    from consumers.member import GroupMember, Surroundings

GROUP: Final = "mis"


def mis_member(given: Surroundings) -> GroupMember:
    """A member of the group mis; it reads both topics."""
    return member_of(GROUP, TOPICS, MisEffects(), given)
