"""What a ledger that was restored to an earlier instant lacks, although it was told."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict


class LostKind(StrEnum):
    """What was lost."""

    TRANSACTION = "transaction"
    HOLD = "hold"
    FILE = "file"
    """A payment file; its lines are transactions of their own."""


class LostEvent(BaseModel):
    """An event that is on a topic, and that the ledger does not know."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    type: str
    topic: str
    partition: int
    offset: int
    time: AwareDatetime
    """Of what it tells."""
    account_id: str | None = None
    """Whose balance it told of."""
    amount: str | None = None
    """By which: ``12.50 EUR``."""


class CarriedRun(BaseModel):
    """A workflow, as Temporal has it."""

    model_config = ConfigDict(frozen=True)

    kind: LostKind
    tenant: str
    identifier: str
    """Of the transaction, the hold or the file."""
    workflow_id: str
    run_id: str
    status: str
    """``running`` or ``completed``."""


class LostItem(BaseModel):
    """A transaction, a hold or a file of which the ledger lacks all, or the end."""

    model_config = ConfigDict(frozen=True)

    kind: LostKind
    tenant: str
    identifier: str
    told: str | None = None
    """How it was last told: ``completed``; None: nothing of its end was published."""
    debtor: str | None = None
    creditor: str | None = None
    amount: str | None = None
    """As it was asked for: ``12.50 EUR``."""
    reference: str | None = None
    known: bool = False
    """The ledger has its beginning."""
    events: tuple[LostEvent, ...] = ()
    run: CarriedRun | None = None
    """The workflow that believes it done, or goes on with it; None: Temporal has none, or not any more."""


class EffectOfLost(BaseModel):
    """A consumer group that has applied events which the ledger does not know."""

    model_config = ConfigDict(frozen=True)

    group: str
    events: int
    example: str
    """The id of one of them."""


class GoneOn(BaseModel):
    """What was done so that groups and Temporal go on with the restored ledger."""

    model_config = ConfigDict(frozen=True)

    partitions: int
    """Of how many partitions a group now goes on behind what was lost, counted for each group."""
    events_again: int
    """Events that the ledger has and some group lacks: they are published again."""
    runs_removed: int
    """Workflows that were removed from Temporal, so that the same ids can be posted again."""


class RestoreReport(BaseModel):
    """What was told and is lost."""

    model_config = ConfigDict(frozen=True)

    records: int
    """That were read from the topics."""
    runs: int
    """Workflows that were compared with the ledger."""
    lost: tuple[LostItem, ...]
    applied: tuple[EffectOfLost, ...] = ()
    done: GoneOn | None = None
    """None: it was only looked."""
