"""What a payment of a pain.001 file says, once it keeps the schema."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final, NamedTuple

from infra.iso20022.names import NOT_PROVIDED
from infra.iso20022.schemas import local_name
from ledger.errors import InvalidInputError
from ledger.ibans import is_iban
from ledger.ids import parse_account_id, parse_transaction_id
from ledger.money import Money
from ledger.payment_files import PaymentLine
from ledger.requests import MAX_REMITTANCE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lxml import etree


AMOUNT: Final = "Amt/InstdAmt"

_CURRENCY: Final = "Amt/InstdAmt/@Ccy"
_DATE_LENGTH: Final = len("2026-01-31")
_BIC_LENGTH: Final = 11
"""With the branch; ``XXX``, or none, is the head office."""


class _Block(NamedTuple):
    """What all payments of a payment information block have in common."""

    payment_information_id: str
    debtor: str
    value_date: dt.date


class PaymentReader:
    """Reads payments one after the other; knows the block that they belong to."""

    def __init__(self, report: Callable[[str, str, str, str], None], bic: str | None) -> None:
        """Read nothing yet.

        Args:
            report: takes place, field, value and rule of each problem.
            bic: ours, or None.
        """
        self._report = report
        self._bic = bic
        self._block: _Block | None = None
        self._end_to_end_ids: set[str] = set()
        self._instruction_ids: set[str] = set()

    def begin_block(self, texts: Mapping[str, str], place: str) -> None:
        """Take what stands in a block before its first payment."""
        self._end_to_end_ids = set()
        self._instruction_ids = set()
        self._block = None
        try:
            self._block = self._read_block(texts)
        except InvalidInputError as error:
            self._tell(error, place)

    def line(self, texts: Mapping[str, str], number: int, place: str) -> PaymentLine | None:
        """The payment, or None when it, or its block, breaks a rule; what is wrong with it is reported."""
        if self._block is None:
            return None
        try:
            return self._line(texts, self._block, number, place)
        except InvalidInputError as error:
            self._tell(error, place)
        return None

    def _tell(self, error: InvalidInputError, place: str) -> None:
        self._report(place, error.field, "" if error.value is None else str(error.value), error.rule)

    def _read_block(self, texts: Mapping[str, str]) -> _Block:
        method = texts.get("PmtMtd")
        if method != "TRF":
            raise InvalidInputError(field="PmtMtd", value=method, rule="must be TRF: cheques and advices are not carried out")
        bic = _bic(texts, "DbtrAgt")
        if self._bic is not None and bic is not None and not _is_same_bank(bic, self._bic):
            raise InvalidInputError(field="DbtrAgt/FinInstnId", value=bic, rule=f"must be {self._bic}")
        day = texts.get("ReqdExctnDt") or texts.get("ReqdExctnDt/Dt") or texts.get("ReqdExctnDt/DtTm") or ""
        try:
            value_date = dt.date.fromisoformat(day.strip()[:_DATE_LENGTH])
        except ValueError:
            raise InvalidInputError(field="ReqdExctnDt", value=day, rule="must be a date such as 2026-01-31") from None
        return _Block(texts.get("PmtInfId") or NOT_PROVIDED, _account_of_ours(texts, "DbtrAcct"), value_date)

    def _line(self, texts: Mapping[str, str], block: _Block, number: int, place: str) -> PaymentLine:
        end_to_end_id = _printable(texts, "PmtId/EndToEndId")
        instruction_id = _printable(texts, "PmtId/InstrId")
        _must_be_new(self._end_to_end_ids, end_to_end_id, "PmtId/EndToEndId")
        _must_be_new(self._instruction_ids, instruction_id, "PmtId/InstrId")
        if AMOUNT not in texts:
            raise InvalidInputError(field="Amt", value=None, rule="must be InstdAmt: an equivalent amount is not carried out")
        amount = Money.parse(texts[AMOUNT].strip(), texts.get(_CURRENCY, ""), field=AMOUNT, currency_field=_CURRENCY)
        creditor, counterparty = self._creditor(texts, block.debtor)
        uetr = texts.get("PmtId/UETR")
        reference = None if end_to_end_id == NOT_PROVIDED else end_to_end_id
        given = {"pmt_inf_id": block.payment_information_id, "instr_id": instruction_id, "end_to_end_id": end_to_end_id}
        return PaymentLine(
            number=number,
            place=place,
            debtor=block.debtor,
            creditor=creditor,
            amount=amount,
            transaction_id=None if uetr is None else parse_transaction_id(uetr, field="PmtId/UETR"),
            end_to_end_id=reference,
            reference=reference,
            remittance_information=_remittance_information(texts),
            value_date=block.value_date,
            counterparty=counterparty,
            instruction={name: value for name, value in given.items() if value is not None},
        )

    def _creditor(self, texts: Mapping[str, str], debtor: str) -> tuple[str | None, Mapping[str, str]]:
        """The creditor's account, if it is one of ours, and who else gets the money."""
        bank = _bank(texts, "CdtrAgt")
        if bank is None or (self._bic is not None and _is_same_bank(bank, self._bic)):
            creditor = _account_of_ours(texts, "CdtrAcct")
            if creditor == debtor:
                raise InvalidInputError(field="CdtrAcct", value=creditor, rule="must be another account than DbtrAcct")
            return creditor, {}
        counterparty = {"name": _printable(texts, "Cdtr/Nm"), "account": _account(texts, "CdtrAcct")[1], "bank": bank}
        return None, {name: value for name, value in counterparty.items() if value is not None}


