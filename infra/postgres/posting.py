"""One batch of legs in one database transaction: accounts opened under their locks, legs decided by the rules of ``ledger``, all recorded.

Two round trips, whatever the batch holds. See ``docs/decisions/0010-a-batch-in-two-round-trips.md``.
"""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg

from infra.postgres.account_states import account_state
from infra.postgres.json import from_jsonb, to_jsonb
from infra.postgres.plain_lines import PlainLine, PlainStory
from infra.postgres.transactions import decision_from_row
from ledger.accounts import (
    AccountState,
    credit_refusal,
    credit_status_refusal,
    debit_refusal,
    debit_status_refusal,
    funds_refusal,
    limit_refusal,
)
from ledger.decisions import Decision, LegName, Outcome
from ledger.errors import LedgerIntegrityError, TransactionConflictError, UnknownAccountError
from ledger.event_writer import EventWriter
from ledger.events import hold_captured
from ledger.holds import Hold, HoldState, HoldStatus, capture_refusal
from ledger.money import Money
from ledger.postings import gl_entries, reversed_share
from ledger.refusals import Refusal, RefusalCode
from ledger.results import FINAL_STATUSES, TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ledger.errors import CasaflowError
    from ledger.postings import Posting
    from ledger.requests import TransactionRequest

SEPARATOR: Final = "\x1f"
"""Between the values of a column; see the migration `0004_posting.sql`."""

CHUNK: Final = 64
"""Bundles of a batch that are recorded by one call."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_OPEN_ACCOUNTS: Final = "SELECT * FROM open_accounts(%b::text[], %b::text[], %b::boolean[])"
_KNOWN_LEGS: Final = "SELECT * FROM known_legs(%s::text[], %s::text[], %s::uuid[], %s::text[])"
_OPEN_HOLDS: Final = "SELECT * FROM open_holds(%s::text[], %s::text[], %s::uuid[])"
_LOCK_ORIGINALS: Final = "SELECT lock_originals(%s::text[], %s::uuid[])"
_OPEN_ORIGINALS: Final = "SELECT * FROM open_originals(%s::text[], %s::uuid[])"
_RECORD_LEGS: Final = "SELECT record_legs(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[])"
_KEYS_OF_A_LEG: Final = frozenset({"transaction_pkey", "decision_pkey"})
_OVERTAKEN: Final = "CF001"
_MICROSECOND: Final = dt.timedelta(microseconds=1)

_AccountKey = tuple[str, str]
"""Tenant and account id."""
_TransactionKey = tuple[str, str]
"""Tenant and transaction id."""
_Captured = tuple[tuple[str, str, str], HoldState, HoldState, int]
"""Key of a hold, the hold before and after a capture, and what it no longer holds."""


class OvertakenError(Exception):
    """Another connection was faster with something of the batch. Nothing was written; it is to be decided again with a look-up."""


class MissedLockError(Exception):
    """An account was given a maximum balance while the batch was opened, so its row isn't locked. Nothing was written; it goes again."""


class Bundle:
    """Legs of one transaction that are posted together, or a single leg; with all that can be written before they are decided."""

    __slots__ = ("_columns", "account_ids", "gl", "legs", "linked", "request", "writer")

    def __init__(self, request: TransactionRequest, legs: Sequence[Posting], *, linked: bool) -> None:
        """Take the legs.

        Args:
            request: what they are of.
            legs: in the order in which they are decided.
            linked: all or none, and all of the transaction.
        """
        self.request = request
        self.legs = legs
        self.linked = linked
        self.writer = EventWriter(request)
        names = [leg.leg for leg in legs] if len(legs) > 1 else ()
        for leg in legs:
            self.writer.prepare(leg, several=names.count(leg.leg) > 1)
        self.account_ids = [leg.account_id for leg in legs]
        """The customer account of each leg; a leg finds it anew whenever it is asked."""
        self.gl = [_gl_rows(leg) for leg in legs]
        """The internal side of each leg, but for the time of its decision, if it books what it asks for."""
        self._columns = (
            request.fingerprint,
            request.kind.value,
            request.debtor.account_id if request.debtor else "",
            request.creditor.account_id if request.creditor else "",
            request.model_dump_json(exclude_defaults=True),
            request.submitted_by,
            request.submitted_at.isoformat(),
        )

    @property
    def fingerprint(self) -> str:
        """The request's."""
        return self._columns[0]

    def transaction_row(self, status: TransactionStatus, reason: str, rate: str, finished_at: str) -> tuple[str, ...]:
        """Columns of ``record_legs``' new transactions."""
        fingerprint, kind, debtor, creditor, request, submitted_by, submitted_at = self._columns
        return (
            self.request.tenant, self.request.transaction_id, fingerprint, kind, debtor, creditor, request, status.value, reason, rate,
            submitted_by, submitted_at, finished_at, self.request.reverses or "",
        )  # fmt: skip


