"""Errors with stable codes. A business refusal is not an error: see :mod:`ledger.refusals`.

Three families, told apart by type:

* :class:`InvalidInputError`: the caller's request is wrong; nothing was done, and the same request will be wrong again.
* :class:`ConflictError`: the request contradicts what is already recorded; nothing was done.
* :class:`UnavailableError`: a part did not answer. The outcome may be unknown; sending the same id again settles it.

Every class has a ``code`` that never changes, and keeps its data as attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import datetime as dt

_SHOWN_VALUE_LENGTH = 80


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_VALUE_LENGTH else f"{text[:_SHOWN_VALUE_LENGTH]}…"


class CasaflowError(Exception):
    """Base of every error that casaflow raises on purpose."""

    code: ClassVar[str] = "error"


class InvalidInputError(CasaflowError):
    """A field of the request breaks a rule."""

    code: ClassVar[str] = "invalid-input"

    def __init__(self, *, field: str, value: object, rule: str) -> None:
        """Name what is wrong.

        Args:
            field: the field's name as the caller wrote it, with its path (``creditor``, ``metadata.channel``).
            value: what was given.
            rule: the rule it breaks, as a sentence part (``must be greater than zero``).
        """
        self.field = field
        self.value = value
        self.rule = rule
        super().__init__(f"{field} {rule}; it is {_shown(value)}")


class UnknownCurrencyError(InvalidInputError):
    """The currency is not an ISO 4217 currency with a minor unit."""

    code: ClassVar[str] = "unknown-currency"

    def __init__(self, *, field: str, value: object) -> None:
        super().__init__(field=field, value=value, rule="must be an ISO 4217 currency code with a minor unit, such as EUR")


class UnknownAccountError(InvalidInputError):
    """The account named by the request does not exist for this tenant."""

    code: ClassVar[str] = "unknown-account"

    def __init__(self, *, field: str, account_id: str) -> None:
        self.account_id = account_id
        super().__init__(field=field, value=account_id, rule="must be an account of this tenant that was opened before")


class ConflictError(CasaflowError):
    """The request contradicts what is recorded."""

    code: ClassVar[str] = "conflict"


class TransactionConflictError(ConflictError):
    """The transaction id was used before with other content."""

    code: ClassVar[str] = "transaction-conflict"

    def __init__(self, *, transaction_id: str) -> None:
        self.transaction_id = transaction_id
        super().__init__(f"transaction_id {transaction_id} was used before with other content; the first content stands")


class TransactionNotFinalError(ConflictError):
    """The transaction is still under way, so it can't be decided yet what may be taken back of it."""

    code: ClassVar[str] = "transaction-not-final"

    def __init__(self, *, transaction_id: str, status: str) -> None:
        self.transaction_id = transaction_id
        self.status = status
        super().__init__(f"transaction {transaction_id} is {status}; it can be reversed once it is completed")


class TransactionNotParkedError(ConflictError):
    """The transaction doesn't wait for an operator, or has got another command that it carries out."""

    code: ClassVar[str] = "transaction-not-parked"

    def __init__(self, *, transaction_id: str) -> None:
        self.transaction_id = transaction_id
        super().__init__(f"transaction {transaction_id} is not parked, or carries out another command already")


class ActionNotPossibleError(ConflictError):
    """The transaction is parked where this action can't mend it."""

    code: ClassVar[str] = "action-not-possible"

    def __init__(self, *, transaction_id: str, action: str, rule: str) -> None:
        self.transaction_id = transaction_id
        self.action = action
        self.rule = rule
        super().__init__(f"{action} is not possible for transaction {transaction_id}: {rule}")


class AccountConflictError(ConflictError):
    """The account id was used before with other content."""

    code: ClassVar[str] = "account-conflict"

    def __init__(self, *, account_id: str) -> None:
        self.account_id = account_id
        super().__init__(f"account {account_id} exists already with another currency or kind, or was opened with other rules")


class IdempotencyKeyConflictError(ConflictError):
    """The idempotency key was used before with another body."""

    code: ClassVar[str] = "idempotency-key-conflict"

    def __init__(self, *, idempotency_key: str) -> None:
        self.idempotency_key = idempotency_key
        super().__init__(f"Idempotency-Key {_shown(idempotency_key)} was used before with another body; use a new key for a new request")


class HoldConflictError(ConflictError):
    """The hold id was used before with other content."""

    code: ClassVar[str] = "hold-conflict"

    def __init__(self, *, hold_id: str) -> None:
        self.hold_id = hold_id
        super().__init__(f"hold_id {hold_id} was used before with other content; the first content stands")


class ImpossibleChangeError(ConflictError):
    """A change that is well-formed, and that what is recorded rules out. A subclass for each reason."""

    code: ClassVar[str] = "impossible-change"

    def __init__(self, message: str, *, field: str, value: object, rule: str) -> None:
        """Name what can't be.

        Args:
            message: the whole of it, for people.
            field: what was to be changed.
            value: to what.
            rule: the rule that it breaks, as a sentence part.
        """
        self.field = field
        self.value = value
        self.rule = rule
        super().__init__(message)


