"""The one way to say what customers are told, and to look after the messages to them."""

from __future__ import annotations

import base64
import datetime as dt
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from ledger.accounts import AccountKind
from ledger.cursors import cursor_behind, position_of
from ledger.errors import InvalidInputError, NotFoundError, UnknownAccountError
from ledger.ids import parse_account_id
from ledger.notifications import SECRET_PREFIX, NotificationPreferences, after_rotation, check_webhook_url, parse_customer_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.postgres.accounts import PostgresAccounts
    from infra.postgres.notification_messages import PostgresMessages
    from infra.postgres.notification_preferences import PostgresNotificationPreferences
    from ledger.deliveries import MessageStatus, StoredMessage
    from ledger.notifications import WebhookSecret

MAX_PAGE_MESSAGES: Final = 500
_SECRET_BYTES: Final = 32
_CURSOR_RULE: Final = "must be next_cursor of a page of notifications, as it was given"


@dataclass(frozen=True)
class WebhookWish:
    """Where a customer's webhooks go, and what signs them."""

    url: str
    secret: str | None
    """The customer's own; None: the present one stays, and where there is none, one is made."""
    new_secret: bool
    """Make one in any case."""


@dataclass(frozen=True)
class MessagePage:
    """Some messages, the oldest first."""

    messages: tuple[StoredMessage, ...]
    next_cursor: str | None
    """Of the next page; None: there are no more now."""


class NotificationDesk:
    """Takes customers' wishes, and operators' orders."""

    def __init__(
        self, preferences: PostgresNotificationPreferences, messages: PostgresMessages, accounts: PostgresAccounts, *, allow_private: bool
    ) -> None:
        """Take what it works with.

        Args:
            preferences: the table of them.
            messages: the table of them.
            accounts: that customers may name.
            allow_private: whether webhooks may go to private addresses, and there by plain http.
        """
        self._preferences = preferences
        self._messages = messages
        self._accounts = accounts
        self._allow_private = allow_private

    async def set(
        self, tenant: str, customer_id: str, wishes: Mapping[str, Any], webhook: WebhookWish | None, *, by: str
    ) -> tuple[NotificationPreferences, str | None]:
        """Have a customer told what he wishes, from now on.

        Args:
            tenant: whose customer he is.
            customer_id: his id.
            wishes: fields of :class:`ledger.notifications.NotificationPreferences`, but for those of webhooks.
            webhook: None: he has none.
            by: who asks for it.

        Returns:
            The preferences, and a secret that was made for them, which can't be had again.

        Raises:
            InvalidInputError: a field breaks a rule.
            UnknownAccountError: an account doesn't exist, or is the bank's own.
            UnavailableError: the outcome is unknown; set them again.
        """
        parse_customer_id(customer_id)
        await self._check_accounts(tenant, wishes["accounts"])
        if webhook is not None:
            check_webhook_url(webhook.url, allow_private=self._allow_private)
        now = dt.datetime.now(dt.UTC)
        made = f"{SECRET_PREFIX}{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode('ascii')}"

        def wanted(known: NotificationPreferences | None) -> NotificationPreferences:
            since = known.since if known is not None and known.enabled else now
            values = {**wishes, "tenant": tenant, "customer_id": customer_id, "since": since}
            if webhook is not None:
                known_secrets = known.webhook_secrets if known is not None else ()
                values |= {"webhook_url": webhook.url, "webhook_secrets": _secrets_of(webhook, known_secrets, made, now)}
            try:
                return NotificationPreferences.model_validate(values)
            except ValidationError as error:
                raise _invalid(error) from None

        preferences = await self._preferences.set(tenant, customer_id, wanted, by=by, now=now)
        is_new = any(secret.secret == made for secret in preferences.webhook_secrets)
        return preferences, made if is_new else None

    async def get(self, tenant: str, customer_id: str) -> NotificationPreferences:
        """A customer's preferences.

        Raises:
            NotFoundError: the customer has none.
            UnavailableError: PostgreSQL did not answer.
        """
        found = await self._preferences.get(tenant, parse_customer_id(customer_id))
        if found is None:
            raise NotFoundError(kind="notification preferences of customer", identifier=customer_id)
        return found

    async def disable(self, tenant: str, customer_id: str, *, by: str) -> NotificationPreferences:
        """Tell a customer nothing more, until preferences are set again.

        Raises:
            NotFoundError: the customer has none.
            UnavailableError: the outcome is unknown; disable them again.
        """
        return await self._preferences.disable(tenant, parse_customer_id(customer_id), by=by, now=dt.datetime.now(dt.UTC))

    async def page(
        self, tenant: str, *, status: MessageStatus | None, customer_id: str | None, cursor: str | None, limit: int
    ) -> MessagePage:
        """Messages of a tenant, the oldest first.

        Raises:
            InvalidInputError: the cursor is none.
            UnavailableError: PostgreSQL did not answer.
        """
        after = position_of(cursor, _CURSOR_RULE) if cursor is not None else None
        found = await self._messages.page(tenant, status=status, customer_id=customer_id, after=after, at_most=limit + 1)
        messages = found[:limit]
        return MessagePage(messages, cursor_behind(messages[-1].created_at, messages[-1].message_id) if len(found) > limit else None)

    async def replay(self, tenant: str, message_id: str, *, by: str, reason: str) -> StoredMessage:
        """Have a dead message sent again.

        Raises:
            NotFoundError: the tenant has no such message.
            MessageNotDeadError: it is delivered, or waits already.
            UnavailableError: the outcome is unknown; ask again.
        """
        return await self._messages.replay(tenant, message_id, by=by, reason=reason, now=dt.datetime.now(dt.UTC))

    async def _check_accounts(self, tenant: str, account_ids: list[str]) -> None:
        for account_id in account_ids:
            parse_account_id(account_id, field="accounts")
        known = await self._accounts.get_many(tenant, account_ids)
        for account_id in account_ids:
            account = known.get(account_id)
            if account is None or account.kind is AccountKind.INTERNAL:
                raise UnknownAccountError(field="accounts", account_id=account_id)


def _secrets_of(
    webhook: WebhookWish, known: tuple[WebhookSecret, ...], made: str, now: dt.datetime
) -> tuple[WebhookSecret, ...] | list[dict[str, str]]:
    if webhook.secret is None and not webhook.new_secret and known:
        return known
    try:
        return after_rotation(known, webhook.secret if webhook.secret is not None else made, now=now)
    except ValidationError as error:
        found = error.errors()[0]
        raise InvalidInputError(field="webhook.secret", value=None, rule=_rule(found["msg"])) from None


def _invalid(error: ValidationError) -> InvalidInputError:
    found = error.errors()[0]
    field = ".".join(str(part) for part in found["loc"])
    return InvalidInputError(field=field or "email", value=found.get("input") if field else None, rule=_rule(found["msg"]))


def _rule(message: str) -> str:
    return message.removeprefix("Value error, ")