class Known(NamedTuple):
    """What was recorded of a leg's transaction before."""

    fingerprint: str
    status: TransactionStatus
    reason: Refusal | None
    finished_at: dt.datetime | None
    decision: Decision | None
    """Of this leg."""


@dataclass(frozen=True)
class RecordedBefore:
    """The answer to linked legs whose transaction was there: whoever asked reads it."""

    request: TransactionRequest


@dataclass(frozen=True)
class SimplyPosted:
    """The answer to a plain line that is posted: there is nothing to say of it that its row doesn't."""


SIMPLY_POSTED: Final = SimplyPosted()
Answer = Decision | TransactionResult | RecordedBefore | SimplyPosted


@dataclass
class _Original:
    """A transaction that a reversal names; moved on by each reversal of the batch."""

    reversible: bool
    """Whether it has completed, and is no reversal itself."""
    amount: Money
    """What all its reversals together may take back; of a balancing one what was taken, not what was asked for."""
    reversed_amount: int
    legs: dict[tuple[str, bool], tuple[str, int, int]]
    """Account, and whether it is a debit: name, amount, and what was reversed of it."""

    def is_mirrored_by(self, legs: Sequence[Posting]) -> bool:
        """Whether a reversal's legs are these the other way round, so that no side is left out: the fee, which is kept, isn't one."""
        return self.legs.keys() == {(leg.account_id, not leg.is_debit) for leg in legs}


@dataclass
class _Opened:
    """What a batch is decided on."""

    states: dict[_AccountKey, AccountState]
    at: dt.datetime
    looked_up: bool
    """Whether `known` is all that there is to know."""
    holds: dict[tuple[str, str, str], HoldState] = field(default_factory=dict)
    originals: dict[_TransactionKey, _Original] = field(default_factory=dict)
    known: dict[tuple[int, int], Known] = field(default_factory=dict)
    """By the places of bundle and leg."""


@dataclass
class _Records:
    """What will be written: rows of column texts, in the order of ``record_legs``' arguments."""

    transactions: list[tuple[str, ...]] = field(default_factory=list)
    later: list[tuple[str, ...]] = field(default_factory=list)
    originals: list[tuple[str, ...]] = field(default_factory=list)
    decisions: list[tuple[str, ...]] = field(default_factory=list)
    gl: list[tuple[str, ...]] = field(default_factory=list)
    balances: list[tuple[str, ...]] = field(default_factory=list)
    holds: list[tuple[str, ...]] = field(default_factory=list)
    events: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, story: PlainStory) -> None:
        """Add a plain line."""
        decisions, gl, events = story.rows()
        self.decisions += decisions
        self.gl += gl
        self.events += events

    def arguments(self) -> list[list[str]]:
        """The columns of each table.

        Raises:
            ValueError: a value holds the separator.
        """
        self.transactions.sort()
        self.later.sort()
        return [
            _columns(rows)
            for rows in (
                self.transactions, self.later, self.originals, self.decisions, self.gl, self.balances, self.holds, self.events,
            )
        ]  # fmt: skip


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    columns = [SEPARATOR.join(column) for column in zip(*rows, strict=True)]
    if any(column.count(SEPARATOR) != len(rows) - 1 for column in columns):
        message = "a value holds the control character U+001F"
        raise ValueError(message)
    return columns


