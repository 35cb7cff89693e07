"""A line of a payment file that is simply posted, as texts only: what the models write for it, to the byte, in a fraction of their time.

Where anything else comes of a line (a refusal, a repeat), its :class:`infra.postgres.posting.Bundle` is made and decided as all others are.
`tests/unit/postgres/test_plain_lines.py` compares what both write.
"""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.currencies import MINOR_UNIT_EXPONENTS
from ledger.events import CREDITED_V1, DEBITED_V1, FINISHED_TYPES, TOPIC_BALANCE_UPDATED, TOPIC_TRANSACTION_FINISHED
from ledger.ids import event_id
from ledger.money import Money, decimal_text
from ledger.postings import first_posting, linked_posting
from ledger.requests import AccountRef, TransactionRequest, canonical_json
from ledger.results import TransactionStatus

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from ledger.accounts import AccountState
    from ledger.postings import Posting

_FINISHED_V1: Final = FINISHED_TYPES[TransactionStatus.COMPLETED]
Row = tuple[str, ...]


class FileTexts(NamedTuple):
    """What the lines of a file have in common, written once."""

    tenant: str
    submitted_by: str
    submitted_at: dt.datetime
    booking_date: dt.date
    source: str
    submitted: str
    """As JSON, for events and the request."""
    submitted_iso: str

    @classmethod
    def of(cls, tenant: str, submitted_by: str, submitted_at: dt.datetime, booking_date: dt.date) -> FileTexts:
        """Write them; `submitted_at` is in UTC."""
        iso = submitted_at.isoformat()
        submitted = f'"submitted_by":{encode_basestring(submitted_by)},"submitted_at":"{iso.removesuffix("+00:00")}Z"'
        return cls(tenant, submitted_by, submitted_at, booking_date, f"/casaflow/tenants/{tenant}", submitted, iso)


