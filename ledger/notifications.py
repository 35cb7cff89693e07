"""What customers are told of their transactions: who wants to hear of what, and the messages that an event leads to.

See ``docs/decisions/0029-notifications.md``. When a message may go out, and what follows a failure, is in :mod:`ledger.deliveries`.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ledger.decisions import LegName, Outcome
from ledger.errors import InvalidInputError
from ledger.events import Amount, TransactionFinishedV1
from ledger.ids import notification_id
from ledger.money import Money
from ledger.results import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

MAX_CUSTOMER_ACCOUNTS: Final = 100
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  the prefix of all of them
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
"""Both from Standard Webhooks 1.0, "Signature scheme"."""
SECRET_OVERLAP: Final = dt.timedelta(hours=24)
"""How long a message is signed with a replaced secret as well, so that a receiver can be given the new one without missing anything."""
_CUSTOMER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_EMAIL: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
    re.ASCII,
)
"""RFC 5321's dot-string at a domain. Quoted local parts and address literals are refused: nothing in it can end a header or a command."""
_LONGEST_EMAIL: Final = 254
_LONGEST_URL: Final = 2_000
_URL: Final = re.compile(r"[\x21-\x5b\x5d-\x7e]+", re.ASCII)
"""Printable ASCII without blanks and backslashes, which programs read differently."""


class Channel(StrEnum):
    """How a customer is reached."""

    EMAIL = "email"
    WEBHOOK = "webhook"


class MessageKind(StrEnum):
    """What a message tells of."""

    CREDIT = "credit"
    """Money came in."""
    DEBIT = "debit"
    """Money went out."""
    REJECTED = "rejected"
    """Nothing was posted."""
    REVERSED = "reversed"
    """What had been debited was given back."""


class Language(StrEnum):
    """Of the texts; each has a set of templates."""

    ENGLISH = "en"
    CZECH = "cs"


class QuietHours(BaseModel):
    """A part of each day in which messages wait. It may go over midnight."""

    model_config = ConfigDict(frozen=True)

    start: dt.time
    """Local time at which it begins."""
    end: dt.time
    """Local time at which it ends; the next day's, unless it is later than `start`."""
    time_zone: str
    """IANA name."""

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            message = "must be an IANA name, such as Europe/Prague"
            raise ValueError(message) from None
        return value

    @model_validator(mode="after")
    def _is_a_part_of_a_day(self) -> Self:
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            message = "start and end must be local times, without an offset"
            raise ValueError(message)
        if self.start == self.end:
            message = "start and end must differ"
            raise ValueError(message)
        return self


class WebhookSecret(BaseModel):
    """A secret that messages are signed with."""

    model_config = ConfigDict(frozen=True)

    secret: str = Field(repr=False)
    """``whsec_`` and 24 to 64 bytes in base64."""
    until: dt.datetime | None = None
    """A replaced one signs until then; None: it is the present one."""

    @field_validator("secret")
    @classmethod
    def _has_a_key(cls, value: str) -> str:
        secret_key(value)
        return value