class Texts:
    """Reads the texts below an element by their paths of local names, in one walk: ``{"Amt/InstdAmt": "1.00"}``."""

    def __init__(self, without: str) -> None:
        """Learn nothing yet.

        Args:
            without: the tag of children that are left out.
        """
        self._without = without
        self._paths: dict[tuple[str, str], str] = {}

    def of(self, element: etree._Element) -> dict[str, str]:
        """The texts of all elements that have no children; what stands several times at a path is joined with spaces."""
        found: dict[str, str] = {}
        self._walk(element, "", found)
        return found

    def _walk(self, element: etree._Element, place: str, found: dict[str, str]) -> None:
        for child in element:
            tag = child.tag
            if tag == self._without:
                continue
            path = self._paths.get((place, tag))
            if path is None:
                name = local_name(child)
                path = self._paths[place, tag] = f"{place}/{name}" if place else name
            if len(child):
                self._walk(child, path, found)
                continue
            text = child.text or ""
            found[path] = f"{found[path]} {text}" if path in found else text
            if path == AMOUNT:
                found[_CURRENCY] = child.get("Ccy") or ""


def _bank(texts: Mapping[str, str], agent: str) -> str | None:
    """Whatever identifies an agent; None: none is named."""
    bic = _bic(texts, agent)
    if bic is not None:
        return bic
    for path in ("ClrSysMmbId/MmbId", "Othr/Id", "Nm"):
        found = _printable(texts, f"{agent}/FinInstnId/{path}")
        if found is not None:
            return None if found == NOT_PROVIDED else found
    if any(path.startswith(f"{agent}/") for path in texts):
        raise InvalidInputError(field=agent, value=None, rule="must be identified by BICFI, ClrSysMmbId, Othr or Nm, or be left out")
    return None


def _bic(texts: Mapping[str, str], agent: str) -> str | None:
    return texts.get(f"{agent}/FinInstnId/BICFI") or texts.get(f"{agent}/FinInstnId/BIC")


def _account_of_ours(texts: Mapping[str, str], side: str) -> str:
    path, account = _account(texts, side)
    return parse_account_id(account, field=path)


def _account(texts: Mapping[str, str], side: str) -> tuple[str, str]:
    """Where the identification of an account stands, and what it is."""
    path = f"{side}/Id/IBAN"
    iban = texts.get(path)
    if iban is not None:
        if not is_iban(iban):
            raise InvalidInputError(field=path, value=iban, rule="must be an IBAN, with its own check digits")
        return path, iban
    path = f"{side}/Id/Othr/Id"
    other = _printable(texts, path)
    if other is None:
        raise InvalidInputError(field=side, value=None, rule="must be identified by IBAN or Othr/Id")
    return path, other


def _remittance_information(texts: Mapping[str, str]) -> str | None:
    """All unstructured texts, one behind the other; without any, the creditor's reference."""
    path = "RmtInf/Ustrd" if "RmtInf/Ustrd" in texts else "RmtInf/Strd/CdtrRefInf/Ref"
    text = _printable(texts, path)
    if text is not None and len(text) > MAX_REMITTANCE_LENGTH:
        raise InvalidInputError(field=path, value=text, rule=f"must have at most {MAX_REMITTANCE_LENGTH} characters in all")
    return text


def _must_be_new(known: set[str], identification: str | None, path: str) -> None:
    if identification is None or identification == NOT_PROVIDED:
        return
    if identification in known:
        raise InvalidInputError(field=path, value=identification, rule="must not repeat within a PmtInf")
    known.add(identification)


def _printable(texts: Mapping[str, str], path: str) -> str | None:
    text = texts.get(path)
    if text is not None and not text.isprintable():
        raise InvalidInputError(field=path, value=text, rule="must have printable characters only (no line breaks)")
    return text


def _is_same_bank(one: str, other: str) -> bool:
    """Whether two BICs name one bank's same branch."""
    return one.ljust(_BIC_LENGTH, "X") == other.ljust(_BIC_LENGTH, "X")
