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
    """
    The account's id, an IBAN or another name.
    """
    currency: str
    """
    ISO 4217 code.
    """
    kind: str
    """
    `current` or `savings`.
    """
    status: str
    """
    How it stands.
    """
    overdraft_limit: Decimal
    """
    How far below zero the ledger balance may go.
    """
    minimum_balance: Decimal
    """
    What a debit must leave available.
    """
    maximum_balance: Decimal | None
    """
    What a credit may bring the ledger balance to; null: no limit.
    """
    transaction_limit: Decimal | None
    """
    What one debit may take; null: no limit.
    """
    daily_limit: Decimal | None
    """
    What the debits and holds of one day may take together; null: no limit.
    """
    monthly_limit: Decimal | None
    """
    What the debits and holds of one calendar month may take together; null: no limit.
    """
    time_zone: str
    """
    IANA name; days and months of the limits begin at its midnight.
    """
    opened_at: AwareDatetime
    """
    When the account was opened.
    """


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
    How far below zero the ledger balance may go.
    """
    minimum_balance: Decimal | None = Decimal("0")
    """
    What a debit must leave available.
    """
    maximum_balance: Decimal | None = None
    """
    What a credit may bring the ledger balance to.
    """
    transaction_limit: Decimal | None = None
    """
    What one debit may take.
    """
    daily_limit: Decimal | None = None
    """
    What the debits and holds of one day may take together.
    """
    monthly_limit: Decimal | None = None
    """
    What the debits and holds of one calendar month may take together.
    """
    time_zone: str | None = "UTC"
    """
    IANA name; days and months of the limits begin at its midnight.
    """
    account_id: str
    """
    The account's id, an IBAN or another name.
    """
    currency: str
    """
    ISO 4217 code.
    """
    kind: Literal["current", "savings"] | None = "current"
    """
    `current` or `savings`.
    """


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
    """
    Of the next page; null: there is no more now. A page may be short, or empty, and still have one.
    """
    accounts: list[Account]
    """
    The accounts of this page.
    """


class AdministrativeAct(Model):
    """
    What somebody did who looks after accounts, keys, transactions or servers.
    """

    act_id: str
    """
    The act's id.
    """
    at: AwareDatetime
    """
    When it was.
    """
    tenant: str | None
    """
    None: of the servers, which all tenants share.
    """
    by: str
    """
    The principal; of a command on a server ``cli:`` and the user there.
    """
    key_id: str | None
    """
    Of the API key; of a token ``token:`` and its id. None: neither was used, or the act's table has none.
    """
    address: str | None
    """
    Where it came from; None: the act's table has none.
    """
    action: str
    """
    ``key.created``, ``account.changed``, ``transaction.approve``…
    """
    subject: str
    """
    What it was done to: ``account DE02…``.
    """
    detail: dict[str, Any]
    """
    What else is known: before and after, a reason. Without secrets.
    """


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
    """
    The account's id, an IBAN or another name.
    """
    currency: str
    """
    ISO 4217 code.
    """
    ledger: Decimal
    """
    All credits minus all debits.
    """
    held: Decimal | None = None
    """
    Only of the balance now, as is what is available.
    """
    available: Decimal | None = None
    """
    What the next debit may take: ledger - held + overdraft limit.
    """
    offline: Decimal
    """
    All credits.
    """
    online: Decimal
    """
    All debits.
    """
    as_of: AwareDatetime
    """
    Entries booked then or before count.
    """
    value_date: date | None = None
    """
    Where it was asked for: of those, the entries with this value date or an earlier one count.
    """
    settled: bool | None = None
    """
    Where an instant was asked for: whether no late commit can change the answer any more.
    """


class CaptureRequest(Model):
    """
    A capture: of all that the hold still holds, unless an amount is given.
    """

    transaction_id: UUID | None = None
    """
    The transaction's id, a UUID.
    """
    creditor: str | None = None
    """
    The account that gets the money.
    """
    amount: Decimal | None = None
    """
    A part, in the currency of the hold.
    """
    releases_hold: bool | None = True
    """
    Release what is left afterwards; false: keep it for further captures.
    """
    settlement: Literal["cash", "clearing"] | None = "cash"
    """
    The bank's account on the other side of a deposit or withdrawal: `cash`, or `clearing` for another bank's payment.
    """
    reference: str | None = None
    """
    The caller's reference, up to 35 characters.
    """
    remittance_information: str | None = None
    """
    What the payer tells the payee, up to 140 characters.
    """
    value_date: date | None = None
    """
    From this date on it counts for balances by value date; the booking date unless given.
    """
    metadata: Annotated[dict[str, str] | None, Field(max_length=50)] = None
    """
    Names and values of the caller's own, kept with the transaction and told in its events.
    """


class ChangeRequest(Model):
    """
    Why a standing order is changed; recorded with who changes it.
    """

    reason: str | None = None
    """
    Why; recorded with who says so.
    """


class ClosedStatement(Model):
    """
    A closed statement: opening balance + credited - debited = closing balance. It never changes.
    """

    number: int
    """
    Counted from 1 for each account, without a gap; a period in which nothing was booked has no statement.
    """
    since: AwareDatetime
    """
    Lines booked then or later.
    """
    until: AwareDatetime
    """
    Lines booked before this instant.
    """
    opening_balance: Decimal
    """
    Ledger balance before the first line.
    """
    credited: Decimal
    """
    Sum of the credits.
    """
    debited: Decimal
    """
    Sum of the debits.
    """
    closing_balance: Decimal
    """
    Ledger balance after the last line.
    """
    lines: int
    """
    How many lines there are.
    """
    closed_at: AwareDatetime
    """
    When it was closed.
    """


class Conversion(Model):
    """
    The rate that a transaction used, and what it did with it.
    """

    quote_id: str
    """
    The rate's id, which follows from its content.
    """
    base: str
    """
    Currency that is sold.
    """
    quote: str
    """
    Currency that is bought.
    """
    rate: Decimal
    """
    How much of `quote` one unit of `base` buys.
    """
    source: str
    """
    Where the rate is from.
    """
    as_of: date
    """
    The day that the rate is of.
    """
    source_amount: Decimal
    """
    What was converted, in `base`.
    """
    target_amount: Decimal
    """
    What came of it, in `quote`.
    """
    rounding: str
    """
    How the amount was rounded.
    """
    residual: Decimal
    """
    Exact result minus target amount, in major units of the target's currency.
    """


class Creditor(Model):
    """
    One of several creditors, and what it gets.
    """

    creditor: str
    """
    The account that gets the money.
    """
    amount: Decimal
    """
    In major units of the currency.
    """


class CreditorRequest(Model):
    """
    One of several creditors, and what it gets.
    """

    creditor: str
    """
    The account that gets the money.
    """
    amount: Decimal
    """
    In major units.
    """


class CurrentStatement(Model):
    """
    What came after the last closed statement, as far as it has arrived: within seconds.
    """

    since: AwareDatetime | None
    """
    The end of the last closed statement; null: there is none.
    """
    opening_balance: Decimal
    """
    Ledger balance before the first line.
    """
    credited: Decimal
    """
    Sum of the credits.
    """
    debited: Decimal
    """
    Sum of the debits.
    """
    closing_balance: Decimal
    """
    Ledger balance after the last line.
    """
    lines: int
    """
    How many lines there are.
    """


class Debtor(Model):
    """
    One of several accounts that a reversal takes from, and how much.
    """

    debtor: str
    """
    The account that pays.
    """
    amount: Decimal
    """
    In major units of the currency.
    """


class DecisionRequest(Model):
    """
    What whoever approves, declines or cancels a transaction says about it; recorded with who it was.
    """

    reason: str | None = None
    """
    Why; recorded with who says so.
    """


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
    """
    The date by the order's schedule, moved to a business day.
    """
    at: AwareDatetime
    """
    The instant at which it is carried out.
    """


class EndedSecond(Model):
    """
    What ended in one second. A second in which nothing ended is left out.
    """

    at: AwareDatetime
    """
    Its beginning.
    """
    completed: int
    """
    Transactions that completed.
    """
    rejected: int
    """
    Transactions that were rejected.
    """
    reversed: int
    """
    Transactions whose posted legs were compensated.
    """
    latency_p50_ms: float | None
    """
    From submission to outcome: half of them took so long at most.
    """
    latency_p95_ms: float | None
    """
    19 of 20 transactions were final after so many milliseconds.
    """


class EntryTotal(Model):
    """
    Legs that were posted in one hour or day; it has the dimensions that were asked for, and no others.
    """

    at: AwareDatetime
    """
    When the hour or day begins.
    """
    currency: str | None = None
    """
    Of the accounts.
    """
    kind: str | None = None
    """
    Of their transactions.
    """
    leg: str | None = None
    """
    Which side of the transaction: `debit`, `credit`, `fee`, `compensation` and so on.
    """
    direction: str | None = None
    """
    credit or debit, seen from the account.
    """
    band: str | None = None
    """
    Within which powers of ten the amount lies, in major units.
    """
    balance_band: str | None = None
    """
    As band, of the account's ledger balance after a debit, or overdrawn; null for credits, which read no balance.
    """
    entries: int
    """
    Posted legs.
    """
    amount: Amount | None = None
    """
    What was posted, in all; with the dimension currency only.
    """


class EventType(Model):
    """
    A type of events.
    """

    type: str
    """
    What the header `ce_type` says.
    """
    topic: str
    """
    The topic that it comes on.
    """
    key: str
    """
    What the record's key is made of.
    """
    description: str
    """
    What it tells.
    """
    data_schema: str
    """
    Where the JSON Schema of its data is.
    """


class EventTypes(Model):
    """
    All types of events.
    """

    event_types: list[EventType]
    """
    The types.
    """


class FileChangeRequest(Model):
    """
    Why a file is paused, resumed or cancelled; recorded with who does it.
    """

    reason: str | None = None
    """
    Why; recorded with who says so.
    """


class FileProblem(Model):
    """
    Why a file can't be posted.
    """

    place: str
    """
    `line 7`, an XPath, or `file`.
    """
    field: str
    """
    The field that breaks a rule, as a path.
    """
    value: str
    """
    What was given; long values are cut.
    """
    rule: str
    """
    The rule that it breaks.
    """


class FileReason(Model):
    """
    Why a file, or a line of one, was rejected.
    """

    code: str
    """
    Stable; for programs.
    """
    detail: str
    """
    In words, for people.
    """


class FreezeRequest(Model):
    """
    What a freeze refuses from now on.
    """

    side: Literal["debits", "credits", "both"] | None = "both"
    """
    What is refused from now on.
    """


class GroupLag(Model):
    """
    What a group has still to do.
    """

    group: str
    """
    The consumer group.
    """
    records: int
    """
    On its topics, and not applied yet.
    """
    failed: int | None = 0
    """
    Events that it could not handle, and that nobody has replayed or skipped.
    """
    waiting: int | None = 0
    """
    Events that wait behind one of these.
    """
    unreadable: int | None = 0
    """
    Records that are no events.
    """


class HoldRequest(Model):
    """
    Money to set aside on an account.
    """

    hold_id: UUID | None = None
    """
    The hold's id.
    """
    account_id: str
    """
    The account's id, an IBAN or another name.
    """
    amount: Decimal
    """
    In major units.
    """
    currency: str
    """
    ISO 4217 code.
    """
    expires_at: AwareDatetime
    """
    From then on it holds nothing.
    """
    reference: str | None = None
    """
    The caller's reference, up to 35 characters.
    """


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
    """
    The key's id, which is no secret.
    """
    principal: str
    """
    The name that its transactions are recorded under.
    """
    scopes: list[str]
    """
    What it may do.
    """
    state: str
    """
    `valid`, `revoked` or `expired`.
    """
    created_at: AwareDatetime
    """
    When it was made.
    """
    created_by: str | None
    """
    The principal who made it.
    """
    expires_at: AwareDatetime | None
    """
    When it ends by itself.
    """
    revoked_at: AwareDatetime | None
    """
    When it was revoked; null: it wasn't.
    """
    last_used_at: AwareDatetime | None
    """
    To the minute or so.
    """
    rotated_from: str | None
    """
    The key in whose place this one was made.
    """


class Keys(Model):
    """
    A page of keys, the newest first.
    """

    keys: list[Key]
    """
    The keys of this page.
    """
    next_cursor: str | None
    """
    Of the next page; null: there are no older ones.
    """


class Liveness(Model):
    """
    The process is there.
    """

    status: Literal["alive"] = "alive"
    """
    How it stands.
    """


class MadeKey(Model):
    """
    A new key, with what is shown this once.
    """

    key_id: str
    """
    The key's id, which is no secret.
    """
    principal: str
    """
    The name that its transactions are recorded under.
    """
    scopes: list[str]
    """
    What it may do.
    """
    state: str
    """
    `valid`, `revoked` or `expired`.
    """
    created_at: AwareDatetime
    """
    When it was made.
    """
    created_by: str | None
    """
    The principal who made it.
    """
    expires_at: AwareDatetime | None
    """
    When it ends by itself.
    """
    revoked_at: AwareDatetime | None
    """
    When it was revoked; null: it wasn't.
    """
    last_used_at: AwareDatetime | None
    """
    To the minute or so.
    """
    rotated_from: str | None
    """
    The key in whose place this one was made.
    """
    key: str
    """
    `casaflow_<key_id>_<secret>`; only its hash is stored.
    """


class Money(Model):
    """
    An amount with its currency.
    """

    amount: Decimal
    """
    In major units of the currency.
    """
    currency: str
    """
    ISO 4217 code.
    """


class MoneyRequest(Model):
    """
    An amount with its currency.
    """

    amount: Decimal
    """
    In major units.
    """
    currency: str
    """
    ISO 4217 code.
    """


class OperatorAction(Model):
    """
    What an operator did with a transaction that waited for one.
    """

    action: str
    """
    What was done: `retry`, `settle_to`, `reverse`, `approve` and so on.
    """
    by: str
    """
    The principal who did it.
    """
    reason: str | None
    """
    Why; recorded with who says so.
    """
    at: AwareDatetime
    """
    When it was.
    """
    detail: dict[str, str]
    """
    What was given with it, such as another account.
    """


class OrderRetryRequest(Model):
    """
    Try a refused transaction again.
    """

    retry_until: int
    """
    Hours from the first attempt on.
    """
    every: int | None = 1
    """
    Hours between two attempts.
    """


class Outbox(Model):
    """
    What waits to be published, of all tenants.
    """

    events: int
    """
    At most 10,000: what is above is not counted.
    """
    oldest_seconds: float
    """
    Age of the oldest of them; 0 where none waits.
    """


class Override(Model):
    """
    Who said that limits and balance of the debtor are not to count, and why.
    """

    by: str
    """
    The principal who did it.
    """
    reason: str
    """
    Why; recorded with who says so.
    """


class OverrideRequest(Model):
    """
    An operator's word that limits and balance of the debtor are not to count; recorded with who gave it.
    """

    reason: str
    """
    Why; recorded with who says so.
    """


class QuietHours(Model):
    """
    A part of each day in which messages wait.
    """

    start: str
    """
    Local time at which it begins.
    """
    end: str
    """
    Local time at which it ends.
    """
    time_zone: str
    """
    IANA name.
    """


class QuietHoursRequest(Model):
    """
    A part of each day in which messages wait.
    """

    start: str
    """
    Local time at which it begins.
    """
    end: str
    """
    The next day's, unless it is later than `start`.
    """
    time_zone: str
    """
    IANA name.
    """


class Rate(Model):
    """
    An exchange rate: one unit of `base` buys `rate` units of `quote`.
    """

    quote_id: str
    """
    The rate's id, which follows from its content.
    """
    base: str
    """
    Currency that is sold.
    """
    quote: str
    """
    Currency that is bought.
    """
    rate: Decimal
    """
    How much of `quote` one unit of `base` buys.
    """
    source: str
    """
    Where the rate is from.
    """
    as_of: date
    """
    The day that the rate is of.
    """


class Readiness(Model):
    """
    What the process needs, and whether it has it.
    """

    status: Literal["ready", "not ready"]
    """
    How it stands.
    """
    parts: dict[str, str]
    """
    `ready`, or what is the matter.
    """


class Reason(Model):
    """
    Why something was refused.
    """

    code: str
    """
    Stable; for programs.
    """
    detail: str
    """
    In words, for people.
    """


class ReplayRequest(Model):
    """
    Why a message is sent again; recorded with who asks for it.
    """

    reason: str
    """
    Why; recorded with who says so.
    """


class Retry(Model):
    """
    How a refused transaction is tried again; hours.
    """

    retry_until: int
    """
    Hours from the first attempt on.
    """
    every: int
    """
    Hours between two attempts.
    """


class RetryRequest(Model):
    """
    Another try of a parked transaction.
    """

    reason: str
    """
    Why; recorded with who says so.
    """


class ReversalRequest(Model):
    """
    A reversal: of all that is left of the transaction, unless an amount is given. Of a parked one `reason` alone, which it needs.
    """

    reason: str | None = None
    """
    Why a parked transaction is reversed; recorded with who asks.
    """
    transaction_id: UUID | None = None
    """
    The transaction's id, a UUID.
    """
    amount: Decimal | None = None
    """
    A part, in the transaction's currency.
    """
    reference: str | None = None
    """
    The caller's reference, up to 35 characters.
    """
    override: OverrideRequest | None = None
    """
    An operator's word that limits and balance of the debtor don't count.
    """


class RotationRequest(Model):
    """
    How a key is to be rotated.
    """

    overlap_seconds: int | None = 86400
    """
    How long the old key stays valid.
    """
    expires_at: str | None = None
    """
    When the new one ends by itself; unless given, it lasts as long as the old one was made to.
    """


class RulesRequest(Model):
    """
    Rules of an account: what is not given stays as it is.
    """

    overdraft_limit: Decimal | None = Decimal("0")
    """
    How far below zero the ledger balance may go.
    """
    minimum_balance: Decimal | None = Decimal("0")
    """
    What a debit must leave available.
    """
    maximum_balance: Decimal | None = None
    """
    What a credit may bring the ledger balance to.
    """
    transaction_limit: Decimal | None = None
    """
    What one debit may take.
    """
    daily_limit: Decimal | None = None
    """
    What the debits and holds of one day may take together.
    """
    monthly_limit: Decimal | None = None
    """
    What the debits and holds of one calendar month may take together.
    """
    time_zone: str | None = "UTC"
    """
    IANA name; days and months of the limits begin at its midnight.
    """


class Run(Model):
    """
    One attempt at one due date.
    """

    due_date: date
    """
    The date by the order's schedule, moved to a business day.
    """
    attempt: int
    """
    1 for the first attempt at the due date.
    """
    transaction_id: str
    """
    The transaction's id, a UUID.
    """
    outcome: str | None
    """
    Null until it is known.
    """
    reason: Reason | None
    """
    Why the transaction was refused.
    """
    started_at: AwareDatetime
    """
    When it was started.
    """
    finished_at: AwareDatetime | None
    """
    When it ended; null: not yet.
    """


class Schedule(Model):
    """
    When a standing order is due.
    """

    frequency: Literal["daily", "weekly", "monthly", "quarterly", "yearly"]
    """
    How often it is due.
    """
    day: int | None
    """
    Of a week (1: Monday), or of a month; in a shorter month it is the last one.
    """
    time: str
    """
    Local time at which it is due.
    """
    time_zone: str
    """
    IANA name.
    """
    start_date: date
    """
    No due date lies before it.
    """
    end_date: date | None
    """
    No due date lies after it; null: there is no end.
    """
    count: int | None
    """
    Due dates at most.
    """
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
    How often it is due.
    """
    day: int | None = None
    """
    Of a week (1: Monday), or of a month; in a shorter month it is the last one. Unless given, the start date's.
    """
    time: str | None = None
    """
    Local time in `time_zone`; 06:00 unless given.
    """
    time_zone: str
    """
    IANA name.
    """
    start_date: date
    """
    No due date lies before it.
    """
    end_date: date | None = None
    """
    No due date lies after it; null: there is no end.
    """
    count: int | None = None
    """
    Due dates at most.
    """
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
    """
    The account that gets the money.
    """
    reason: str
    """
    Why; recorded with who says so.
    """


