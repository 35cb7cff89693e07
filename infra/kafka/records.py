"""What a consumer group gets and what it has to provide; without Kafka's client, so that a database adapter can implement it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from ledger.errors import CasaflowError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        """Topic and number: ``casa.balance-updated/3``."""
        return f"{self.topic}/{self.number}"


@dataclass(frozen=True)
class Record:
    """A record as the broker keeps it: bytes, whatever they mean."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class StaleOwnerError(CasaflowError):
    """Another member of the group has moved the partition's offset on: nothing was applied, and the partition isn't this member's."""

    code: ClassVar[str] = "stale-owner"

    def __init__(self, *, partition: Partition, expected: int) -> None:
        self.partition = partition
        self.expected = expected
        super().__init__(f"{partition} is not at offset {expected} any more")


class GroupEffects(Protocol):
    """What a consumer group does with records, and where it keeps how far it has come: in one database, in one database transaction."""

    async def next_offsets(self, beginnings: Mapping[Partition, int]) -> dict[Partition, int]:
        """Where each partition goes on; a partition that is new to the group begins where `beginnings` says.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    async def move(self, partition: Partition, *, expected: int, to: int) -> None:
        """Go on elsewhere, since the broker doesn't have the stored offset any more.

        Raises:
            StaleOwnerError: the stored offset isn't `expected`.
            UnavailableError: the outcome is unknown; read the offset again.
        """
        ...

    async def apply(self, partition: Partition, records: Sequence[Record], *, expected: int) -> int:
        """Apply records in their order, skip events that were applied before, and store the offset after the last, all or nothing.

        Returns:
            How many records had an effect.

        Raises:
            StaleOwnerError: the stored offset isn't `expected`; nothing was applied.
            LedgerIntegrityError: the database refused; nothing was applied.
            UnavailableError: the outcome is unknown; read the offset again.
        """
        ...