class NotificationPreferences(BaseModel):
    """What one customer wants to hear, and how."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    customer_id: Annotated[str, Field(pattern=f"^{_CUSTOMER_ID.pattern}$")]
    accounts: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CUSTOMER_ACCOUNTS)]
    """The customer's accounts; several customers may share one."""
    email: str | None = None
    webhook_url: str | None = None
    webhook_secrets: Annotated[tuple[WebhookSecret, ...], Field(repr=False)] = ()
    """The present one first."""
    kinds: frozenset[MessageKind] = frozenset(MessageKind)
    minimum_amounts: dict[str, str] = Field(default_factory=dict)
    """Currency to decimal string, in major units: smaller credits and debits are not told."""
    language: Language = Language.ENGLISH
    quiet_hours: QuietHours | None = None
    urgent: bool = False
    """Whether rejections go out in quiet hours as well."""
    enabled: bool = True
    webhook_gone: bool = False
    """The endpoint has answered 410 Gone: nothing goes there until the preferences are set again."""
    since: dt.datetime
    """What finished before is not told: a customer who is entered, or enabled again, gets no messages of years past."""

    @field_validator("email")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not is_email_address(value):
            message = "must be a plain e-mail address, such as jana@example.org"
            raise ValueError(message)
        return value

    @field_validator("minimum_amounts")
    @classmethod
    def _are_amounts(cls, value: dict[str, str]) -> dict[str, str]:
        try:
            return {currency: Money.parse(amount, currency).decimal_string for currency, amount in value.items()}
        except InvalidInputError as error:
            message = f"an amount {error.rule}; it is {error.value!r}"
            raise ValueError(message) from error

    @model_validator(mode="after")
    def _has_a_channel(self) -> Self:
        if self.email is None and self.webhook_url is None:
            message = "an e-mail address or a webhook must be given"
            raise ValueError(message)
        if self.webhook_url is not None and not any(secret.until is None for secret in self.webhook_secrets):
            message = "a webhook must have a secret"
            raise ValueError(message)
        return self

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels by which the customer can be reached now."""
        by_webhook = self.webhook_url is not None and not self.webhook_gone
        return tuple(
            channel for channel, there in ((Channel.EMAIL, self.email is not None), (Channel.WEBHOOK, by_webhook)) if there and self.enabled
        )

    def address(self, channel: Channel) -> str | None:
        """Where the customer is reached by `channel`."""
        return self.email if channel is Channel.EMAIL else self.webhook_url

    def is_worth_telling(self, amount: Amount) -> bool:
        """Whether a credit or debit of `amount` is at least what the customer wants to hear of."""
        least = self.minimum_amounts.get(amount.currency)
        return least is None or Decimal(amount.value) >= Decimal(least)


class MessageEntry(BaseModel):
    """What a transaction did, or was to do, on one of the customer's accounts."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    direction: MessageKind
    """Credit or debit."""
    amount: Amount


class MessageContent(BaseModel):
    """What a customer is told of one transaction: the data of a webhook, and what the templates of e-mails are filled with.

    Of the other side it has what stands on the customer's own statement; not its balance, its currency, nor why it was refused.
    """

    model_config = ConfigDict(frozen=True)

    kind: MessageKind
    transaction_id: str
    customer_id: str
    entries: tuple[MessageEntry, ...]
    counterparties: tuple[str, ...]
    """Accounts on the other side, as far as they are named."""
    reference: str | None
    remittance_information: str | None
    reverses: str | None
    """The transaction that this one takes back."""
    reason_code: str | None
    """Why it was rejected or reversed; None where the reason lies with an account that is not the customer's."""
    finished_at: dt.datetime


class Message(BaseModel):
    """A message to one customer by one channel, not yet put into words."""

    model_config = ConfigDict(frozen=True)

    message_id: str
    """The same however often the event is read."""
    tenant: str
    event_id: str
    channel: Channel
    address: str
    language: Language
    content: MessageContent


def messages_of(event_id: str, event: TransactionFinishedV1, preferences: NotificationPreferences) -> tuple[Message, ...]:
    """The messages to one customer that an event leads to: one for each of the customer's channels, or none.

    Where both sides are the customer's own, the message is that of the debit, unless the customer wants to hear of credits only.
    """
    if event.instruction.tenant != preferences.tenant or event.finished_at < preferences.since:
        return ()
    content = _content(event, preferences)
    if content is None:
        return ()
    return tuple(
        Message(
            message_id=notification_id(event_id, preferences.customer_id, channel.value),
            tenant=preferences.tenant,
            event_id=event_id,
            channel=channel,
            address=preferences.address(channel) or "",
            language=preferences.language,
            content=content,
        )
        for channel in preferences.channels
    )


def _content(event: TransactionFinishedV1, preferences: NotificationPreferences) -> MessageContent | None:
    own = frozenset(preferences.accounts)
    entries = _posted_entries(event, own) if event.status is TransactionStatus.COMPLETED else _entries_as_asked(event, own)
    if not entries:
        return None
    kind = _kind(event, entries, preferences)
    if kind is None:
        return None
    instruction, reason = event.instruction, event.reason
    creditors = (instruction.creditor, *(share.account_id for share in instruction.shares))
    others = creditors if any(entry.direction is MessageKind.DEBIT for entry in entries) else (instruction.debtor,)
    return MessageContent(
        kind=kind,
        transaction_id=instruction.transaction_id,
        customer_id=preferences.customer_id,
        entries=entries,
        counterparties=tuple(dict.fromkeys(account_id for account_id in others if account_id is not None)),
        reference=instruction.reference,
        remittance_information=instruction.remittance_information,
        reverses=instruction.reverses,
        reason_code=reason.code if reason is not None and (reason.account_id is None or reason.account_id in own) else None,
        finished_at=event.finished_at,
    )