class StackPart(Model):
    """
    One part of the embedded stack, as its supervisor sees it.
    """

    name: str
    """
    Its name.
    """
    health: str
    """
    `healthy`, or how it stands.
    """
    pid: int | None
    """
    Its process; null: none runs.
    """
    restarts: int
    """
    How often it was started again.
    """
    detail: str
    """
    In words, for people.
    """


class Standing(Model):
    """
    The tenant's transactions that Temporal carries now.
    """

    carried: int
    """
    Transactions that are under way or wait.
    """
    parked: int
    """
    Transactions that stand parked, for an operator.
    """
    waiting_for_approval: int
    """
    Of those, the ones that wait for a second person.
    """
    waiting_for_date: int
    """
    Of those, the ones that wait for their day.
    """


class StandingOrder(Model):
    """
    A standing order as it stands.
    """

    order_id: str
    """
    The standing order's id.
    """
    status: Literal["active", "paused", "completed", "cancelled", "stopped"]
    """
    How it stands.
    """
    debtor: str
    """
    The account that pays.
    """
    creditor: str
    """
    The account that gets the money.
    """
    amount: Decimal
    """
    In major units of the currency.
    """
    currency: str
    """
    ISO 4217 code.
    """
    reference: str | None
    """
    The caller's reference, up to 35 characters.
    """
    remittance_information: str | None
    """
    What the payer tells the payee, up to 140 characters.
    """
    schedule: Schedule
    """
    When it is due.
    """
    on_refusal: Literal["skip", "stop"] | Retry
    """
    What a refused transaction does to the order: `skip` goes on with the next date, `stop` ends it, hours try again.
    """
    next_due: list[Due]
    """
    The next due dates, a few of them; none while it is paused, and after its end.
    """
    created_by: str
    """
    The principal who made it.
    """
    created_at: AwareDatetime
    """
    When it was made.
    """
    runs: list[Run] | None = None
    """
    What was done, the latest first; where one order was looked up.
    """


