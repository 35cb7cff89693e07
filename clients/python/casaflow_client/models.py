"""The models of requests and answers, made of the API's OpenAPI document by ``clients/python/generate.py``."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, RootModel, StringConstraints

from casaflow_client.answers import Model


class Account(Model):
    """
    An account.
    """

    account_id: str
    currency: str
    kind: str
    status: str
    overdraft_limit: Decimal
    minimum_balance: Decimal
    maximum_balance: Decimal | None
    transaction_limit: Decimal | None
    daily_limit: Decimal | None
    monthly_limit: Decimal | None
    time_zone: str
    opened_at: AwareDatetime


class AccountKind(RootModel[Literal["current", "savings", "internal"]]):
    root: Literal["current", "savings", "internal"]
    """
    What an account is for. Internal accounts belong to the bank and can't be debtor or creditor of a request.
    """


class AccountRequest(Model):
    """
    A new account. Rules that are not given are as if there were none.
    """

    overdraft_limit: Decimal | None = Decimal("0")
    """
    In major units.
    """
    minimum_balance: Decimal | None = Decimal("0")
    """
    In major units.
    """
    maximum_balance: Decimal | None = None
    transaction_limit: Decimal | None = None
    daily_limit: Decimal | None = None
    monthly_limit: Decimal | None = None
    time_zone: str | None = "UTC"
    account_id: str
    currency: str
    kind: Literal["current", "savings"] | None = "current"


class AccountStatus(RootModel[Literal["active", "debit-frozen", "credit-frozen", "frozen", "dormant", "closed"]]):
    root: Literal["active", "debit-frozen", "credit-frozen", "frozen", "dormant", "closed"]
    """
    What an account may take part in.
    """


class Accounts(Model):
    """
    A page of accounts, in the order of their ids.
    """

    next_cursor: str | None
    accounts: list[Account]


class AdministrativeAct(Model):
    """
    What somebody did who looks after accounts, keys, transactions or servers.
    """

    act_id: str
    at: AwareDatetime
    tenant: str | None
    by: str
    key_id: str | None
    address: str | None
    action: str
    subject: str
    detail: dict[str, Any]


class Amount(Model):
    """
    Money as events carry it: a decimal string in major units, and an ISO 4217 code.
    """

    value: str
    """
    In major units, with as many decimals as the currency has. Negative for an overdrawn balance only.
    """
    currency: str
    """
    ISO 4217.
    """


class Balance(Model):
    """
    A balance at one instant; amounts in major units of the account's currency.
    """

    account_id: str
    currency: str
    ledger: Decimal
    held: Decimal | None = None
    available: Decimal | None = None
    offline: Decimal
    online: Decimal
    as_of: AwareDatetime
    value_date: date | None = None
    settled: bool | None = None


class CaptureRequest(Model):
    """
    A capture: of all that the hold still holds, unless an amount is given.
    """

    transaction_id: UUID | None = None
    creditor: str | None = None
    amount: Decimal | None = None
    """
    A part, in the currency of the hold.
    """
    releases_hold: bool | None = True
    """
    Release what is left afterwards; false: keep it for further captures.
    """
    settlement: Literal["cash", "clearing"] | None = "cash"
    reference: str | None = None
    remittance_information: str | None = None
    value_date: date | None = None
    metadata: Annotated[dict[str, str] | None, Field(max_length=50)] = None


class ChangeRequest(Model):
    """
    Why a standing order is changed; recorded with who changes it.
    """

    reason: str | None = None


class ClosedStatement(Model):
    """
    A closed statement: opening balance + credited - debited = closing balance. It never changes.
    """

    number: int
    since: AwareDatetime
    until: AwareDatetime
    opening_balance: Decimal
    credited: Decimal
    debited: Decimal
    closing_balance: Decimal
    lines: int
    closed_at: AwareDatetime


class Conversion(Model):
    """
    The rate that a transaction used, and what it did with it.
    """

    quote_id: str
    base: str
    quote: str
    rate: Decimal
    source: str
    as_of: date
    source_amount: Decimal
    target_amount: Decimal
    rounding: str
    residual: Decimal


class Creditor(Model):
    """
    One of several creditors, and what it gets.
    """

    creditor: str
    amount: Decimal


class CreditorRequest(Model):
    """
    One of several creditors, and what it gets.
    """

    creditor: str
    amount: Decimal
    """
    In major units.
    """


class CurrentStatement(Model):
    """
    What came after the last closed statement, as far as it has arrived: within seconds.
    """

    since: AwareDatetime | None
    opening_balance: Decimal
    credited: Decimal
    debited: Decimal
    closing_balance: Decimal
    lines: int


class Debtor(Model):
    """
    One of several accounts that a reversal takes from, and how much.
    """

    debtor: str
    amount: Decimal


class DecisionRequest(Model):
    """
    What whoever approves, declines or cancels a transaction says about it; recorded with who it was.
    """

    reason: str | None = None


class DocumentFormat(RootModel[Literal["json", "csv", "pdf", "camt.053"]]):
    root: Literal["json", "csv", "pdf", "camt.053"]
    """
    What a statement may be written as, beside the pages in JSON.
    """


class Due(Model):
    """
    A due date to come.
    """

    due_date: date
    at: AwareDatetime


class EndedSecond(Model):
    """
    What ended in one second. A second in which nothing ended is left out.
    """

    at: AwareDatetime
    completed: int
    rejected: int
    reversed: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class EntryTotal(Model):
    """
    Legs that were posted in one hour or day; it has the dimensions that were asked for, and no others.
    """

    at: AwareDatetime
    currency: str | None = None
    kind: str | None = None
    leg: str | None = None
    direction: str | None = None
    band: str | None = None
    balance_band: str | None = None
    entries: int
    amount: Amount | None = None


class EventType(Model):
    """
    A type of events.
    """

    type: str
    topic: str
    key: str
    description: str
    data_schema: str


class EventTypes(Model):
    """
    All types of events.
    """

    event_types: list[EventType]


class FileChangeRequest(Model):
    """
    Why a file is paused, resumed or cancelled; recorded with who does it.
    """

    reason: str | None = None


class FileProblem(Model):
    """
    Why a file can't be posted.
    """

    place: str
    field: str
    value: str
    rule: str


class FileReason(Model):
    """
    Why a file, or a line of one, was rejected.
    """

    code: str
    detail: str


class FreezeRequest(Model):
    """
    What a freeze refuses from now on.
    """

    side: Literal["debits", "credits", "both"] | None = "both"


class GroupLag(Model):
    """
    What a group has still to do.
    """

    group: str
    records: int
    failed: int | None = 0
    waiting: int | None = 0
    unreadable: int | None = 0


class HoldRequest(Model):
    """
    Money to set aside on an account.
    """

    hold_id: UUID | None = None
    account_id: str
    amount: Decimal
    """
    In major units.
    """
    currency: str
    expires_at: AwareDatetime
    reference: str | None = None


class HoldStatus(RootModel[Literal["open", "captured", "voided", "expired", "refused"]]):
    root: Literal["open", "captured", "voided", "expired", "refused"]
    """
    Exactly one of these; only an open hold holds anything.
    """


class Key(Model):
    """
    A key, without its secret.
    """

    key_id: str
    principal: str
    scopes: list[str]
    state: str
    created_at: AwareDatetime
    created_by: str | None
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    rotated_from: str | None


class Keys(Model):
    """
    A page of keys, the newest first.
    """

    keys: list[Key]
    next_cursor: str | None


class Liveness(Model):
    """
    The process is there.
    """

    status: Literal["alive"] = "alive"


class MadeKey(Model):
    """
    A new key, with what is shown this once.
    """

    key_id: str
    principal: str
    scopes: list[str]
    state: str
    created_at: AwareDatetime
    created_by: str | None
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    rotated_from: str | None
    key: str


class Money(Model):
    """
    An amount with its currency.
    """

    amount: Decimal
    currency: str


class MoneyRequest(Model):
    """
    An amount with its currency.
    """

    amount: Decimal
    """
    In major units.
    """
    currency: str


class OperatorAction(Model):
    """
    What an operator did with a transaction that waited for one.
    """

    action: str
    by: str
    reason: str | None
    at: AwareDatetime
    detail: dict[str, str]


class OrderRetryRequest(Model):
    """
    Try a refused transaction again.
    """

    retry_until: int
    every: int | None = 1


class Outbox(Model):
    """
    What waits to be published, of all tenants.
    """

    events: int
    oldest_seconds: float


class Override(Model):
    """
    Who said that limits and balance of the debtor are not to count, and why.
    """

    by: str
    reason: str


class OverrideRequest(Model):
    """
    An operator's word that limits and balance of the debtor are not to count; recorded with who gave it.
    """

    reason: str


class QuietHours(Model):
    """
    A part of each day in which messages wait.
    """

    start: str
    end: str
    time_zone: str


class QuietHoursRequest(Model):
    """
    A part of each day in which messages wait.
    """

    start: str
    end: str
    time_zone: str


class Rate(Model):
    """
    An exchange rate: one unit of `base` buys `rate` units of `quote`.
    """

    quote_id: str
    base: str
    quote: str
    rate: Decimal
    source: str
    as_of: date


class Readiness(Model):
    """
    What the process needs, and whether it has it.
    """

    status: Literal["ready", "not ready"]
    parts: dict[str, str]


class Reason(Model):
    """
    Why something was refused.
    """

    code: str
    detail: str


class ReplayRequest(Model):
    """
    Why a message is sent again; recorded with who asks for it.
    """

    reason: str


class Retry(Model):
    """
    How a refused transaction is tried again; hours.
    """

    retry_until: int
    every: int


class RetryRequest(Model):
    """
    Another try of a parked transaction.
    """

    reason: str


class ReversalRequest(Model):
    """
    A reversal: of all that is left of the transaction, unless an amount is given. Of a parked one `reason` alone, which it needs.
    """

    reason: str | None = None
    """
    Why a parked transaction is reversed; recorded with who asks.
    """
    transaction_id: UUID | None = None
    amount: Decimal | None = None
    """
    A part, in the transaction's currency.
    """
    reference: str | None = None
    override: OverrideRequest | None = None


class RotationRequest(Model):
    """
    How a key is to be rotated.
    """

    overlap_seconds: int | None = 86400
    expires_at: str | None = None


class RulesRequest(Model):
    """
    Rules of an account: what is not given stays as it is.
    """

    overdraft_limit: Decimal | None = Decimal("0")
    """
    In major units.
    """
    minimum_balance: Decimal | None = Decimal("0")
    """
    In major units.
    """
    maximum_balance: Decimal | None = None
    transaction_limit: Decimal | None = None
    daily_limit: Decimal | None = None
    monthly_limit: Decimal | None = None
    time_zone: str | None = "UTC"


class Run(Model):
    """
    One attempt at one due date.
    """

    due_date: date
    attempt: int
    transaction_id: str
    outcome: str | None
    reason: Reason | None
    started_at: AwareDatetime
    finished_at: AwareDatetime | None


class Schedule(Model):
    """
    When a standing order is due.
    """

    frequency: Literal["daily", "weekly", "monthly", "quarterly", "yearly"]
    """
    How often a standing order is due.
    """
    day: int | None
    time: str
    time_zone: str
    start_date: date
    end_date: date | None
    count: int | None
    calendar: Literal["none", "following", "preceding"]
    """
    Where a date goes that is no business day.
    """
    holidays: Literal["target2", "weekends"]
    """
    Which days are no business days.
    """


class ScheduleRequest(Model):
    """
    When a standing order is due.
    """

    frequency: Literal["daily", "weekly", "monthly", "quarterly", "yearly"]
    """
    How often a standing order is due.
    """
    day: int | None = None
    time: str | None = None
    time_zone: str
    start_date: date
    end_date: date | None = None
    count: int | None = None
    calendar: Literal["none", "following", "preceding"] | None = "none"
    """
    Where a date goes that is no business day.
    """
    holidays: Literal["target2", "weekends"] | None = "target2"
    """
    Which days are no business days.
    """


class SearchOrder(RootModel[Literal["newest-first", "oldest-first"]]):
    root: Literal["newest-first", "oldest-first"]
    """
    Which one comes first.
    """


class SettlementRequest(Model):
    """
    Another account that gets the money of a parked transfer.
    """

    creditor: str
    reason: str


class StackPart(Model):
    """
    One part of the embedded stack, as its supervisor sees it.
    """

    name: str
    health: str
    pid: int | None
    restarts: int
    detail: str


class Standing(Model):
    """
    The tenant's transactions that Temporal carries now.
    """

    carried: int
    parked: int
    waiting_for_approval: int
    waiting_for_date: int


class StandingOrder(Model):
    """
    A standing order as it stands.
    """

    order_id: str
    status: Literal["active", "paused", "completed", "cancelled", "stopped"]
    """
    Exactly one of these; the last three are final.
    """
    debtor: str
    creditor: str
    amount: Decimal
    currency: str
    reference: str | None
    remittance_information: str | None
    schedule: Schedule
    on_refusal: Literal["skip", "stop"] | Retry
    next_due: list[Due]
    created_by: str
    created_at: AwareDatetime
    runs: list[Run] | None = None


class StandingOrderRequest(Model):
    """
    A new standing order.
    """

    order_id: UUID | None = None
    debtor: str
    creditor: str
    amount: Decimal
    """
    In major units.
    """
    currency: str
    reference: str | None = None
    remittance_information: str | None = None
    schedule: ScheduleRequest
    on_refusal: Annotated[Literal["skip", "stop"] | OrderRetryRequest | None, Field(validate_default=True)] = "skip"


class StandingOrders(Model):
    """
    A page of standing orders, the oldest first.
    """

    orders: list[StandingOrder]
    next_cursor: str | None


class StatementLine(Model):
    """
    One line of a statement; amounts in major units of the account's currency.
    """

    booked_at: AwareDatetime
    value_date: date
    direction: Literal["credit", "debit"]
    """
    Which way the money went, seen from the account.
    """
    amount: Decimal
    currency: str
    ledger_balance_after: Decimal
    settled: bool
    transaction_id: str
    leg: str
    version: int | None
    counterparty: str | None
    reference: str | None
    remittance_information: str | None


class StatementList(Model):
    """
    An account's statements, the newest first.
    """

    account_id: str
    currency: str
    current: CurrentStatement
    closed: list[ClosedStatement]
    next_before: int | None


class Throughput(Model):
    """
    The transactions that were submitted within a window, and of which something is recorded.
    """

    until: AwareDatetime
    window_seconds: int
    completed: int
    rejected: int
    reversed: int
    open: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    truncated: bool
    seconds: list[EndedSecond]


class TransactionTotal(Model):
    """
    Transactions that ended in one hour or day; it has the dimensions that were asked for, and no others.
    """

    at: AwareDatetime
    currency: str | None = None
    kind: str | None = None
    outcome: str | None = None
    reason: str | None = None
    band: str | None = None
    transactions: int
    amount: Amount | None = None


class WebUi(Model):
    """
    Links into Temporal's Web UI. What stands in braces is to be replaced, percent-encoded.
    """

    transaction: str
    run: str
    views: dict[str, str]


class Webhook(Model):
    """
    Where webhooks go.
    """

    url: str
    gone: bool
    secret: str | None


class WebhookRequest(Model):
    """
    Where webhooks go. They are signed as Standard Webhooks says.
    """

    url: str
    secret: str | None = None
    new_secret: bool | None = False


class WorkflowState(Model):
    """
    The workflow that carries, or carried, a transaction, as it stands.
    """

    workflow_id: str
    run_id: str
    status: str
    shows: str | None = None
    waits_for: str | None = None


class WrongField(Model):
    """
    A field that breaks a rule.
    """

    field: str
    value: Any
    rule: str


class Acts(Model):
    """
    A page of administrative acts, the newest first.
    """

    acts: list[AdministrativeAct]
    next_cursor: str | None


class Approval(Model):
    """
    The approval that a transaction needs, or needed.
    """

    before: Literal["posting", "credit"]
    """
    What has to wait for the approval.
    """
    expires_at: AwareDatetime


class ApprovalRequest(Model):
    """
    A wish for a second person's approval. What the bank's thresholds demand it can't take away.
    """

    required: Literal[True] = True
    expires_in: timedelta | None = None
    """
    How long it is waited for; unless given, as the bank's setting says.
    """
    before: Literal["posting", "credit"] | None = "posting"
    """
    `credit`: the debit of a transfer is posted at once, its credit waits, and he gets it back if nobody approves.
    """


class EntryChart(Model):
    """
    Totals of posted legs, by time and then by dimensions. Where nothing was counted there is no row.
    """

    from_: Annotated[AwareDatetime, Field(alias="from")]
    to: AwareDatetime
    per: Literal["hour", "day"]
    """
    What one row of a chart is about.
    """
    time_zone: str
    rows: list[EntryTotal]


class File(Model):
    """
    A payment file as it stands.
    """

    file_id: str
    status: Literal["validating", "posting", "completed", "rejected", "cancelled"]
    """
    Exactly one of these; the first two are not final.
    """
    mode: Literal["best-effort", "atomic"]
    """
    What a refused line does to the others.
    """
    paused: bool
    media_type: str
    size: int
    content_hash: str
    message_id: str | None
    header: dict[str, str]
    lines: int
    completed: int
    rejected: int
    problem_count: int
    problems: list[FileProblem]
    reason: FileReason | None
    submitted_by: str
    submitted_at: AwareDatetime
    finished_at: AwareDatetime | None


class FileLine(Model):
    """
    A line with what became of it.
    """

    number: int
    place: str
    transaction_id: str
    debtor: str | None
    creditor: str | None
    amount: Decimal
    currency: str
    end_to_end_id: str | None
    reference: str | None
    status: Literal["pending", "completed", "rejected"]
    reason: FileReason | None


class FileLines(Model):
    """
    A page of lines, in the order of the file.
    """

    lines: list[FileLine]
    next_after: int | None


class Files(Model):
    """
    A page of files, the newest first.
    """

    files: list[File]
    next_cursor: str | None


class Hold(Model):
    """
    A hold as it stands; amounts in major units of its currency.
    """

    hold_id: str
    account_id: str
    amount: Decimal
    captured: Decimal
    remaining: Decimal
    currency: str
    status: str
    reason: Reason | None
    reference: str | None
    created_at: AwareDatetime
    expires_at: AwareDatetime
    closed_at: AwareDatetime | None


class Holds(Model):
    """
    A page of holds.
    """

    next_cursor: str | None
    holds: list[Hold]


class KeyRequest(Model):
    """
    A key that is to be made.
    """

    principal: str
    scopes: list[
        Literal[
            "all",
            "standard",
            "read",
            "accounts:read",
            "accounts:write",
            "transactions:read",
            "transactions:write",
            "transactions:approve",
            "transactions:override",
            "transactions:operate",
            "holds:write",
            "standing-orders:write",
            "notifications:read",
            "notifications:write",
            "files:write",
            "events:read",
            "mis:read",
            "admin",
            "payloads",
        ]
    ]
    expires_at: str | None = None


class Leg(Model):
    """
    One leg as it was decided.
    """

    leg: str
    account_id: str
    outcome: str
    amount: Decimal
    currency: str
    value_date: date
    decided_at: AwareDatetime
    version: int | None = None
    ledger_balance_after: Decimal | None = None
    available_balance_after: Decimal | None = None
    reason: Reason | None = None


class Message(Model):
    """
    A message to a customer: where it goes and what became of it, not what it says.
    """

    message_id: str
    event_id: str
    transaction_id: str
    customer_id: str
    channel: Literal["email", "webhook"]
    """
    How a customer is reached.
    """
    kind: Literal["credit", "debit", "rejected", "reversed"]
    """
    What a message tells of.
    """
    address: str
    subject: str
    status: Literal["waiting", "delivered", "dead"]
    """
    How a message stands.
    """
    attempts: int
    not_before: AwareDatetime
    last_error: str | None
    created_at: AwareDatetime
    delivered_at: AwareDatetime | None


class Messages(Model):
    """
    A page of messages, the oldest first.
    """

    notifications: list[Message]
    next_cursor: str | None


class Moment(Model):
    """
    One line of the story.
    """

    at: AwareDatetime
    part: Literal["request", "workflow", "operator", "rate", "decision", "entry", "event", "result", "published", "consumer"]
    """
    Who tells of a moment. Of what happened at the same instant, the part that stands first here comes first.
    """
    what: str
    detail: dict[str, str | int | None] | None = {}


class Preferences(Model):
    """
    What a customer is told, and how.
    """

    customer_id: str
    enabled: bool
    accounts: list[str]
    email: str | None
    webhook: Webhook | None
    kinds: list[Literal["credit", "debit", "rejected", "reversed"]]
    minimum_amounts: dict[str, Decimal]
    language: Literal["en", "cs"]
    """
    Of the texts; each has a set of templates.
    """
    quiet_hours: QuietHours | None
    urgent: bool
    since: AwareDatetime


class PreferencesRequest(Model):
    """
    What a customer wants to hear, and how. It replaces all that was set before.
    """

    accounts: list[str]
    email: str | None = None
    webhook: WebhookRequest | None = None
    kinds: list[Literal["credit", "debit", "rejected", "reversed"]] | None = None
    minimum_amounts: dict[Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")], Decimal] | None = None
    language: Literal["en", "cs"] | None = "en"
    """
    Of the texts; each has a set of templates.
    """
    quiet_hours: QuietHoursRequest | None = None
    urgent: bool | None = False


class Problem(Model):
    """
    What went wrong, by RFC 9457.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[WrongField] | None = None


