"""The types of events: what each one's data is, on which topic it comes, and under which key. The JSON Schemas follow from the models.

A type's model narrows what it shares with others: a debit always has a version, a rejection always a reason.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from ledger.balances import BALANCE_V1, TOPIC_BALANCE, AccountStateV1
from ledger.events import (
    CREDITED_V1,
    DEBITED_V1,
    FINISHED_TYPES,
    HOLD_AUTHORISED_V1,
    HOLD_CAPTURED_V1,
    HOLD_EXPIRED_V1,
    HOLD_VOIDED_V1,
    TOPIC_BALANCE_UPDATED,
    TOPIC_TRANSACTION_FINISHED,
    Amount,
    BalanceUpdatedV1,
    HoldChangedV1,
    Reason,
    TransactionFinishedV1,
    UuidText,
)
from ledger.holds import HoldStatus  # noqa: TC001  pydantic reads it
from ledger.results import TransactionStatus

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaMode

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class CreditedV1(BalanceUpdatedV1):
    """Money came to an account: a posted credit, or the compensation of a debit. It doesn't say the balance, which a credit never reads."""

    version: None
    """Null: credits are not numbered."""
    ledger_balance_after: None
    """Null: a credit does not read the balance."""
    available_balance_after: None
    """Null: a credit does not read the balance."""


class DebitedV1(BalanceUpdatedV1):
    """Money went from an account: a posted debit or fee, with its number and the balances after it."""

    version: int
    """The debit's number on its account, from 1, without a gap: who needs their order sorts by it."""
    ledger_balance_after: Amount
    """The account's ledger balance right after this debit."""
    available_balance_after: Amount
    """The account's available balance right after this debit: ledger balance - holds + overdraft limit."""


class _HoldChangedOnlyV1(HoldChangedV1):
    capture: None
    """Null: this change took nothing."""
    transaction_id: None
    """Null: no transaction took part in this change."""


class HoldAuthorisedV1(_HoldChangedOnlyV1):
    """Money of an account was set aside: its available balance fell, its ledger balance did not."""

    status: Literal[HoldStatus.OPEN]
    """After the change."""


class HoldCapturedV1(HoldChangedV1):
    """A debit took money that was set aside; the debit has an event of its own."""

    status: Literal[HoldStatus.OPEN, HoldStatus.CAPTURED]
    """`open` where more may be captured, `captured` where this was the last capture."""
    capture: Amount
    """What this capture took."""
    transaction_id: UuidText
    """The transaction that captured."""


class HoldVoidedV1(_HoldChangedOnlyV1):
    """Money that was set aside was given back before the hold's end."""

    status: Literal[HoldStatus.VOIDED]
    """After the change."""


class HoldExpiredV1(_HoldChangedOnlyV1):
    """A hold's end has passed, and what it still held was given back."""

    status: Literal[HoldStatus.EXPIRED]
    """After the change."""


class TransactionCompletedV1(TransactionFinishedV1):
    """A transaction has done all that was asked."""

    status: Literal[TransactionStatus.COMPLETED]
    """How the transaction ended."""
    reason: None
    """Null: nothing was refused."""


class TransactionRejectedV1(TransactionFinishedV1):
    """A transaction was refused, and nothing was posted."""

    status: Literal[TransactionStatus.REJECTED]
    """How the transaction ended."""
    reason: Reason
    """Why nothing was posted."""


class TransactionReversedV1(TransactionFinishedV1):
    """A transaction was refused after its debit was posted, and the debit was given back: the legs tell all three."""

    status: Literal[TransactionStatus.REVERSED]
    """How the transaction ended."""
    reason: Reason
    """Why the debit was given back."""


class EventType(NamedTuple):
    """One type of events."""

    name: str
    """``ce_type``."""
    topic: str
    """Where it is published, and nowhere else."""
    key: str
    """What the record's key is made of."""
    model: type[BaseModel]
    """Of its data."""

    @property
    def description(self) -> str:
        """What an event of this type tells."""
        return self.model.__doc__ or ""

    @property
    def schema_id(self) -> str:
        """The ``$id`` of its schema: a name, and no address."""
        return f"urn:casaflow:events:{self.name}"


KEY_OF_BALANCE_UPDATED: Final = "<tenant>/<account_id>"
KEY_OF_TRANSACTION_FINISHED: Final = "<tenant>/<transaction_id>"

EVENT_TYPES: Final = {
    event_type.name: event_type
    for event_type in (
        *(
            EventType(name, TOPIC_BALANCE_UPDATED, KEY_OF_BALANCE_UPDATED, model)
            for name, model in (
                (CREDITED_V1, CreditedV1),
                (DEBITED_V1, DebitedV1),
                (HOLD_AUTHORISED_V1, HoldAuthorisedV1),
                (HOLD_CAPTURED_V1, HoldCapturedV1),
                (HOLD_VOIDED_V1, HoldVoidedV1),
                (HOLD_EXPIRED_V1, HoldExpiredV1),
            )
        ),
        *(
            EventType(FINISHED_TYPES[status], TOPIC_TRANSACTION_FINISHED, KEY_OF_TRANSACTION_FINISHED, model)
            for status, model in (
                (TransactionStatus.COMPLETED, TransactionCompletedV1),
                (TransactionStatus.REJECTED, TransactionRejectedV1),
                (TransactionStatus.REVERSED, TransactionReversedV1),
            )
        ),
        EventType(BALANCE_V1, TOPIC_BALANCE, KEY_OF_BALANCE_UPDATED, AccountStateV1),
    )
}
"""All types, by name. One is never taken away while somebody may read it; what replaces it is a type beside it (``.v2``)."""


class _Generator(GenerateJsonSchema):
    """Without a title for each field, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002  pydantic's own signature
        return False


@cache
def schema_of(event_type: EventType) -> Schema:
    """The JSON Schema (draft 2020-12) of the type's data, complete in itself. Not to be changed: it is made once."""
    made = event_type.model.model_json_schema(mode="serialization", schema_generator=_Generator)
    return {"$schema": DIALECT, "$id": event_type.schema_id, **made, "title": event_type.name}


def shared_schemas(reference: str) -> dict[str, Schema]:
    """The schemas of all types and of their parts, by the names of their models, for a document that has them in one place.

    Args:
        reference: how one refers to another, with ``{model}`` for its name.
    """
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(event_type.model, "serialization") for event_type in EVENT_TYPES.values()]
    _, made = models_json_schema(models, ref_template=reference, schema_generator=_Generator)
    definitions: dict[str, Schema] = made["$defs"]
    return definitions