class StandingOrderRequest(Model):
    """
    A new standing order.
    """

    order_id: UUID | None = None
    """
    The standing order's id.
    """
    debtor: str
    """
    The account that pays.
    """
    creditor: str
    """
    The account that gets the money.
    """
    amount: Decimal
    """
    In major units.
    """
    currency: str
    """
    ISO 4217 code.
    """
    reference: str | None = None
    """
    The caller's reference, up to 35 characters.
    """
    remittance_information: str | None = None
    """
    What the payer tells the payee, up to 140 characters.
    """
    schedule: ScheduleRequest
    """
    When it is due.
    """
    on_refusal: Annotated[Literal["skip", "stop"] | OrderRetryRequest | None, Field(validate_default=True)] = "skip"
    """
    What a refused transaction does to the order: `skip` goes on with the next date, `stop` ends it, hours try again.
    """


class StandingOrders(Model):
    """
    A page of standing orders, the oldest first.
    """

    orders: list[StandingOrder]
    """
    The orders of this page.
    """
    next_cursor: str | None
    """
    Of the next page; null when there are no more orders now.
    """


class StatementLine(Model):
    """
    One line of a statement; amounts in major units of the account's currency.
    """

    booked_at: AwareDatetime
    """
    When it was booked.
    """
    value_date: date
    """
    From this date on it counts for balances by value date; the booking date unless given.
    """
    direction: Literal["credit", "debit"]
    """
    `credit` or `debit`, seen from the account.
    """
    amount: Decimal
    """
    In major units of the currency.
    """
    currency: str
    """
    ISO 4217 code.
    """
    ledger_balance_after: Decimal
    """
    The ledger balance right after it.
    """
    settled: bool
    """
    Whether this line, its balance and everything before it are final.
    """
    transaction_id: str
    """
    The transaction's id, a UUID.
    """
    leg: str
    """
    Which side of the transaction: `debit`, `credit`, `fee`, `compensation` and so on.
    """
    version: int | None
    """
    A debit's gapless number on its account; null for a credit.
    """
    counterparty: str | None
    """
    The transaction's other account.
    """
    reference: str | None
    """
    The transaction's reference.
    """
    remittance_information: str | None
    """
    What the payer tells the payee, up to 140 characters.
    """