class PlainLine:
    """One payment between accounts of its currency."""

    __slots__ = (
        "amount",
        "creditor",
        "currency",
        "debtor",
        "exponent",
        "file",
        "kind",
        "metadata",
        "reference",
        "remittance",
        "settlement",
        "texts",
        "transaction_id",
        "value_date",
    )

    def __init__(self, file: FileTexts, row: tuple[Any, ...]) -> None:
        """Take what it says.

        Args:
            file: whose line it is.
            row: transaction id, debtor, creditor, minor units, currency, settlement, reference, remittance information, value date,
                metadata.
        """
        self.file = file
        (
            self.transaction_id, self.debtor, self.creditor, self.amount, self.currency, self.settlement, self.reference, self.remittance,
            self.value_date, self.metadata,
        ) = row  # fmt: skip
        self.exponent = MINOR_UNIT_EXPONENTS[self.currency]
        self.kind = "transfer" if self.debtor and self.creditor else "withdrawal" if self.debtor else "deposit"
        self.texts = self._texts()

    @property
    def accounts(self) -> tuple[tuple[str, bool], ...]:
        """Its accounts, and whether each is debited."""
        sides = ((self.debtor, True), (self.creditor, False))
        return tuple((account, debited) for account, debited in sides if account is not None)

    def request(self) -> TransactionRequest:
        """The request that this line is."""

        def side(account_id: str | None) -> AccountRef | None:
            return AccountRef(account_id=account_id, currency=self.currency) if account_id is not None else None

        return TransactionRequest(
            tenant=self.file.tenant, transaction_id=self.transaction_id, debtor=side(self.debtor), creditor=side(self.creditor),
            amount=Money(minor_units=self.amount, currency=self.currency), settlement=self.settlement, reference=self.reference,
            remittance_information=self.remittance, value_date=self.value_date, metadata=self.metadata, linked=self.kind == "transfer",
            submitted_by=self.file.submitted_by, submitted_at=self.file.submitted_at,
        )  # fmt: skip

    def legs(self, request: TransactionRequest) -> tuple[Posting, ...]:
        """Its legs, as the ledger posts them."""
        if request.linked:
            return linked_posting(request, conversion=None, booking_date=self.file.booking_date).legs
        return (first_posting(request, conversion=None, booking_date=self.file.booking_date),)

    def transaction_row(self, finished_at: str) -> Row:
        """Columns of ``record_legs``' new transactions."""
        file = self.file
        return (
            file.tenant, self.transaction_id, self.texts.fingerprint, self.kind, self.debtor or "", self.creditor or "", self.texts.request,
            "completed", "", "", file.submitted_by, file.submitted_iso, finished_at, "",
        )  # fmt: skip

    def _texts(self) -> _Texts:
        file = self.file
        debtor, creditor = _text(self.debtor), _text(self.creditor)
        reference, remittance = _text(self.reference), _text(self.remittance)
        metadata, canonical = _mapping(self.metadata), canonical_json(self.metadata) if self.metadata else "{}"
        day = (self.value_date or file.booking_date).isoformat()
        value_date = f'"{self.value_date.isoformat()}"' if self.value_date else "null"
        content = (
            f'{{"creditor":{creditor},"currency":"{self.currency}","debtor":{debtor},"metadata":{canonical},'
            f'"minor_units":{self.amount},"reference":{reference},"remittance_information":{remittance},"settlement":"{self.settlement}",'
            f'"value_date":{value_date}}}'
        )
        amount = self.money(self.amount)
        settlement = "" if self.kind == "transfer" or self.settlement == "cash" else f',"settlement":"{self.settlement}"'
        instruction = (
            f'{{"tenant":"{file.tenant}","transaction_id":"{self.transaction_id}","kind":"{self.kind}","debtor":{debtor},'
            f'"creditor":{creditor},"instructed":{amount},"reference":{reference},"remittance_information":{remittance},'
            f'"metadata":{metadata},{file.submitted}{settlement}}}'
        )
        request = [f'{{"tenant":"{file.tenant}","transaction_id":"{self.transaction_id}"']
        if self.debtor:
            request.append(f'"debtor":{{"account_id":{debtor},"currency":"{self.currency}"}}')
        if self.creditor:
            request.append(f'"creditor":{{"account_id":{creditor},"currency":"{self.currency}"}}')
        request.append(f'"amount":{{"minor_units":{self.amount},"currency":"{self.currency}"}}')
        if self.settlement != "cash":
            request.append(f'"settlement":"{self.settlement}"')
        if self.reference is not None:
            request.append(f'"reference":{reference}')
        if self.remittance is not None:
            request.append(f'"remittance_information":{remittance}')
        if self.value_date:
            request.append(f'"value_date":{value_date}')
        if self.metadata:
            request.append(f'"metadata":{metadata}')
        if self.kind == "transfer":
            request.append('"linked":true')
        request.append(f"{file.submitted}}}")
        return _Texts(
            fingerprint=hashlib.sha256(content.encode()).hexdigest(), request=",".join(request), instruction=instruction, debtor=debtor,
            creditor=creditor, day=day, what=f'"amount":{amount},"conversion":null,"value_date":"{day}"',
            debited=event_id(file.tenant, self.transaction_id, DEBITED_V1, "debit") if self.debtor else "",
            credited=event_id(file.tenant, self.transaction_id, CREDITED_V1, "credit") if self.creditor else "",
            finished=event_id(file.tenant, self.transaction_id, _FINISHED_V1),
        )  # fmt: skip

    def money(self, minor_units: int) -> str:
        """An amount of the line's currency, as events have it."""
        return f'{{"value":"{decimal_text(minor_units, self.exponent)}","currency":"{self.currency}"}}'


class _Texts(NamedTuple):
    fingerprint: str
    request: str
    instruction: str
    debtor: str
    creditor: str
    day: str
    what: str
    """Of a leg: amount, conversion, value date."""
    debited: str
    credited: str
    finished: str
    """Ids of its events."""