async def post_batch(
    driver: psycopg.AsyncConnection[Any],
    bundles: Sequence[Bundle | PlainLine],
    *,
    look_up: bool,
    commit: bool,
    decided: Callable[[], None] | None = None,
) -> list[Answer | CasaflowError]:
    """Decide and record bundles, each of another transaction.

    Args:
        driver: a connection in autocommit mode, or, without `commit`, one whose transaction somebody else ends.
        bundles: what to post; plain lines without a look-up only.
        look_up: whether to look first for what was recorded of them; without it a repeat comes as OvertakenError.
        commit: begin and end the database transaction here.
        decided: called when nothing but recording and committing is left to do: whoever opens the same accounts now will wait in the
            database, and go on the moment that their locks are free.

    Returns:
        For each bundle its answer, or why it can't be decided: TransactionConflictError, UnknownAccountError, LedgerIntegrityError.

    Raises:
        OvertakenError: see there.
        MissedLockError: see there.
        psycopg.Error: as the driver raised it.
    """
    opened = await _open(driver, bundles, look_up=look_up, begin=commit)
    if any(state.maximum_balance is not None and not state.locked for state in opened.states.values()):
        raise MissedLockError
    batch = _Batch(opened)
    answers = [batch.answer(place, bundle) for place, bundle in enumerate(bundles)]
    with _told_of_races():
        async with driver.pipeline():
            for records, is_last in batch.chunks():
                if is_last and decided is not None:
                    decided()
                # PostgreSQL writes this chunk while the texts of the next one are being put together.
                await driver.execute(_RECORD_LEGS, records.arguments())
            if commit:
                await driver.execute("COMMIT" if batch.decided_any else "ROLLBACK")
    return answers


@dataclass
class _Named:
    """What the bundles of a batch name, each once."""

    accounts: dict[_AccountKey, bool] = field(default_factory=dict)
    """Whether it is debited."""
    holds: dict[tuple[str, str, str], None] = field(default_factory=dict)
    originals: dict[_TransactionKey, None] = field(default_factory=dict)

    @classmethod
    def by(cls, bundles: Sequence[Bundle | PlainLine]) -> _Named:
        named = cls()
        for bundle in bundles:
            if isinstance(bundle, PlainLine):
                for account_id, is_debited in bundle.accounts:
                    key = (bundle.file.tenant, account_id)
                    named.accounts[key] = is_debited or named.accounts.get(key, False)
                continue
            request = bundle.request
            for leg, account_id in zip(bundle.legs, bundle.account_ids, strict=True):
                key = (request.tenant, account_id)
                named.accounts[key] = leg.is_debit or named.accounts.get(key, False)
            if request.hold_id is not None and request.debtor is not None:
                named.holds[request.tenant, request.debtor.account_id, request.hold_id] = None
            if request.reverses is not None:
                named.originals[request.tenant, request.reverses] = None
        return named


async def _open(driver: psycopg.AsyncConnection[Any], bundles: Sequence[Bundle | PlainLine], *, look_up: bool, begin: bool) -> _Opened:
    named = _Named.by(bundles)
    keys = [
        ((place, number), _leg_key(bundle, number))
        for place, bundle in enumerate(bundles if look_up else ())
        if isinstance(bundle, Bundle)
        for number in range(len(bundle.legs))
    ]
    places = [place for place, _ in keys]
    async with driver.pipeline():
        if begin:
            await driver.execute(_BEGIN)
        accounts = await driver.execute(_OPEN_ACCOUNTS, [*_transposed(named.accounts, 2), list(named.accounts.values())])
        held = await driver.execute(_OPEN_HOLDS, _transposed(named.holds, 3)) if named.holds else None
        if named.originals:
            await driver.execute(_LOCK_ORIGINALS, _transposed(named.originals, 2))
        originals = await driver.execute(_OPEN_ORIGINALS, _transposed(named.originals, 2)) if named.originals else None
        # Last, after all locks were granted, so that it sees what others committed meanwhile.
        known = await driver.execute(_KNOWN_LEGS, _transposed([key for _, key in keys], 4)) if places else None
    rows = await accounts.fetchall()
    return _Opened(
        states={(row[0], row[1]): account_state(row) for row in rows},
        at=rows[0][17].astimezone(dt.UTC) if rows else dt.datetime.min.replace(tzinfo=dt.UTC),  # without a row nothing is decided
        looked_up=look_up,
        holds={(row[0], row[1], str(row[2])): _hold_state(row) for row in (await held.fetchall() if held else ())},
        originals={(row[0], str(row[1])): _original(*row[2:]) for row in (await originals.fetchall() if originals else ())},
        known={places[row[0] - 1]: _known(*row[1:]) for row in (await known.fetchall() if known else ())},
    )


def _hold_state(row: tuple[Any, ...]) -> HoldState:
    state = HoldState(*row[3:12])
    times = {name: at.astimezone(dt.UTC) for name in ("created_at", "expires_at") if (at := getattr(state, name)) is not None}
    return state._replace(**times)