class Refusal(Model):
    """
    Why something was refused: a stable code for programs, a detail for people, and the account that it is about, if any.
    """

    code: Literal[
        "cancelled",
        "abandoned",
        "declined",
        "approval-expired",
        "rate-unavailable",
        "rate-too-old",
        "conversion-rounds-to-zero",
        "conversion-too-large",
        "account-closed",
        "account-frozen",
        "account-debit-frozen",
        "account-credit-frozen",
        "account-dormant",
        "hold-unknown",
        "hold-closed",
        "hold-expired",
        "hold-exceeded",
        "not-reversible",
        "reversal-exceeds-original",
        "transaction-limit",
        "daily-limit",
        "monthly-limit",
        "insufficient-funds",
        "minimum-balance",
        "maximum-balance",
        "reversed-by-operator",
    ]
    """
    Stable codes of business refusals, in order of precedence.
    """
    detail: str
    account_id: str | None = None


class Statement(Model):
    """
    A page of lines without a gap between them: opening balance + credits - debits = closing balance.
    """

    account_id: str
    currency: str
    order: Literal["oldest-first", "newest-first"]
    """
    Which line comes first.
    """
    opening_balance: Decimal
    closing_balance: Decimal
    settled_until: AwareDatetime | None
    lines: list[StatementLine]
    next_cursor: str | None


