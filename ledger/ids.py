"""Identifiers that are the same on every retry, derived by uuid5 (RFC 9562, section 5.5) from what they identify."""

from __future__ import annotations

import datetime as dt  # noqa: TC003
import hashlib
import re
from decimal import Decimal  # noqa: TC003
from json.encoder import encode_basestring
from typing import Final
from uuid import UUID

from ledger.errors import InvalidInputError

CASAFLOW_NAMESPACE: Final = UUID("6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11")
"""Namespace of all derived ids. It never changes: a change would post everything again."""

_NAMESPACE_BYTES: Final = CASAFLOW_NAMESPACE.bytes
_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""A hexadecimal digit with its upper two bits set to 10."""
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_WORKFLOW_ID: Final = re.compile(
    rf"(?:transaction|settlement)-(?P<tenant>.+)-(?P<transaction_id>{_UUID.pattern})", re.IGNORECASE | re.ASCII
)
_ACCOUNT_ID: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,33})", re.ASCII)


def _derived(kind: str, *parts: str) -> str:
    # JSON keeps the parts apart: ("ab", "c") and ("a", "bc") must not meet.
    return _uuid5(f"[{', '.join(map(encode_basestring, (kind, *parts)))}]")


def _uuid5(name: str) -> str:
    """What uuid.uuid5 does, without the object that it makes: two of these are needed for each leg."""
    text = hashlib.sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def parse_transaction_id(value: object, *, field: str = "transaction_id") -> str:
    """The canonical lower-case form of a transaction id.

    Raises:
        InvalidInputError: not a UUID in its 36-character form.
    """
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise InvalidInputError(field=field, value=value, rule="must be a UUID in its 36-character form")
    return value.lower()


def parse_account_id(value: object, *, field: str) -> str:
    """An account id: 1 to 34 characters (an IBAN fits) of letters, digits, dot, hyphen and underscore, beginning with a letter or digit.

    Raises:
        InvalidInputError: anything else.
    """
    if not isinstance(value, str) or not _ACCOUNT_ID.fullmatch(value):
        rule = "must be 1 to 34 letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
        raise InvalidInputError(field=field, value=value, rule=rule)
    return value


def document_id(tenant: str, account_id: str, what: str) -> str:
    """The id of a document about an account: the same whenever the same is written again. 32 characters, for ISO 20022's Max35Text.

    Args:
        tenant: whose account.
        account_id: which.
        what: tells it from other documents about the account.
    """
    return _derived("document", tenant, account_id, what).replace("-", "")


def workflow_id(tenant: str, transaction_id: str) -> str:
    """The id of the Temporal workflow that carries a transaction."""
    return f"transaction-{tenant}-{transaction_id}"


def settlement_id(tenant: str, transaction_id: str) -> str:
    """The id of the Temporal workflow that settles a transaction which its own workflow has left."""
    return f"settlement-{tenant}-{transaction_id}"


def transaction_of_workflow(identifier: str) -> tuple[str, str]:
    """Tenant and transaction id of a workflow id; the inverse of :func:`workflow_id` and of :func:`settlement_id`.

    Raises:
        InvalidInputError: not the id of a transaction's workflow.
    """
    found = _WORKFLOW_ID.fullmatch(identifier)
    if found is None:
        rule = "must be transaction-<tenant>-<transaction id>, or settlement-… of the same"
        raise InvalidInputError(field="workflow_id", value=identifier, rule=rule)
    return found["tenant"], found["transaction_id"].lower()


def entry_transaction_id(tenant: str, account_id: str, entry_id: str) -> str:
    """The transaction id of one line of a file of entries: the same line is the same transaction, however often it is submitted."""
    return _derived("entry", tenant, account_id, entry_id)


def payment_transaction_id(tenant: str, source: str, number: int) -> str:
    """The transaction id of a line of a payment file that gives none.

    Args:
        tenant: whose file it is.
        source: what the same payments have in common, however often they are sent: the file's message id, or the hash of its content.
        number: of the line.
    """
    return _derived("payment", tenant, source, str(number))


def key_transaction_id(tenant: str, principal: str, idempotency_key: str) -> str:
    """The transaction id of a request that came with an ``Idempotency-Key`` and no id of its own."""
    return _derived("idempotency-key", tenant, principal, idempotency_key)


def batch_transaction_id(tenant: str, principal: str, idempotency_key: str, number: int) -> str:
    """The transaction id of one of a batch, counted from 0, that came with an ``Idempotency-Key`` and no id of its own."""
    return _derived("batch", tenant, principal, idempotency_key, str(number))


def reversal_transaction_id(tenant: str, reverses: str) -> str:
    """The transaction id of a reversal of all that is left, where the caller gave none: asking again reverses nothing again."""
    return _derived("reversal", tenant, reverses)


def capture_transaction_id(tenant: str, hold_id: str) -> str:
    """The transaction id of a capture of all that a hold still holds, where the caller gave none."""
    return _derived("capture", tenant, hold_id)


def standing_order_transaction_id(tenant: str, order_id: str, due_date: dt.date, *, attempt: int = 1) -> str:
    """The transaction id of a standing order's due date: however often it is started, it is one transaction.

    A further attempt after a refusal, which stands for good, is a transaction of its own.
    """
    return _derived("standing-order", tenant, order_id, due_date.isoformat(), *((str(attempt),) if attempt > 1 else ()))


def hold_workflow_id(tenant: str, hold_id: str) -> str:
    """The id of the Temporal workflow that watches a hold."""
    return f"hold-{tenant}-{hold_id}"


def file_workflow_id(tenant: str, file_id: str) -> str:
    """The id of the Temporal workflow that carries a payment file."""
    return f"file-{tenant}-{file_id}"


def standing_order_schedule_id(tenant: str, order_id: str) -> str:
    """The id of a standing order's Temporal Schedule. The ids of the workflows that it starts have a time appended."""
    return f"standing-order-{tenant}-{order_id}"


def key_standing_order_id(tenant: str, principal: str, idempotency_key: str) -> str:
    """The id of a standing order that came with an ``Idempotency-Key`` and no id of its own."""
    return _derived("standing-order-key", tenant, principal, idempotency_key)


def key_hold_id(tenant: str, principal: str, idempotency_key: str) -> str:
    """The id of a hold that came with an ``Idempotency-Key`` and no id of its own."""
    return _derived("hold-key", tenant, principal, idempotency_key)


def event_id(tenant: str, transaction_id: str, event_type: str, leg: str = "") -> str:
    """The ``ce_id`` of an event: one per transaction, type and leg."""
    return _derived("event", tenant, transaction_id, event_type, leg)


def balance_event_id(tenant: str, account_id: str, version: int, as_of: dt.datetime) -> str:
    """The ``ce_id`` of an account's state: one per account, version and instant."""
    return _derived("balance", tenant, account_id, str(version), as_of.isoformat())


def notification_id(event: str, customer_id: str, channel: str) -> str:
    """The id of the message that tells a customer of an event by one channel: however often the event is read, it is one message."""
    return _derived("notification", event, customer_id, channel)


def quote_id(*, source: str, as_of: dt.date, base: str, quote: str, rate: Decimal) -> str:
    """The id of a quotation."""
    return _derived("quote", source, as_of.isoformat(), base, quote, str(rate))