class StatementList(Model):
    """
    An account's statements, the newest first.
    """

    account_id: str
    """
    The account's id, an IBAN or another name.
    """
    currency: str
    """
    ISO 4217 code.
    """
    current: CurrentStatement
    """
    What came after the last closed statement.
    """
    closed: list[ClosedStatement]
    """
    Closed, numbered statements, the newest first.
    """
    next_before: int | None
    """
    For the page of those before; null: there are none.
    """


class Throughput(Model):
    """
    The transactions that were submitted within a window, and of which something is recorded.
    """

    until: AwareDatetime
    """
    The end of the last full second.
    """
    window_seconds: int
    """
    How long the window is.
    """
    completed: int
    """
    Transactions that completed.
    """
    rejected: int
    """
    Transactions that were rejected.
    """
    reversed: int
    """
    Transactions whose posted legs were compensated.
    """
    open: int
    """
    Recorded, without an outcome yet.
    """
    latency_p50_ms: float | None
    """
    Half of the transactions were final after so many milliseconds.
    """
    latency_p95_ms: float | None
    """
    19 of 20 transactions were final after so many milliseconds.
    """
    truncated: bool
    """
    There were more than are looked at: the figures are of the newest of them.
    """
    seconds: list[EndedSecond]
    """
    The last seconds one by one.
    """