class System(Model):
    """
    What an operator looks at first. What a part that doesn't answer would have told is null.
    """

    tenant: str
    principal: str
    scopes: list[str]
    parts: dict[str, str]
    throughput: Throughput | None
    standing: Standing | None
    outbox: Outbox | None
    groups: list[GroupLag] | None
    web_ui: WebUi | None
    stack: list[StackPart] | None


class TransactionChart(Model):
    """
    Totals of finished transactions, by time and then by dimensions. Where nothing was counted there is no row.
    """

    from_: Annotated[AwareDatetime, Field(alias="from")]
    to: AwareDatetime
    per: Literal["hour", "day"]
    """
    What one row of a chart is about.
    """
    time_zone: str
    rows: list[TransactionTotal]


class TransactionRequest(Model):
    """
    A transaction: a debtor, a creditor, or both. With a fee, several creditors or `balancing` all of it is posted, or nothing.
    """

    transaction_id: UUID | None = None
    debtor: str | None = None
    creditor: str | None = None
    creditors: list[CreditorRequest] | None = None
    """
    Several creditors instead of one; their amounts, in `currency`, sum to `amount`.
    """
    amount: Decimal
    """
    In major units.
    """
    currency: str
    fee: MoneyRequest | None = None
    """
    What the debtor pays the bank on top, in the debtor's currency.
    """
    balancing: bool | None = False
    """
    Take up to `amount`, as far as the debtor's available balance goes.
    """
    override: OverrideRequest | None = None
    settlement: Literal["cash", "clearing"] | None = "cash"
    reference: str | None = None
    remittance_information: str | None = None
    value_date: date | None = None
    approval: ApprovalRequest | None = None
    requested_execution_date: date | None = None
    """
    ISO 20022 ReqdExctnDt: nothing is posted before this day begins in the bank's time zone.
    """
    metadata: Annotated[dict[str, str] | None, Field(max_length=50)] = None