class AccountNotClosableError(ImpossibleChangeError):
    """The account still has money, a hold, or an open transaction."""

    code: ClassVar[str] = "account-not-closable"

    def __init__(self, *, account_id: str, rule: str) -> None:
        self.account_id = account_id
        super().__init__(f"account {account_id} can't be closed: {rule}", field="status", value="closed", rule=rule)


class AccountClosedError(ImpossibleChangeError):
    """A closed account takes no change of its rules."""

    code: ClassVar[str] = "account-closed"

    def __init__(self, *, account_id: str, field: str = "status", value: object = None) -> None:
        self.account_id = account_id
        rule = "must not change: a closed account stays closed"
        super().__init__(f"account {account_id} is closed; a closed account stays closed", field=field, value=value, rule=rule)


class AccountFrozenError(ImpossibleChangeError):
    """A frozen account becomes neither dormant nor active by itself."""

    code: ClassVar[str] = "account-frozen"

    def __init__(self, *, account_id: str, value: str) -> None:
        self.account_id = account_id
        rule = "must not change while the account is frozen; unfreeze it first"
        super().__init__(
            f"account {account_id} is frozen, and can't become {value}; unfreeze it first", field="status", value=value, rule=rule
        )


class OverdraftInUseError(ImpossibleChangeError):
    """The new overdraft limit is less than what debits and holds use already."""

    code: ClassVar[str] = "overdraft-in-use"

    def __init__(self, *, account_id: str, limit: str, used: str) -> None:
        """Say how much is used.

        Args:
            account_id: whose limit it is.
            limit: what it should become, in major units.
            used: what it can't be below, in major units.
        """
        self.account_id = account_id
        self.used = used
        message = f"the overdraft limit of account {account_id} can't become {limit}: debits and holds use {used} of it"
        super().__init__(message, field="overdraft_limit", value=limit, rule=f"must be at least {used}, which debits and holds use")


class HoldNotVoidableError(ImpossibleChangeError):
    """Only an open hold can be voided."""

    code: ClassVar[str] = "hold-not-voidable"

    def __init__(self, *, hold_id: str, status: str) -> None:
        self.hold_id = hold_id
        self.status = status
        message = f"hold {hold_id} can't be voided: it is {status}"
        super().__init__(message, field="status", value="voided", rule=f"must not change once a hold is {status}")


class UnauthenticatedCommandError(CasaflowError):
    """An update reached a workflow without the signature of casaflow's API: nobody knows who sent it."""

    code: ClassVar[str] = "unauthenticated-command"

    def __init__(self, *, action: str, identifier: str) -> None:
        self.action = action
        self.identifier = identifier
        super().__init__(
            f"{action} of {identifier} must come through casaflow's API, which says who asks for it; an update from elsewhere is not obeyed"
        )


class StandingOrderConflictError(ConflictError):
    """The standing order's id was used before with other content."""

    code: ClassVar[str] = "standing-order-conflict"

    def __init__(self, *, order_id: str) -> None:
        self.order_id = order_id
        super().__init__(f"order_id {order_id} was used before with other content; the first content stands")


class StandingOrderEndedError(ImpossibleChangeError):
    """A standing order that has ended takes no change."""

    code: ClassVar[str] = "standing-order-ended"

    def __init__(self, *, order_id: str, status: str, wanted: str) -> None:
        self.order_id = order_id
        self.status = status
        message = f"standing order {order_id} is {status}, and can't become {wanted}"
        super().__init__(message, field="status", value=wanted, rule=f"must not change once a standing order is {status}")


class DuplicateFileError(ImpossibleChangeError):
    """A payment file with this content came before, and wasn't rejected."""

    code: ClassVar[str] = "duplicate-file"

    def __init__(self, *, file_id: str) -> None:
        """Name the earlier file."""
        self.file_id = file_id
        message = f"file {file_id} has the same content; look at what became of it"
        super().__init__(message, field="file_id", value=file_id, rule="must not come twice, unless it was rejected")


class FileEndedError(ImpossibleChangeError):
    """A payment file that is over takes no change."""

    code: ClassVar[str] = "file-ended"

    def __init__(self, *, file_id: str, status: str, wanted: str) -> None:
        self.file_id = file_id
        self.status = status
        message = f"file {file_id} is {status}: too late to {wanted} it"
        super().__init__(message, field="status", value=wanted, rule=f"must not change once a file is {status}")