def _transposed(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    columns = list(zip(*rows, strict=True))
    return [list(column) for column in columns] if columns else [[] for _ in range(width)]


def _leg_key(bundle: Bundle, number: int) -> tuple[str, str, str, str]:
    leg = bundle.legs[number]
    return bundle.request.tenant, leg.account_id, bundle.request.transaction_id, leg.leg.value


def _original(status: str, request: Mapping[str, Any], reversed_amount: int, legs: Sequence[Mapping[str, Any]]) -> _Original:
    booked = {
        (leg["account_id"], leg["leg"] == LegName.DEBIT): (leg["leg"], leg["amount"], leg["reversed"])
        for leg in legs
        if leg["leg"] in {LegName.DEBIT, LegName.CREDIT}
    }
    minor_units = request["amount"]["minor_units"]
    if request.get("balancing"):
        minor_units = max((amount for _, amount, _ in booked.values()), default=minor_units)  # all of its legs booked the same
    return _Original(
        reversible=status == TransactionStatus.COMPLETED and request.get("reverses") is None,
        amount=Money(minor_units=minor_units, currency=request["amount"]["currency"]),
        reversed_amount=reversed_amount,
        legs=booked,
    )


def _known(
    fingerprint: str, status: str, reason: Mapping[str, Any] | None, finished_at: dt.datetime | None, stored: Mapping[str, Any] | None
) -> Known:
    return Known(
        fingerprint=fingerprint,
        status=TransactionStatus(status),
        reason=from_jsonb(Refusal, reason),
        finished_at=finished_at,
        decision=decision_from_row(stored) if stored is not None else None,
    )


@contextmanager
def _told_of_races() -> Iterator[None]:
    """What PostgreSQL says of a leg that another connection decided meanwhile."""
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name in _KEYS_OF_A_LEG:
            raise OvertakenError from error
        raise
    except psycopg.DatabaseError as error:
        if error.sqlstate == _OVERTAKEN:
            raise OvertakenError from error
        raise


class _Batch:
    """Decides bundles one after the other, each on what the ones before it left."""

    def __init__(self, opened: _Opened) -> None:
        self._opened = opened
        self._states = dict(opened.states)
        self._debited: dict[_AccountKey, int] = {}
        self._released: dict[_AccountKey, int] = {}
        self._taken_back: dict[tuple[str, str, str, str], int] = {}
        """By tenant, original, account and leg (both empty for the original itself), so that each row is changed once."""
        self._clock = opened.at
        self._captured: dict[tuple[str, str, str], tuple[int, str]] = {}
        """By hold: what its captures sum to, and the status that the last one leaves."""
        self._transactions: list[tuple[str, ...]] = []
        self._later: list[tuple[str, ...]] = []
        self._decided: list[tuple[_Story | PlainStory, TransactionStatus, Refusal | None]] = []

    def answer(self, place: int, bundle: Bundle | PlainLine) -> Answer | CasaflowError:
        """Decide a bundle, or find what stands of it."""
        if isinstance(bundle, PlainLine):
            if self._simply_posted(bundle):
                return SIMPLY_POSTED
            request = bundle.request()
            bundle = Bundle(request, bundle.legs(request), linked=request.linked)
        known = self._opened.known.get((place, 0))
        if known is not None and known.fingerprint != bundle.fingerprint:
            return TransactionConflictError(transaction_id=bundle.request.transaction_id)
        missing = self._missing(bundle)
        if missing is not None:
            return missing
        if known is not None:
            if bundle.linked:
                return RecordedBefore(bundle.request)
            standing = _standing(bundle.legs[0], known)
            if standing is not None:
                return standing
        return self._decide(bundle, later=known is not None or (bool(bundle.legs[0].earlier) and not self._opened.looked_up))

    def _simply_posted(self, line: PlainLine) -> bool:
        """Post a plain line, if nothing speaks against it; otherwise it is for the rules to say what."""
        tenant, clock = line.file.tenant, self._clock
        debtor, creditor = self._states.get((tenant, line.debtor or "")), self._states.get((tenant, line.creditor or ""))
        debited_at = credited_at = ""
        after: AccountState | None = None
        if line.debtor is not None:
            if debtor is None or debtor.currency != line.currency or debit_refusal(debtor, line.amount) is not None:
                return False
            clock += _MICROSECOND
            after, debited_at = debtor.after_debit(line.amount), clock.isoformat()
        if line.creditor is not None:
            if creditor is None or creditor.currency != line.currency or credit_refusal(creditor, line.amount) is not None:
                return False
            clock += _MICROSECOND
            credited_at = clock.isoformat()
            if creditor.locked:
                self._states[tenant, line.creditor] = creditor.after_credit(line.amount)
        if after is not None and line.debtor is not None:
            key = (tenant, line.debtor)
            self._states[key] = after
            self._debited[key] = self._debited.get(key, 0) + line.amount
        self._clock = clock
        self._transactions.append(line.transaction_row(credited_at or debited_at))
        self._decided.append((PlainStory(line, after, debited_at, credited_at), TransactionStatus.COMPLETED, None))
        return True

    @property
    def decided_any(self) -> bool:
        """Whether there is anything to record."""
        return bool(self._decided)

    def chunks(self) -> Iterator[tuple[_Records, bool]]:
        """What is to be written, in parts of which each is put together when it is asked for; and whether it is the last part.

        The rows of transactions come first and all at once, sorted: whoever posts some of the same ids waits for the first of them, and
        never in a circle. Online rows and holds change once, in the last part.
        """
        for first in range(0, len(self._decided), CHUNK):
            records = _Records()
            part = self._decided[first : first + CHUNK]
            is_last = first + CHUNK >= len(self._decided)
            if first == 0:
                records.transactions, records.later = self._transactions, self._later
                records.originals = [(*row, str(amount)) for row, amount in self._taken_back.items()]
            for story, status, reason in part:
                if isinstance(story, PlainStory):
                    records.add(story)
                else:
                    story.write(records, status, reason)
            if is_last:
                records.balances = [self._balance_row(key, debited) for key, debited in self._debited.items()]
                records.holds = [(*key, str(captured), status) for key, (captured, status) in self._captured.items()]
            yield records, is_last

    def _balance_row(self, key: _AccountKey, debited: int) -> tuple[str, ...]:
        before, after = self._opened.states[key], self._states[key]
        return (
            *key, str(debited), str(before.version), str(after.version), str(-self._released.get(key, 0)), after.local_day.isoformat(),
            str(after.spent_on_day), str(after.spent_in_month),
        )  # fmt: skip

    def _missing(self, bundle: Bundle) -> CasaflowError | None:
        for leg, account_id in zip(bundle.legs, bundle.account_ids, strict=True):
            state = self._states.get((bundle.request.tenant, account_id))
            if state is None:
                return UnknownAccountError(field="creditor" if leg.leg is LegName.CREDIT else "debtor", account_id=account_id)
            if state.currency != leg.amount.currency:
                # The request's validation excludes it, and an account's currency never changes.
                message = f"account {account_id} is kept in {state.currency}, not {leg.amount.currency}"
                return LedgerIntegrityError(message)
        return None

    def _decide(self, bundle: Bundle, *, later: bool) -> Answer:
        story = _Story(bundle, self._opened, self._states, self._clock)
        story.decide()
        self._clock = story.clock
        decisions = story.decisions
        refused = story.refused
        last = bundle.legs[-1]
        status = last.status_if_refused if refused is not None else last.status_if_posted
        reason = last.because or (refused.refusal if refused is not None else None)
        if refused is None:
            self._take_over(bundle, story)
        self._note_transaction(bundle, decisions, status, reason, later=later)
        self._decided.append((story, status, reason))
        if not bundle.linked:
            return decisions[0]
        return TransactionResult(transaction_id=bundle.request.transaction_id, status=status, reason=reason, legs=tuple(decisions))

    def _take_over(self, bundle: Bundle, story: _Story) -> None:
        """What a posted bundle leaves to the ones after it."""
        tenant = bundle.request.tenant
        for key, amount in story.debited.items():
            self._debited[key] = self._debited.get(key, 0) + amount
        self._states.update(story.states)
        if story.hold is not None:
            hold_key, before, after, released = story.hold
            self._opened.holds[hold_key] = after
            self._released[hold_key[:2]] = self._released.get(hold_key[:2], 0) + released
            # Several captures of one hold in a batch are one change of its row.
            captured, _ = self._captured.get(hold_key, (0, ""))
            self._captured[hold_key] = (captured + after.captured - before.captured, after.status)
        if story.original is not None and bundle.request.reverses is not None:
            story.original.reversed_amount += bundle.request.amount.minor_units
            taken_back = {("", ""): bundle.request.amount.minor_units}
            for leg_key, amount in story.taken_back.items():
                name, booked, before_it = story.original.legs[leg_key]
                story.original.legs[leg_key] = (name, booked, before_it + amount)
                taken_back[leg_key[0], name] = amount
            for (account_id, name), amount in taken_back.items():
                row = (tenant, bundle.request.reverses, account_id, name)
                self._taken_back[row] = self._taken_back.get(row, 0) + amount

    def _note_transaction(
        self, bundle: Bundle, decisions: Sequence[Decision], status: TransactionStatus, reason: Refusal | None, *, later: bool
    ) -> None:
        finished_at = decisions[-1].decided_at.isoformat() if status in FINAL_STATUSES else ""
        reason_text = to_jsonb(reason) if reason is not None and status is not TransactionStatus.COMPLETED else ""
        conversion = next((decision.conversion for decision in decisions if decision.conversion is not None), None)
        rate = to_jsonb(conversion) if conversion is not None else ""
        if later:
            request = bundle.request
            row = (request.tenant, request.transaction_id, bundle.fingerprint, status.value, reason_text, rate, finished_at)
            self._later.append(row)
        else:
            self._transactions.append(bundle.transaction_row(status, reason_text, rate, finished_at))


def _gl_rows(posting: Posting) -> list[tuple[str, ...]]:
    request, account_id = posting.request, posting.account_id
    return [
        (request.tenant, account_id, request.transaction_id, posting.leg.value, entry.account.value, entry.amount.currency,
         str(entry.amount.minor_units))
        for entry in gl_entries(posting)
    ]  # fmt: skip


def _decision_row(request: TransactionRequest, decision: Decision, at: str, override: str) -> tuple[str, ...]:
    return (
        request.tenant,
        decision.account_id,
        request.transaction_id,
        decision.leg.value,
        decision.outcome.value,
        to_jsonb(decision.refusal) if decision.refusal is not None else "",
        str(decision.amount.minor_units),
        decision.amount.currency,
        to_jsonb(decision.conversion) if decision.conversion is not None else "",
        decision.value_date.isoformat(),
        at,
        _text(decision.version),
        _text(decision.ledger_after),
        _text(decision.available_after),
        decision.hold_id or "",
        override,
    )


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


class _Story:
    """One bundle being decided; nothing of it counts until all its legs are accepted."""

    def __init__(self, bundle: Bundle, opened: _Opened, states: Mapping[_AccountKey, AccountState], clock: dt.datetime) -> None:
        self._bundle = bundle
        self._opened = opened
        self._before = states
        self.clock = clock
        self.states: dict[_AccountKey, AccountState] = {}
        self.debited: dict[_AccountKey, int] = {}
        self.postings: list[Posting] = []
        self.decisions: list[Decision] = []
        self.refused: Decision | None = None
        self.hold: _Captured | None = None
        """Its key, as it was and as it will be, and what it no longer holds."""
        self.original: _Original | None = None
        self.taken_back: dict[tuple[str, bool], int] = {}

    def decide(self) -> None:
        """Decide the legs in order, up to the first that is refused; then only that one is left."""
        request = self._bundle.request
        if request.reverses is not None:
            named = self._opened.originals.get((request.tenant, request.reverses))
            self.original = named if named is not None and named.reversible and named.is_mirrored_by(self._bundle.legs) else None
        for leg, account_id in zip(self._bundle.legs, self._bundle.account_ids, strict=True):
            # A microsecond apart, so that the order of booking times is the order of decisions. Deciding takes longer than that.
            self.clock += _MICROSECOND
            key = (request.tenant, account_id)
            state = self.states.get(key) or self._before[key]
            posting, unfit = self._with_amount(leg, state)
            decision = self._debit(posting, state, key, unfit) if leg.is_debit else self._credit(posting, state, key, unfit)
            if not decision.posted:
                self.postings, self.decisions, self.refused = [posting], [decision], decision
                return
            self.postings.append(posting)
            self.decisions.append(decision)

    def write(self, records: _Records, status: TransactionStatus, reason: Refusal | None) -> None:
        """Add what is to be written of the legs to `records`; the transaction's own row is not among it."""
        bundle, request = self._bundle, self._bundle.request
        override = to_jsonb(request.override) if request.override is not None else ""
        for posting, decision in zip(self.postings, self.decisions, strict=True):
            at = decision.decided_at.isoformat()
            records.decisions.append(_decision_row(request, decision, at, override if posting.is_debit else ""))
            if decision.posted:
                for entry in self._gl_rows(posting):
                    records.gl.append((*entry, at))
        events = bundle.writer.events(self.decisions, status=status, reason=reason, earlier=bundle.legs[-1].earlier)
        for position, event in enumerate(events):
            records.events.append((*event, request.tenant, request.transaction_id, str(position)))
        if self.hold is not None and self.refused is None and self.hold[1].announced:
            self._write_capture(records, self.hold, position=len(events))

    def _write_capture(self, records: _Records, captured: _Captured, *, position: int) -> None:
        """The hold's own event. It is its transaction's to publish."""
        (tenant, account_id, hold_id), before, after, released = captured
        debit = next(decision for decision in self.decisions if decision.hold_id == hold_id)
        currency = debit.amount.currency

        def money(minor_units: int) -> Money:
            return Money(minor_units=minor_units, currency=currency)

        hold = Hold(
            tenant=tenant,
            hold_id=hold_id,
            account_id=account_id,
            amount=money(after.amount),
            captured=money(after.captured),
            status=HoldStatus(after.status),
            created_at=before.created_at or debit.decided_at,
            expires_at=before.expires_at or debit.decided_at,
            reference=before.reference,
            authorised_by=before.authorised_by,
        )
        event = hold_captured(
            hold,
            transaction_id=self._bundle.request.transaction_id,
            capture=debit.amount,
            released=money(released - debit.amount.minor_units),
            at=debit.decided_at,
        )
        at = debit.decided_at.isoformat()
        values = (event.event_id, event.topic, event.key, event.type, event.source, event.subject, at, event.data)
        records.events.append((*values, tenant, self._bundle.request.transaction_id, str(position)))

    def _gl_rows(self, posting: Posting) -> list[tuple[str, ...]]:
        """The internal side of a posted leg, but for its time."""
        for number, leg in enumerate(self._bundle.legs):
            if leg is posting:
                return self._bundle.gl[number]
        return _gl_rows(posting)  # it books what was known only under the locks

    def _with_amount(self, leg: Posting, state: AccountState) -> tuple[Posting, Refusal | None]:
        """The leg with what it books, where that is known only now; or why it can't be."""
        request = self._bundle.request
        minor_units = leg.amount.minor_units
        if request.reverses is not None:
            found = self._share_taken_back(leg)
            if isinstance(found, Refusal):
                return leg, found
            minor_units = found
        elif request.balancing and leg.is_debit:
            # Where nothing is there to take, the whole is refused for want of it.
            minor_units = min(minor_units, max(state.available - state.minimum_balance, 0)) or minor_units
        elif request.balancing and self.postings:
            minor_units = self.postings[0].amount.minor_units  # what the debit took
        if minor_units == leg.amount.minor_units and not self._bundle.linked:
            return leg, None
        transit = self.postings[0].amount if leg.transit is not None and self.postings and not request.shares else leg.transit
        amount = Money(minor_units=minor_units, currency=leg.amount.currency)
        if amount == leg.amount and transit == leg.transit:
            return leg, None
        return leg.model_copy(update={"amount": amount, "transit": transit}), None

    def _share_taken_back(self, leg: Posting) -> int | Refusal:
        request, original = self._bundle.request, self.original
        if original is None:
            detail = f"transaction {request.reverses} is not a completed one, of which these are the legs to take back"
            return Refusal(code=RefusalCode.NOT_REVERSIBLE, detail=detail, account_id=leg.account_id)
        part = request.amount.minor_units
        if request.shares and part < original.amount.minor_units:
            detail = f"transaction {request.reverses} has several creditors, so it is reversed as a whole or not at all"
            return Refusal(code=RefusalCode.NOT_REVERSIBLE, detail=detail, account_id=leg.account_id)
        if request.amount.currency != original.amount.currency or original.reversed_amount + part > original.amount.minor_units:
            left = Money(minor_units=original.amount.minor_units - original.reversed_amount, currency=original.amount.currency)
            detail = f"of transaction {request.reverses} {left} are left to reverse, less than {request.amount}"
            return Refusal(code=RefusalCode.REVERSAL_EXCEEDS_ORIGINAL, detail=detail, account_id=leg.account_id)
        # A reversal's debit takes back a credit, and the other way round.
        _, booked, already = original.legs[leg.account_id, not leg.is_debit]
        share = reversed_share(
            booked, already=already, original=original.amount.minor_units, reversed_before=original.reversed_amount, part=part
        )
        if share <= 0:
            detail = f"{request.amount} is less than half a minor unit of {leg.amount.currency}"
            return Refusal(code=RefusalCode.CONVERSION_ROUNDS_TO_ZERO, detail=detail)
        self.taken_back[leg.account_id, not leg.is_debit] = share
        return share

    def _debit(self, posting: Posting, state: AccountState, key: _AccountKey, unfit: Refusal | None) -> Decision:
        request = self._bundle.request
        minor_units = posting.amount.minor_units
        is_reversal = request.reverses is not None
        captures = request.hold_id is not None and posting.leg is LegName.DEBIT
        refusal = debit_status_refusal(state)
        if is_reversal and refusal is not None and refusal.code is RefusalCode.ACCOUNT_DORMANT:
            refusal = None  # Dormancy is about the customer's own debits.
        refusal = refusal or unfit
        released = 0
        if captures and refusal is None:
            hold_key = (*key, request.hold_id or "")
            hold = self._opened.holds.get(hold_key)
            refusal = capture_refusal(hold, minor_units, currency=state.currency, hold_id=hold_key[2], account_id=state.account_id)
            if hold is not None and refusal is None:
                after, released = hold.after_capture(minor_units, final=request.releases_hold)
                self.hold = (hold_key, hold, after, released)
        elif refusal is None and request.override is None:
            # A reversal is the bank's doing: the customer's limits don't count for it.
            refusal = (None if is_reversal else limit_refusal(state, minor_units)) or funds_refusal(state, minor_units)
        if refusal is not None:
            return self._decision(posting, key[1], refusal=refusal)
        # What a hold counted for the limits when it was authorised doesn't count again.
        spent = 0 if captures or is_reversal else minor_units
        after_it = state.after_debit(minor_units, released=released, spent=spent)
        self.states[key] = after_it
        self.debited[key] = self.debited.get(key, 0) + minor_units
        return self._decision(posting, key[1], after=after_it)

    def _credit(self, posting: Posting, state: AccountState, key: _AccountKey, unfit: Refusal | None) -> Decision:
        if posting.leg is LegName.COMPENSATION:
            refusal = None  # It gives back what this transaction took: no status and no maximum may stand in the way.
        else:
            refusal = credit_status_refusal(state.status, state.account_id) or unfit or credit_refusal(state, posting.amount.minor_units)
        if refusal is not None:
            return self._decision(posting, key[1], refusal=refusal)
        if state.locked:
            self.states[key] = state.after_credit(posting.amount.minor_units)
        return self._decision(posting, key[1])

    def _decision(
        self, posting: Posting, account_id: str, *, refusal: Refusal | None = None, after: AccountState | None = None
    ) -> Decision:
        return Decision(
            leg=posting.leg,
            account_id=account_id,
            outcome=Outcome.REFUSED if refusal else Outcome.POSTED,
            amount=posting.amount,
            conversion=posting.conversion,
            value_date=posting.value_date,
            decided_at=self.clock,
            refusal=refusal,
            version=after.version if after else None,
            ledger_after=after.ledger if after else None,
            available_after=after.available if after else None,
            hold_id=posting.request.hold_id if posting.leg is LegName.DEBIT else None,
            override=posting.request.override if posting.is_debit else None,
        )


def _standing(posting: Posting, known: Known) -> Decision | CasaflowError | None:
    """What stands of a leg whose transaction was recorded before; None when it is to be decided."""
    if known.decision is not None:
        return known.decision
    if known.status not in FINAL_STATUSES:
        return None
    if known.status is not TransactionStatus.REJECTED or known.finished_at is None:
        return LedgerIntegrityError(
            f"the {posting.leg} leg of transaction {posting.request.transaction_id} comes after the transaction's end"
        )
    # A rejection came first, so nothing may be posted any more: the leg is refused for the transaction's reason.
    return Decision(
        leg=posting.leg,
        account_id=posting.account_id,
        outcome=Outcome.REFUSED,
        amount=posting.amount,
        conversion=posting.conversion,
        value_date=posting.value_date,
        decided_at=known.finished_at,
        refusal=known.reason,
    )