class Waiting(Model):
    """
    What a transaction waits for, and until when: then an approval expires, and an execution date begins.
    """

    what: Literal["approval", "execution-date"]
    """
    What a transaction can wait for.
    """
    until: AwareDatetime


class BatchRequest(Model):
    """
    Transactions that have nothing to do with each other.
    """

    transactions: list[TransactionRequest]


class ClosedStatementPage(Model):
    """
    A closed statement, and a page of its lines.
    """

    statement: ClosedStatement
    page: Statement


class Explanation(Model):
    """
    A transaction from the request to the last consumer.
    """

    transaction_id: str
    status: Literal["processing", "completed", "rejected", "reversed", "parked"]
    """
    Exactly one of these; `processing` and `parked` are not final.
    """
    reason: Refusal | None = None
    reversed_by: list[str] | None = []
    workflow: WorkflowState | None = None
    gaps: list[str] | None = []
    timeline: Annotated[list[Moment] | None, Field(validate_default=True)] = []


class Transaction(Model):
    """
    A transaction: how it stands, its legs, and what was asked.
    """

    transaction_id: str
    status: Literal["processing", "completed", "rejected", "reversed", "parked"]
    """
    Exactly one of these; `processing` and `parked` are not final.
    """
    reason: Reason | None = None
    waiting_for: Waiting | None = None
    legs: list[Leg]
    rate: Conversion | None = None
    kind: Literal["deposit", "withdrawal", "transfer"] | None = None
    debtor: str | None = None
    creditor: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    creditors: list[Creditor] | None = None
    debtors: list[Debtor] | None = None
    fee: Money | None = None
    balancing: bool | None = None
    override: Override | None = None
    hold_id: str | None = None
    releases_hold: bool | None = None
    reverses: str | None = None
    reversed_amount: Decimal | None = None
    settlement: str | None = None
    reference: str | None = None
    remittance_information: str | None = None
    value_date: date | None = None
    approval: Approval | None = None
    requested_execution_date: date | None = None
    metadata: dict[str, str] | None = None
    submitted_by: str | None = None
    submitted_at: AwareDatetime | None = None
    operator_actions: list[OperatorAction] | None = None


class Transactions(Model):
    """
    A page of transactions.
    """

    next_cursor: str | None
    transactions: list[Transaction]


class Attention(Model):
    """
    Transactions that don't go on by themselves now: parked, or waiting for an approval or their day.
    """

    transactions: list[Transaction]
    complete: bool


class BatchResult(Model):
    """
    What one of the transactions would have been answered with by itself.
    """

    status: int
    transaction: Transaction | None = None
    problem: Problem | None = None


class Batch(Model):
    """
    One result for each transaction, in their order.
    """

    results: list[BatchResult]