class PlainStory:
    """A plain line that is posted."""

    __slots__ = ("_after", "_credited_at", "_debited_at", "_line")

    def __init__(self, line: PlainLine, after: AccountState | None, debited_at: str, credited_at: str) -> None:
        """Take the line, its debtor's state after it, and when its legs were decided; empty where there is no such leg."""
        self._line = line
        self._after = after
        self._debited_at = debited_at
        self._credited_at = credited_at

    def rows(self) -> tuple[list[Row], list[Row], list[Row]]:
        """Decisions, internal entries and events, in the columns of ``record_legs``."""
        line, texts, file = self._line, self._line.texts, self._line.file
        tenant, identifier, amount, currency = file.tenant, line.transaction_id, str(line.amount), line.currency
        internal = "transit" if line.kind == "transfer" else line.settlement
        decisions: list[Row] = []
        gl: list[Row] = []
        events: list[Row] = []
        told: list[str] = []
        if self._after is not None and line.debtor is not None:
            at, after = self._debited_at, self._after
            utc = f"{at[:-6]}Z"
            ledger, available, which = after.ledger, after.available, f'"leg":"debit","account_id":{texts.debtor}'
            balances = f'"ledger_balance_after":{line.money(ledger)},"available_balance_after":{line.money(available)}}}'
            decisions.append(
                (tenant, line.debtor, identifier, "debit", "posted", "", amount, currency, "", texts.day, at, str(after.version),
                 str(ledger), str(available), "", "")
            )  # fmt: skip
            gl.append((tenant, line.debtor, identifier, "debit", internal, currency, amount, at))
            data = f'{{"instruction":{texts.instruction},{which},{texts.what},"booked_at":"{utc}","version":{after.version},{balances}'
            events.append(
                (texts.debited, TOPIC_BALANCE_UPDATED, f"{tenant}/{line.debtor}", DEBITED_V1, file.source, identifier, at, data, tenant,
                 identifier, "0")
            )  # fmt: skip
            told.append(f'{{{which},"outcome":"posted",{texts.what},"decided_at":"{utc}","version":{after.version},{balances}')
        if line.creditor is not None:
            at = self._credited_at
            utc = f"{at[:-6]}Z"
            which = f'"leg":"credit","account_id":{texts.creditor}'
            decisions.append(
                (tenant, line.creditor, identifier, "credit", "posted", "", amount, currency, "", texts.day, at, "", "", "", "", "")
            )
            gl.append((tenant, line.creditor, identifier, "credit", internal, currency, f"-{amount}", at))
            data = (
                f'{{"instruction":{texts.instruction},{which},{texts.what},"booked_at":"{utc}","version":null,"ledger_balance_after":null,'
                '"available_balance_after":null}'
            )
            events.append(
                (texts.credited, TOPIC_BALANCE_UPDATED, f"{tenant}/{line.creditor}", CREDITED_V1, file.source, identifier, at, data, tenant,
                 identifier, str(len(events)))
            )  # fmt: skip
            told.append(f'{{{which},"outcome":"posted",{texts.what},"decided_at":"{utc}","version":null}}')
        at = self._credited_at or self._debited_at
        data = (
            f'{{"instruction":{texts.instruction},"status":"completed","reason":null,"legs":[{",".join(told)}],"finished_at":"{at[:-6]}Z"}}'
        )
        events.append(
            (texts.finished, TOPIC_TRANSACTION_FINISHED, f"{tenant}/{identifier}", _FINISHED_V1, file.source, identifier, at, data, tenant,
             identifier, str(len(events)))
        )  # fmt: skip
        return decisions, gl, events


def _text(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _mapping(texts: Mapping[str, str]) -> str:
    if not texts:
        return "{}"
    return "{" + ",".join(f"{encode_basestring(name)}:{encode_basestring(text)}" for name, text in texts.items()) + "}"