class TransactionTotal(Model):
    """
    Transactions that ended in one hour or day; it has the dimensions that were asked for, and no others.
    """

    at: AwareDatetime
    """
    When the hour or day begins.
    """
    currency: str | None = None
    """
    Of the instructed amounts.
    """
    kind: str | None = None
    """
    `deposit`, `withdrawal` or `transfer`.
    """
    outcome: str | None = None
    """
    completed, rejected or reversed.
    """
    reason: str | None = None
    """
    Code of the refusal; null for those that were completed.
    """
    band: str | None = None
    """
    Within which powers of ten the instructed amount lies, in major units.
    """
    transactions: int
    """
    How many.
    """
    amount: Amount | None = None
    """
    What was instructed, in all; with the dimension currency only.
    """


class WebUi(Model):
    """
    Links into Temporal's Web UI. What stands in braces is to be replaced, percent-encoded.
    """

    transaction: str
    """
    Has ``{transaction_id}``.
    """
    run: str
    """
    Has ``{workflow_id}`` and ``{run_id}``.
    """
    views: dict[str, str]
    """
    Lists of transactions, by what they hold.
    """


class Webhook(Model):
    """
    Where webhooks go.
    """

    url: str
    """
    Where they go.
    """
    gone: bool
    """
    The endpoint has answered 410 Gone: nothing goes there until the preferences are set again.
    """
    secret: str | None
    """
    Where this call has made it; it can't be had again.
    """


class WebhookRequest(Model):
    """
    Where webhooks go. They are signed as Standard Webhooks says.
    """

    url: str
    """
    https, at a public address.
    """
    secret: str | None = None
    """
    `whsec_` and 24 to 64 bytes in base64. Unless given, the present one stays; where there is none, one is made, and shown once.
    """
    new_secret: bool | None = False
    """
    Make one in any case. What it replaces signs for another day beside it.
    """


class WorkflowState(Model):
    """
    The workflow that carries, or carried, a transaction, as it stands.
    """

    workflow_id: str
    """
    Temporal's id of the workflow.
    """
    run_id: str
    """
    Temporal's id of the run.
    """
    status: str
    """
    Temporal's: running, completed, failed, canceled, terminated, timed out.
    """
    shows: str | None = None
    """
    The transaction's status as the workflow shows it in its search attribute.
    """
    waits_for: str | None = None
    """
    What a running one waits for: an activity that is being repeated, with its last failure.
    """


class WrongField(Model):
    """
    A field that breaks a rule.
    """

    field: str
    """
    Its name, with its path: `metadata.channel`.
    """
    value: Any
    """
    What was given; null where it was missing. Long values are cut.
    """
    rule: str
    """
    The rule that it breaks.
    """


class Acts(Model):
    """
    A page of administrative acts, the newest first.
    """

    acts: list[AdministrativeAct]
    """
    The acts of this page.
    """
    next_cursor: str | None
    """
    Of the next page; null: there are no older ones.
    """


class Approval(Model):
    """
    The approval that a transaction needs, or needed.
    """

    before: Literal["posting", "credit"]
    """
    What has to wait for it: all of the posting, or the credit alone.
    """
    expires_at: AwareDatetime
    """
    From then on it is rejected.
    """


class ApprovalRequest(Model):
    """
    A wish for a second person's approval. What the bank's thresholds demand it can't take away.
    """

    required: Literal[True] = True
    """
    `true`: it needs one whatever the bank's thresholds say. It can't be waived.
    """
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
    """
    The first hour begins then.
    """
    to: AwareDatetime
    """
    The last hour ends then.
    """
    per: Literal["hour", "day"]
    """
    What one row is about.
    """
    time_zone: str
    """
    IANA name.
    """
    rows: list[EntryTotal]
    """
    The totals, by time.
    """


