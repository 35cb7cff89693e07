"""What customers are told: their preferences, the messages to them, and the replay of dead ones."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from ledger.deliveries import MessageStatus, StoredMessage
from ledger.ids import parse_transaction_id
from ledger.money import Money
from ledger.notifications import MAX_CUSTOMER_ACCOUNTS, Language, MessageKind, NotificationPreferences
from starter.api.answers import answer
from starter.api.models.fields import AccountId, Amount, Answer, Currency, DecimalText, Reason, StrictBody, Text
from starter.api.services import ReadsNotifications, UsesServices, WritesNotifications
from starter.api.standing_orders import LocalTime
from starter.notifications import MAX_PAGE_MESSAGES, WebhookWish

router = APIRouter(tags=["notifications"])

_CUSTOMER = "/v1/customers/{customer_id}/notifications"
_NO_PREFERENCES = answer(404, "The customer has no preferences.")


class WebhookBody(StrictBody):
    """Where webhooks go. They are signed as Standard Webhooks says."""

    url: str
    """https, at a public address."""
    secret: str | None = None
    """`whsec_` and 24 to 64 bytes in base64. Unless given, the present one stays; where there is none, one is made, and shown once."""
    new_secret: bool = False
    """Make one in any case. What it replaces signs for another day beside it."""


class QuietHoursBody(StrictBody):
    """A part of each day in which messages wait."""

    start: LocalTime
    end: LocalTime
    """The next day's, unless it is later than `start`."""
    time_zone: str
    """IANA name."""


class PreferencesBody(StrictBody):
    """What a customer wants to hear, and how. It replaces all that was set before."""

    accounts: Annotated[list[AccountId], Field(min_length=1, max_length=MAX_CUSTOMER_ACCOUNTS)]
    email: Text | None = None
    webhook: WebhookBody | None = None
    kinds: list[MessageKind] = Field(default_factory=lambda: list(MessageKind))
    minimum_amounts: dict[Currency, Amount] = Field(default_factory=dict)
    """By currency: smaller credits and debits are not told."""
    language: Language = Language.ENGLISH
    quiet_hours: QuietHoursBody | None = None
    urgent: bool = False
    """Whether rejections go out in quiet hours as well."""


class ReplayBody(StrictBody):
    """Why a message is sent again; recorded with who asks for it."""

    reason: Reason


class MessagesQuery(StrictBody):
    """Which messages."""

    status: MessageStatus | None = None
    customer_id: str | None = None
    limit: int = Field(default=100, ge=1, le=MAX_PAGE_MESSAGES, description="Messages of a page at most.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")


class WebhookView(Answer):
    """Where webhooks go."""

    url: str
    gone: bool
    """The endpoint has answered 410 Gone: nothing goes there until the preferences are set again."""
    secret: str | None
    """Where this call has made it; it can't be had again."""


class QuietHoursView(Answer):
    """A part of each day in which messages wait."""

    start: str
    end: str
    time_zone: str


class PreferencesView(Answer):
    """What a customer is told, and how."""

    customer_id: str
    enabled: bool
    accounts: list[str]
    email: str | None
    webhook: WebhookView | None
    kinds: list[MessageKind]
    minimum_amounts: dict[str, DecimalText]
    language: Language
    quiet_hours: QuietHoursView | None
    urgent: bool
    since: dt.datetime
    """What finished before is not told."""

    @classmethod
    def of(cls, preferences: NotificationPreferences, secret: str | None = None) -> PreferencesView:
        """The API's form of `preferences`."""
        quiet, url = preferences.quiet_hours, preferences.webhook_url
        return cls(
            **preferences.model_dump(include={"customer_id", "enabled", "email", "minimum_amounts", "language", "urgent", "since"}),
            accounts=list(preferences.accounts),
            kinds=[kind for kind in MessageKind if kind in preferences.kinds],
            webhook=WebhookView(url=url, gone=preferences.webhook_gone, secret=secret) if url is not None else None,
            quiet_hours=QuietHoursView(
                start=quiet.start.isoformat("minutes"), end=quiet.end.isoformat("minutes"), time_zone=quiet.time_zone
            )
            if quiet is not None
            else None,
        )


class MessageView(StoredMessage):
    """A message to a customer: where it goes and what became of it, not what it says."""

    @classmethod
    def of(cls, message: StoredMessage) -> MessageView:
        """The API's form of `message`."""
        return cls(**message.model_dump())


class MessagesView(Answer):
    """A page of messages, the oldest first."""

    notifications: list[MessageView]
    next_cursor: str | None
    """Of the next page; null when there are no more messages now."""


@router.put(_CUSTOMER)
async def set_preferences(
    customer_id: str, body: PreferencesBody, services: UsesServices, principal: WritesNotifications
) -> PreferencesView:
    """Say what a customer is told from now on, and how. What finished before is not told to a customer who was told nothing."""
    amounts = {
        currency: Money.parse(amount, currency, field=f"minimum_amounts.{currency}", currency_field="minimum_amounts").decimal_string
        for currency, amount in body.minimum_amounts.items()
    }
    wishes = {
        **body.model_dump(include={"email", "kinds", "language", "quiet_hours", "urgent"}),
        "accounts": list(dict.fromkeys(body.accounts)),
        "minimum_amounts": amounts,
    }
    webhook = WebhookWish(**body.webhook.model_dump()) if body.webhook is not None else None
    preferences, secret = await services.notifications.set(principal.tenant, customer_id, wishes, webhook, by=principal.name)
    return PreferencesView.of(preferences, secret)


@router.get(_CUSTOMER, responses=_NO_PREFERENCES)
async def read_preferences(customer_id: str, services: UsesServices, principal: ReadsNotifications) -> PreferencesView:
    """What a customer is told, and how. The webhook's secret is not shown."""
    return PreferencesView.of(await services.notifications.get(principal.tenant, customer_id))


@router.delete(_CUSTOMER, responses=_NO_PREFERENCES)
async def disable_preferences(customer_id: str, services: UsesServices, principal: WritesNotifications) -> PreferencesView:
    """Tell a customer nothing more, until preferences are set again. Messages that wait are not delivered."""
    return PreferencesView.of(await services.notifications.disable(principal.tenant, customer_id, by=principal.name))


@router.get("/v1/notifications")
async def list_messages(query: Annotated[MessagesQuery, Query()], services: UsesServices, principal: ReadsNotifications) -> MessagesView:
    """Messages to the tenant's customers, the oldest first."""
    page = await services.notifications.page(
        principal.tenant, status=query.status, customer_id=query.customer_id, cursor=query.cursor, limit=query.limit
    )
    return MessagesView(notifications=[MessageView.of(message) for message in page.messages], next_cursor=page.next_cursor)


@router.post(
    "/v1/notifications/{message_id}/replay",
    responses=answer(404, "The tenant has no such message.") | answer(409, "The message is not dead (`message-not-dead`)."),
)
async def replay(message_id: str, body: ReplayBody, services: UsesServices, principal: WritesNotifications) -> MessageView:
    """Have a dead message sent again, under the same id. Who asked for it, and why, is recorded."""
    identifier = parse_transaction_id(message_id, field="message_id")
    return MessageView.of(await services.notifications.replay(principal.tenant, identifier, by=principal.name, reason=body.reason))