def _posted_entries(event: TransactionFinishedV1, own: frozenset[str]) -> tuple[MessageEntry, ...]:
    return tuple(
        MessageEntry(
            account_id=leg.account_id,
            direction=MessageKind.DEBIT if leg.leg in {LegName.DEBIT, LegName.FEE} else MessageKind.CREDIT,
            amount=leg.amount,
        )
        for leg in event.legs
        if leg.account_id in own and leg.outcome == Outcome.POSTED.value
    )


def _entries_as_asked(event: TransactionFinishedV1, own: frozenset[str]) -> tuple[MessageEntry, ...]:
    """What was asked for, of whoever asked: a creditor doesn't hear that somebody's transfer to him failed."""
    instruction = event.instruction
    account_id, direction = (
        (instruction.debtor, MessageKind.DEBIT) if instruction.debtor is not None else (instruction.creditor, MessageKind.CREDIT)
    )
    if account_id is None or account_id not in own:
        return ()
    return (MessageEntry(account_id=account_id, direction=direction, amount=instruction.instructed),)


def _kind(event: TransactionFinishedV1, entries: Iterable[MessageEntry], preferences: NotificationPreferences) -> MessageKind | None:
    """What the message tells of; None if the customer doesn't want to hear it."""
    if event.status is TransactionStatus.REJECTED:
        return MessageKind.REJECTED if MessageKind.REJECTED in preferences.kinds else None
    if event.status is TransactionStatus.REVERSED:
        return MessageKind.REVERSED if MessageKind.REVERSED in preferences.kinds else None
    told = {entry.direction for entry in entries if entry.direction in preferences.kinds and preferences.is_worth_telling(entry.amount)}
    return next((kind for kind in (MessageKind.DEBIT, MessageKind.CREDIT) if kind in told), None)


def parse_customer_id(value: str) -> str:
    """A customer's id: 1 to 64 characters, which need no quoting anywhere.

    Raises:
        InvalidInputError: anything else.
    """
    if not _CUSTOMER_ID.fullmatch(value):
        rule = "must be 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
        raise InvalidInputError(field="customer_id", value=value, rule=rule)
    return value


def is_email_address(text: str) -> bool:
    """Whether `text` is a plain address, which can end neither a header nor a command of SMTP, and names nobody else."""
    return len(text) <= _LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def check_webhook_url(url: str, *, allow_private: bool) -> str:
    """`url`, if it can be a webhook's. Where its host leads is checked at each delivery, since that may change.

    Args:
        url: absolute, of ASCII characters.
        allow_private: whether webhooks may go to private addresses, and so by plain http.

    Raises:
        InvalidInputError: it can't.
    """
    broken = next(_broken_url_rules(url, allow_private=allow_private), None)
    if broken is not None:
        raise InvalidInputError(field="webhook.url", value=url, rule=broken)
    return url


def _broken_url_rules(url: str, *, allow_private: bool) -> Iterator[str]:
    if len(url) > _LONGEST_URL or not _URL.fullmatch(url):
        yield f"must be a URL of up to {_LONGEST_URL} printable ASCII characters"
        return
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        yield "must be an absolute URL, such as https://example.org/hook"
        return
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        yield "must be https"
    if parts.username is not None or parts.password is not None or parts.fragment:
        yield "must have neither a user name, nor a password, nor a fragment"


def secret_key(secret: str) -> bytes:
    """The key that a webhook's secret stands for.

    Raises:
        ValueError: not ``whsec_`` and 24 to 64 bytes in base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        message = f"must be {SECRET_PREFIX} and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64"
        raise ValueError(message)
    return key


def after_rotation(known: Iterable[WebhookSecret], secret: str, *, now: dt.datetime) -> tuple[WebhookSecret, ...]:
    """A webhook's secrets once `secret` is the present one: what it replaces signs for another :data:`SECRET_OVERLAP`."""
    earlier = [known_one for known_one in known if known_one.secret != secret and (known_one.until is None or known_one.until > now)]
    return (
        WebhookSecret(secret=secret),
        *(
            known_one if known_one.until is not None else known_one.model_copy(update={"until": now + SECRET_OVERLAP})
            for known_one in earlier
        ),
    )