class File(Model):
    """
    A payment file as it stands.
    """

    file_id: str
    """
    The file's id.
    """
    status: Literal["validating", "posting", "completed", "rejected", "cancelled"]
    """
    How it stands.
    """
    mode: Literal["best-effort", "atomic"]
    """
    Whether a refused line stops the others.
    """
    paused: bool
    """
    Whether somebody has paused it.
    """
    media_type: str
    """
    Its format.
    """
    size: int
    """
    Bytes.
    """
    content_hash: str
    """
    SHA-256, hexadecimal.
    """
    message_id: str | None
    """
    The file's own id of itself, where its format has one.
    """
    header: dict[str, str]
    """
    What the file says of itself, once it is validated.
    """
    lines: int
    """
    In all, once it is validated.
    """
    completed: int
    """
    Lines that completed.
    """
    rejected: int
    """
    Of a file that was rejected or cancelled: all lines that are not posted.
    """
    problem_count: int
    """
    How many problems there are in all.
    """
    problems: list[FileProblem]
    """
    The first thousand of them, where one file is looked up.
    """
    reason: FileReason | None
    """
    Why the file was rejected or cancelled.
    """
    submitted_by: str
    """
    The principal who submitted it.
    """
    submitted_at: AwareDatetime
    """
    When it was submitted.
    """
    finished_at: AwareDatetime | None
    """
    When it ended; null: not yet.
    """


class FileLine(Model):
    """
    A line with what became of it.
    """

    number: int
    """
    Its number, from 1.
    """
    place: str
    """
    Where it stands: `line 7`, an XPath, or `file`.
    """
    transaction_id: str
    """
    Of the transaction that the line is; there is none where `reason` says why it never became one.
    """
    debtor: str | None
    """
    The account that pays.
    """
    creditor: str | None
    """
    The account that gets the money.
    """
    amount: Decimal
    """
    In major units of the currency.
    """
    currency: str
    """
    ISO 4217 code.
    """
    end_to_end_id: str | None
    """
    The payer's reference, as the file gives it.
    """
    reference: str | None
    """
    The caller's reference, up to 35 characters.
    """
    status: Literal["pending", "completed", "rejected"]
    """
    How it stands.
    """
    reason: FileReason | None
    """
    Why it was rejected.
    """


class FileLines(Model):
    """
    A page of lines, in the order of the file.
    """

    lines: list[FileLine]
    """
    The lines of this page.
    """
    next_after: int | None
    """
    For the next page; null: there are no more.
    """


class Files(Model):
    """
    A page of files, the newest first.
    """

    files: list[File]
    """
    The files of this page.
    """
    next_cursor: str | None
    """
    Of the next page; null: there are no more.
    """


class Hold(Model):
    """
    A hold as it stands; amounts in major units of its currency.
    """

    hold_id: str
    """
    The hold's id.
    """
    account_id: str
    """
    The account's id, an IBAN or another name.
    """
    amount: Decimal
    """
    In major units of the currency.
    """
    captured: Decimal
    """
    What captures took of it.
    """
    remaining: Decimal
    """
    What it still holds.
    """
    currency: str
    """
    ISO 4217 code.
    """
    status: str
    """
    How it stands.
    """
    reason: Reason | None
    """
    Why it was not authorised.
    """
    reference: str | None
    """
    The caller's reference, up to 35 characters.
    """
    created_at: AwareDatetime
    """
    When it was made.
    """
    expires_at: AwareDatetime
    """
    From then on it holds nothing.
    """
    closed_at: AwareDatetime | None
    """
    When it ceased to hold anything.
    """


class Holds(Model):
    """
    A page of holds.
    """

    next_cursor: str | None
    """
    Of the next page; null: there is no more now. A page may be short, or empty, and still have one.
    """
    holds: list[Hold]
    """
    The holds of this page.
    """


class KeyRequest(Model):
    """
    A key that is to be made.
    """

    principal: str
    """
    The name that its transactions are recorded under.
    """
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
    """
    What it may do; no more than the key that makes it.
    """
    expires_at: str | None = None
    """
    When it ends by itself (RFC 3339); unless given, it is valid until it is revoked.
    """


class Leg(Model):
    """
    One leg as it was decided.
    """

    leg: str
    """
    Which side of the transaction: `debit`, `credit`, `fee`, `compensation` and so on.
    """
    account_id: str
    """
    The account's id, an IBAN or another name.
    """
    outcome: str
    """
    `posted` or `refused`.
    """
    amount: Decimal
    """
    In major units of the currency.
    """
    currency: str
    """
    ISO 4217 code.
    """
    value_date: date
    """
    From this date on it counts for balances by value date; the booking date unless given.
    """
    decided_at: AwareDatetime
    """
    When it was decided.
    """
    version: int | None = None
    """
    A debit's gapless number on its account; null for a credit.
    """
    ledger_balance_after: Decimal | None = None
    """
    The ledger balance right after it.
    """
    available_balance_after: Decimal | None = None
    """
    What was available right after a debit; null for a credit, which reads no balance.
    """
    reason: Reason | None = None
    """
    Why it was refused.
    """


class Message(Model):
    """
    A message to a customer: where it goes and what became of it, not what it says.
    """

    message_id: str
    """
    The message's id.
    """
    event_id: str
    """
    The event that it tells of.
    """
    transaction_id: str
    """
    The transaction's id, a UUID.
    """
    customer_id: str
    """
    The bank's own name of the customer.
    """
    channel: Literal["email", "webhook"]
    """
    How it is sent.
    """
    kind: Literal["credit", "debit", "rejected", "reversed"]
    """
    What it tells of.
    """
    address: str
    """
    Where it goes.
    """
    subject: str
    """
    Its subject line.
    """
    status: Literal["waiting", "delivered", "dead"]
    """
    How it stands.
    """
    attempts: int
    """
    How often delivery was tried.
    """
    not_before: AwareDatetime
    """
    When it is due; while a deliverer has it, when it is due again should that one be killed.
    """
    last_error: str | None
    """
    Why the last attempt failed.
    """
    created_at: AwareDatetime
    """
    When it was made.
    """
    delivered_at: AwareDatetime | None
    """
    When it was delivered; null: not yet.
    """


class Messages(Model):
    """
    A page of messages, the oldest first.
    """

    notifications: list[Message]
    """
    The messages of this page.
    """
    next_cursor: str | None
    """
    Of the next page; null when there are no more messages now.
    """