class FileTooLargeError(CasaflowError):
    """A payment file is larger than the setting allows."""

    code: ClassVar[str] = "file-too-large"

    def __init__(self, *, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        super().__init__(f"a payment file has {most_bytes} bytes at most; split it")


class UnreadableFormatError(CasaflowError):
    """Payment files of this media type can't be read here."""

    code: ClassVar[str] = "unsupported-media-type"

    def __init__(self, *, media_type: str, known: str) -> None:
        self.media_type = media_type
        super().__init__(f"payment files are {known}, not {_shown(media_type)}")


class MessageNotDeadError(ConflictError):
    """Only a message that nothing more is tried for can be replayed."""

    code: ClassVar[str] = "message-not-dead"

    def __init__(self, *, message_id: str, status: str) -> None:
        self.message_id = message_id
        self.status = status
        super().__init__(f"message {message_id} is {status}; only a dead one can be replayed")


class ForbiddenError(CasaflowError):
    """Whoever asks is known, and may not do this. A subclass for each reason."""

    code: ClassVar[str] = "forbidden"


class MissingScopeError(ForbiddenError):
    """The API key, or the token, has no scope for this."""

    code: ClassVar[str] = "missing-scope"

    def __init__(self, *, scope: str) -> None:
        self.scope = scope
        super().__init__(f"this needs an API key, or a token, with the scope {scope}")


class SamePrincipalError(ForbiddenError):
    """Four eyes: who submitted a transaction can neither approve nor decline it."""

    code: ClassVar[str] = "same-principal"

    def __init__(self, *, transaction_id: str, action: str) -> None:
        self.transaction_id = transaction_id
        self.action = action
        super().__init__(f"transaction {transaction_id} was submitted by the same principal; somebody else has to {action} it")


class NotWaitingError(ConflictError):
    """The transaction waits for no approval: it needs none, has one, or is over."""

    code: ClassVar[str] = "not-waiting"

    def __init__(self, *, transaction_id: str, action: str) -> None:
        self.transaction_id = transaction_id
        self.action = action
        super().__init__(f"transaction {transaction_id} doesn't wait for an approval, so it is too late, or too early, to {action} it")


class ApprovalExpiredError(ConflictError):
    """The time in which the transaction could be approved or declined is over."""

    code: ClassVar[str] = "approval-expired"

    def __init__(self, *, transaction_id: str, action: str) -> None:
        self.transaction_id = transaction_id
        self.action = action
        super().__init__(
            f"transaction {transaction_id} waited for its approval until now, and is not waiting any more: too late to {action} it"
        )


class NotCancellableError(ConflictError):
    """Posting has begun, or the transaction is over."""

    code: ClassVar[str] = "not-cancellable"

    def __init__(self, *, transaction_id: str) -> None:
        self.transaction_id = transaction_id
        super().__init__(f"transaction {transaction_id} can't be cancelled: its posting has begun, or it is over; a reversal takes it back")


class NotFoundError(CasaflowError):
    """What the request asks for does not exist for this tenant."""

    code: ClassVar[str] = "not-found"

    def __init__(self, *, kind: str, identifier: str) -> None:
        self.kind = kind
        self.identifier = identifier
        super().__init__(f"no {kind} {_shown(identifier)}")


class LedgerIntegrityError(CasaflowError):
    """The database refused a write that the rules had allowed: a defect, never a business case."""

    code: ClassVar[str] = "ledger-integrity"


class TooManyError(CasaflowError):
    """There are as many of something as there may be at one time, or in some time."""

    code: ClassVar[str] = "too-many-requests"

    def __init__(self, *, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class UnavailableError(CasaflowError):
    """A part that casaflow needs did not answer; sending the same id again settles the outcome."""

    code: ClassVar[str] = "unavailable"

    def __init__(self, *, part: str, detail: str) -> None:
        """Name the part (``postgres``, ``temporal``, ``kafka``, ``exchange-rates``) and what it said."""
        self.part = part
        self.detail = detail
        super().__init__(f"{part} is not available: {detail}")


class BusyError(UnavailableError):
    """A part gave way to somebody else; nothing was done, and the same request may be sent again."""

    code: ClassVar[str] = "busy"


class DrainingError(UnavailableError):
    """No new work is taken, since an operator has said so; what has begun goes on, and is answered."""

    code: ClassVar[str] = "draining"

    def __init__(self, *, since: dt.datetime, reason: str | None) -> None:
        """Say since when, and what the operator gave as the reason."""
        self.since = since
        self.reason = reason
        why = f": {reason}" if reason else ""
        super().__init__(part="intake", detail=f"no new work is taken since {since.isoformat(timespec='seconds')}{why}")


NON_RETRYABLE_ERRORS: tuple[type[CasaflowError], ...] = (
    InvalidInputError,
    UnknownCurrencyError,
    UnknownAccountError,
    TransactionConflictError,
    LedgerIntegrityError,
    NotFoundError,
    HoldConflictError,
    StandingOrderEndedError,
)
"""Errors of an activity that no retry can mend; Temporal's retry policies are built from this tuple."""