class Moment(Model):
    """
    One line of the story.
    """

    at: AwareDatetime
    """
    When it was.
    """
    part: Literal["request", "workflow", "operator", "rate", "decision", "entry", "event", "result", "published", "consumer"]
    """
    Which part tells it.
    """
    what: str
    """
    A sentence for a person.
    """
    detail: dict[str, str | int | None] | None = {}
    """
    The same for a program; amounts as decimal strings.
    """


class Preferences(Model):
    """
    What a customer is told, and how.
    """

    customer_id: str
    """
    The bank's own name of the customer.
    """
    enabled: bool
    """
    Whether anything is told at all.
    """
    accounts: list[str]
    """
    Accounts whose transactions are told.
    """
    email: str | None
    """
    Address that e-mails go to; null: none are sent.
    """
    webhook: Webhook | None
    """
    Where webhooks go; null: none are sent.
    """
    kinds: list[Literal["credit", "debit", "rejected", "reversed"]]
    """
    What is told; all kinds unless given.
    """
    minimum_amounts: dict[str, Decimal]
    """
    By currency: smaller credits and debits are not told.
    """
    language: Literal["en", "cs"]
    """
    Of the messages.
    """
    quiet_hours: QuietHours | None
    """
    A part of each day in which messages wait; null: none.
    """
    urgent: bool
    """
    Whether rejections go out in quiet hours as well.
    """
    since: AwareDatetime
    """
    What finished before is not told.
    """


class PreferencesRequest(Model):
    """
    What a customer wants to hear, and how. It replaces all that was set before.
    """

    accounts: list[str]
    """
    Accounts whose transactions are told.
    """
    email: str | None = None
    """
    Address that e-mails go to; null: none are sent.
    """
    webhook: WebhookRequest | None = None
    """
    Where webhooks go; null: none are sent.
    """
    kinds: list[Literal["credit", "debit", "rejected", "reversed"]] | None = None
    """
    What is told; all kinds unless given.
    """
    minimum_amounts: dict[Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")], Decimal] | None = None
    """
    By currency: smaller credits and debits are not told.
    """
    language: Literal["en", "cs"] | None = "en"
    """
    Of the messages.
    """
    quiet_hours: QuietHoursRequest | None = None
    """
    A part of each day in which messages wait; null: none.
    """
    urgent: bool | None = False
    """
    Whether rejections go out in quiet hours as well.
    """


class Problem(Model):
    """
    What went wrong, by RFC 9457.
    """

    type: str
    """
    A reference to the page of the code on this API.
    """
    title: str
    """
    What the code means, in a few words.
    """
    status: int
    """
    The answer's HTTP status.
    """
    code: str
    """
    Stable; for programs.
    """
    detail: str
    """
    In words, for people.
    """
    errors: list[WrongField] | None = None
    """
    Each field that breaks a rule, where there are some.
    """


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
    Stable; for programs.
    """
    detail: str
    """
    In words, for people.
    """
    account_id: str | None = None
    """
    The account's id, an IBAN or another name.
    """


class Statement(Model):
    """
    A page of lines without a gap between them: opening balance + credits - debits = closing balance.
    """

    account_id: str
    """
    The account's id, an IBAN or another name.
    """
    currency: str
    """
    ISO 4217 code.
    """
    order: Literal["oldest-first", "newest-first"]
    """
    Whether the oldest or the newest comes first.
    """
    opening_balance: Decimal
    """
    Ledger balance before the earliest line.
    """
    closing_balance: Decimal
    """
    Ledger balance after the latest line.
    """
    settled_until: AwareDatetime | None
    """
    Lines booked before this instant are settled. Null while that can't be told.
    """
    lines: list[StatementLine]
    """
    The lines of this page.
    """
    next_cursor: str | None
    """
    Of the next page; null when there are no more lines now.
    """


class System(Model):
    """
    What an operator looks at first. What a part that doesn't answer would have told is null.
    """

    tenant: str
    """
    Whose data it is.
    """
    principal: str
    """
    Whose key it is.
    """
    scopes: list[str]
    """
    What it may do.
    """
    parts: dict[str, str]
    """
    `ready`, or what is the matter.
    """
    throughput: Throughput | None
    """
    How many transactions ended lately, and how fast.
    """
    standing: Standing | None
    """
    The tenant's transactions that are under way or wait.
    """
    outbox: Outbox | None
    """
    What waits to be published.
    """
    groups: list[GroupLag] | None
    """
    What each consumer group has still to do.
    """
    web_ui: WebUi | None
    """
    Null: the setting `temporal_ui` names none.
    """
    stack: list[StackPart] | None
    """
    Null unless this is the API of an embedded stack, whose workers may be killed.
    """


class TransactionChart(Model):
    """
    Totals of finished transactions, by time and then by dimensions. Where nothing was counted there is no row.
    """

    from_: Annotated[AwareDatetime, Field(alias="from")]
    """
    The first hour begins then.
    """
    to: AwareDatetime
    """
    The last hour ends then.
    """
    per: Literal["hour", "day"]
    """
    What one row is about.
    """
    time_zone: str
    """
    IANA name.
    """
    rows: list[TransactionTotal]
    """
    The totals, by time.
    """


class TransactionRequest(Model):
    """
    A transaction: a debtor, a creditor, or both. With a fee, several creditors or `balancing` all of it is posted, or nothing.
    """

    transaction_id: UUID | None = None
    """
    The transaction's id, a UUID.
    """
    debtor: str | None = None
    """
    The account that pays.
    """
    creditor: str | None = None
    """
    The account that gets the money.
    """
    creditors: list[CreditorRequest] | None = None
    """
    Several creditors instead of one; their amounts, in `currency`, sum to `amount`.
    """
    amount: Decimal
    """
    In major units.
    """
    currency: str
    """
    ISO 4217 code.
    """
    fee: MoneyRequest | None = None
    """
    What the debtor pays the bank on top, in the debtor's currency.
    """
    balancing: bool | None = False
    """
    Take up to `amount`, as far as the debtor's available balance goes.
    """
    override: OverrideRequest | None = None
    """
    An operator's word that limits and balance of the debtor don't count.
    """
    settlement: Literal["cash", "clearing"] | None = "cash"
    """
    The bank's account on the other side of a deposit or withdrawal: `cash`, or `clearing` for another bank's payment.
    """
    reference: str | None = None
    """
    The caller's reference, up to 35 characters.
    """
    remittance_information: str | None = None
    """
    What the payer tells the payee, up to 140 characters.
    """
    value_date: date | None = None
    """
    From this date on it counts for balances by value date; the booking date unless given.
    """
    approval: ApprovalRequest | None = None
    """
    The second person's approval that it needs.
    """
    requested_execution_date: date | None = None
    """
    ISO 20022 ReqdExctnDt: nothing is posted before this day begins in the bank's time zone.
    """
    metadata: Annotated[dict[str, str] | None, Field(max_length=50)] = None
    """
    Names and values of the caller's own, kept with the transaction and told in its events.
    """


class Waiting(Model):
    """
    What a transaction waits for, and until when: then an approval expires, and an execution date begins.
    """

    what: Literal["approval", "execution-date"]
    """
    What is waited for.
    """
    until: AwareDatetime
    """
    An approval expires then; an execution date begins then.
    """


class BatchRequest(Model):
    """
    Transactions that have nothing to do with each other.
    """

    transactions: list[TransactionRequest]
    """
    Transactions.
    """


class ClosedStatementPage(Model):
    """
    A closed statement, and a page of its lines.
    """

    statement: ClosedStatement
    """
    The statement.
    """
    page: Statement
    """
    A page of its lines.
    """


class Explanation(Model):
    """
    A transaction from the request to the last consumer.
    """

    transaction_id: str
    """
    The transaction's id, a UUID.
    """
    status: Literal["processing", "completed", "rejected", "reversed", "parked"]
    """
    As the ledger has it; `parked` where nothing but an operator moves it on.
    """
    reason: Refusal | None = None
    """
    Why it was rejected or reversed.
    """
    reversed_by: list[str] | None = []
    """
    The transactions that took it back, or parts of it.
    """
    workflow: WorkflowState | None = None
    """
    Its steps stand in the timeline. None: Temporal has forgotten it, or could not be asked; `gaps` says which.
    """
    gaps: list[str] | None = []
    """
    What could not be told, and why.
    """
    timeline: Annotated[list[Moment] | None, Field(validate_default=True)] = []
    """
    What happened, in order.
    """


class Transaction(Model):
    """
    A transaction: how it stands, its legs, and what was asked.
    """

    transaction_id: str
    """
    The transaction's id, a UUID.
    """
    status: Literal["processing", "completed", "rejected", "reversed", "parked"]
    """
    How it stands.
    """
    reason: Reason | None = None
    """
    Why it was rejected or reversed.
    """
    waiting_for: Waiting | None = None
    """
    While it is `processing`, and somebody or some day is waited for.
    """
    legs: list[Leg]
    """
    Its legs as they were decided.
    """
    rate: Conversion | None = None
    """
    The exchange rate that it used, and what it did with it.
    """
    kind: Literal["deposit", "withdrawal", "transfer"] | None = None
    """
    `deposit`, `withdrawal` or `transfer`.
    """
    debtor: str | None = None
    """
    The account that pays.
    """
    creditor: str | None = None
    """
    The account that gets the money.
    """
    amount: Decimal | None = None
    """
    In major units of the currency.
    """
    currency: str | None = None
    """
    ISO 4217 code.
    """
    creditors: list[Creditor] | None = None
    """
    Where there are several.
    """
    debtors: list[Debtor] | None = None
    """
    Of a reversal of a transaction with several creditors.
    """
    fee: Money | None = None
    """
    What the debtor paid the bank on top.
    """
    balancing: bool | None = None
    """
    Whether it took what there was, up to the amount.
    """
    override: Override | None = None
    """
    An operator's word that limits and balance of the debtor don't count.
    """
    hold_id: str | None = None
    """
    The hold's id.
    """
    releases_hold: bool | None = None
    """
    Whether the capture released what was left of the hold.
    """
    reverses: str | None = None
    """
    The transaction that this one takes back, or a part of it.
    """
    reversed_amount: Decimal | None = None
    """
    How much of this transaction was taken back, in `currency`.
    """
    settlement: str | None = None
    """
    The bank's account on the other side of a deposit or withdrawal: `cash`, or `clearing` for another bank's payment.
    """
    reference: str | None = None
    """
    The caller's reference, up to 35 characters.
    """
    remittance_information: str | None = None
    """
    What the payer tells the payee, up to 140 characters.
    """
    value_date: date | None = None
    """
    From this date on it counts for balances by value date; the booking date unless given.
    """
    approval: Approval | None = None
    """
    The second person's approval that it needs.
    """
    requested_execution_date: date | None = None
    """
    Nothing is posted before this day begins in the bank's time zone.
    """
    metadata: dict[str, str] | None = None
    """
    Names and values of the caller's own, kept with the transaction and told in its events.
    """
    submitted_by: str | None = None
    """
    The principal who submitted it.
    """
    submitted_at: AwareDatetime | None = None
    """
    When it was submitted.
    """
    operator_actions: list[OperatorAction] | None = None
    """
    What operators did with it, in that order.
    """


class Transactions(Model):
    """
    A page of transactions.
    """

    next_cursor: str | None
    """
    Of the next page; null: there is no more now. A page may be short, or empty, and still have one.
    """
    transactions: list[Transaction]
    """
    Transactions.
    """


class Attention(Model):
    """
    Transactions that don't go on by themselves now: parked, or waiting for an approval or their day.
    """

    transactions: list[Transaction]
    """
    Transactions.
    """
    complete: bool
    """
    Whether there are no more of them.
    """


class BatchResult(Model):
    """
    What one of the transactions would have been answered with by itself.
    """

    status: int
    """
    The HTTP status code.
    """
    transaction: Transaction | None = None
    """
    Where the status is 200, 201 or 202.
    """
    problem: Problem | None = None
    """
    Elsewhere.
    """


class Batch(Model):
    """
    One result for each transaction, in their order.
    """

    results: list[BatchResult]
    """
    One for each transaction, in their order.
    """
