"""Reading pain.001, the customer credit transfer initiation: payment by payment, however large the file is.

What of a file is kept in memory is one payment, and the identifications that must not repeat within a payment information block.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from lxml import etree

from infra.iso20022.names import NAMESPACE
from infra.iso20022.pain001_payments import AMOUNT, PaymentReader, Texts
from infra.iso20022.schemas import VERSIONS, breaches, parts_schema
from ledger.errors import InvalidInputError
from ledger.payment_files import FileHeader, LineProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger.payment_files import PaymentLine

MESSAGE: Final = "/Document/CstmrCdtTrfInitn"

_CHUNK_BYTES: Final = 65_536
_MOST_BEFORE_ROOT_BYTES: Final = 1_048_576
_SHOWN_LENGTH: Final = 100
_RULE: Final = f"must be a well-formed pain.001 without a document type definition; the versions are {', '.join(VERSIONS)}"


def read(stream: BinaryIO, *, problem: Callable[[LineProblem], None], bic: str | None = None) -> tuple[FileHeader, Iterator[PaymentLine]]:
    """Read a pain.001 file.

    Args:
        stream: the file. It is read once, from where it stands, as the iterator goes on.
        problem: hears of each rule that the file breaks, in the order of the file. The payment concerned isn't among the lines. All
            problems are known when the iterator has ended.
        bic: ours. A creditor whose agent isn't named, or is this one, has an account with us; any other payment leaves the bank. None: a
            creditor whose agent is named is never ours.

    Returns:
        What the file says of itself, and its well-formed payments.

    Raises:
        InvalidInputError: it is no pain.001 of a version that can be read, or not well-formed, or has a document type definition. The
            iterator raises it too, where the file goes wrong further on.
    """
    reading = _Reading(stream, problem, bic)
    return reading.header, reading.lines()


class _Totals:
    """How many payments there are, and what they sum to."""

    def __init__(self) -> None:
        self.payments = 0
        self.amount = Decimal()

    def add(self, amount: Decimal) -> None:
        self.payments += 1
        self.amount += amount


class _Reading:
    """One pass over a file."""

    def __init__(self, stream: BinaryIO, problem: Callable[[LineProblem], None], bic: str | None) -> None:
        self._problem = problem
        head, message_name = _begin(stream)
        self._message_name = message_name
        self._schema = parts_schema(message_name)
        self._tag = f"{{{NAMESPACE}{message_name}}}"
        self._events = self._read(head, stream)
        self._message, self._group_header = self._read_group_header()
        self._payments = PaymentReader(self._report, bic)
        self._texts = Texts(without=f"{self._tag}CdtTrfTxInf")
        self._totals = _Totals()
        self._block_totals = _Totals()
        self._blocks = 0
        self.header = self._header()

    def lines(self) -> Iterator[PaymentLine]:
        """The payments, block by block; at the end the whole is compared with what the group header says."""
        message = self._message
        block: etree._Element | None = None
        last_payment: etree._Element | None = None
        for event, element in self._events:
            parent = element.getparent()
            if element.tag == f"{self._tag}PmtInf" and parent is message:
                if event == "start":
                    self._begin_block(element, block)
                    block, last_payment = element, None
                else:
                    self._end_block(element, last_payment)
            elif event == "end" and element.tag == f"{self._tag}CdtTrfTxInf" and parent is block and block is not None:
                yield from self._payment(block, element, last_payment)
                last_payment = element
        if block is None:
            self._report(MESSAGE, "PmtInf", "", "must be there")
        else:
            message.remove(block)
        self._check(message.getroottree().getroot(), "/Document")
        self._compare(f"{MESSAGE}/GrpHdr", self._group_header, self._totals)

    def _begin_block(self, block: etree._Element, block_before: etree._Element | None) -> None:
        self._blocks += 1
        self._block_totals = _Totals()
        before = self._group_header if block_before is None else block_before
        if block.getprevious() is not before:
            self._report(self._block_place, "PmtInf", "", "must stand behind GrpHdr or another PmtInf")
        if block_before is not None:
            self._message.remove(block_before)

    def _payment(self, block: etree._Element, payment: etree._Element, payment_before: etree._Element | None) -> Iterator[PaymentLine]:
        """The line of a payment, unless it breaks a rule. The payment before it is forgotten, this one emptied."""
        place = f"{self._block_place}/CdtTrfTxInf[{self._block_totals.payments + 1}]"
        if payment_before is None:
            self._payments.begin_block(self._texts.of(block), self._block_place)
        else:
            if payment.getprevious() is not payment_before:
                self._report(place, "CdtTrfTxInf", "", "must stand behind another CdtTrfTxInf")
            block.remove(payment_before)
        texts = self._texts.of(payment)
        amount = _decimal(texts.get(AMOUNT)) or Decimal()
        self._totals.add(amount)
        self._block_totals.add(amount)
        if self._check(payment, place):
            line = self._payments.line(texts, self._totals.payments, place)
            if line is not None:
                yield line
        payment.clear()

    def _end_block(self, block: etree._Element, last_payment: etree._Element | None) -> None:
        place = self._block_place
        if last_payment is None:
            self._report(place, "CdtTrfTxInf", "", "must be there")
        else:
            if last_payment.getnext() is not None:
                self._report(place, "CdtTrfTxInf", "", "must stand at the end of PmtInf")
            block.remove(last_payment)
        self._check(block, place)
        self._compare(place, block, self._block_totals)

    @property
    def _block_place(self) -> str:
        return f"{MESSAGE}/PmtInf[{self._blocks}]"

    def _read(self, head: bytes, stream: BinaryIO) -> Iterator[tuple[str, etree._Element]]:
        """The beginnings and ends of the parts that matter."""
        tags = [f"{self._tag}{name}" for name in ("GrpHdr", "PmtInf", "CdtTrfTxInf")]
        parser = _pull_parser(("start", "end"), tags)
        chunk = head
        try:
            while chunk:
                parser.feed(chunk)
                yield from _elements(parser)
                chunk = stream.read(_CHUNK_BYTES)
            parser.close()
        except etree.XMLSyntaxError as error:
            raise _unreadable(error.msg) from error
        yield from _elements(parser)

    def _read_group_header(self) -> tuple[etree._Element, etree._Element]:
        """What surrounds the blocks, and the group header in it."""
        for event, element in self._events:
            if element.tag != f"{self._tag}GrpHdr":
                break
            message = element.getparent()
            if message is None or message.tag != f"{self._tag}CstmrCdtTrfInitn" or message.getparent() is None:
                break
            if event == "end":
                return message, element
        reason = "there is no GrpHdr at its beginning"
        raise _unreadable(reason)

    def _header(self) -> FileHeader:
        self._check(self._group_header, f"{MESSAGE}/GrpHdr")
        number = self._group_text("NbOfTxs")
        return FileHeader(
            message_id=self._group_text("MsgId"),
            created_at=self._created_at(),
            initiating_party=self._group_text("InitgPty", "Nm"),
            control_sum=self._group_text("CtrlSum"),
            declared_lines=int(number) if number is not None and number.isdecimal() else None,
            message_name=self._message_name,
        )

    def _created_at(self) -> dt.datetime | None:
        """An instant without an offset is taken as UTC's."""
        text = self._group_text("CreDtTm")
        try:
            found = dt.datetime.fromisoformat(text or "")
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=dt.UTC)

    def _group_text(self, *names: str) -> str | None:
        return self._group_header.findtext("/".join(f"{self._tag}{name}" for name in names))

    def _check(self, part: etree._Element, place: str) -> bool:
        """Whether a part keeps the schema; if not, each breach is reported."""
        if self._schema.validate(part):
            return True
        for breach in breaches(self._schema, part):
            self._report(place, breach.path, breach.value, breach.rule)
        return False

    def _compare(self, place: str, declared: etree._Element, totals: _Totals) -> None:
        """Report where a group header or a block declares another number of payments, or another sum, than it has."""
        number = declared.findtext(f"{self._tag}NbOfTxs")
        if number is not None and number.isdecimal() and int(number) != totals.payments:
            self._report(place, "NbOfTxs", number, f"must be the number of payments, which is {totals.payments}")
        total = _decimal(declared.findtext(f"{self._tag}CtrlSum"))
        if total is not None and total != totals.amount:
            self._report(place, "CtrlSum", str(total), f"must be the sum of all amounts, which is {totals.amount}")

    def _report(self, place: str, field: str, value: str, rule: str) -> None:
        shown = value if len(value) <= _SHOWN_LENGTH else f"{value[:_SHOWN_LENGTH]}…"
        self._problem(LineProblem(place, field, shown, rule))


def _begin(stream: BinaryIO) -> tuple[bytes, str]:
    """The file's beginning, as far as it had to be read, and its message name such as ``pain.001.001.09``.

    Raises:
        InvalidInputError: it doesn't begin as a pain.001 does.
    """
    parser = _pull_parser(("start",), None)
    head = b""
    try:
        while len(head) < _MOST_BEFORE_ROOT_BYTES and (chunk := stream.read(_CHUNK_BYTES)):
            head += chunk
            parser.feed(chunk)
            for _, root in _elements(parser):
                return head, _message_name(root)
    except etree.XMLSyntaxError as error:
        raise _unreadable(error.msg) from error
    reason = "there is no element in it"
    raise _unreadable(reason)


def _message_name(root: etree._Element) -> str:
    if root.getroottree().docinfo.internalDTD is not None:
        reason = "it has a document type definition"
        raise _unreadable(reason)
    name = etree.QName(root)
    message_name = (name.namespace or "").removeprefix(NAMESPACE)
    if name.localname != "Document" or message_name not in VERSIONS:
        reason = f"its root is {root.tag}"
        raise _unreadable(reason)
    return message_name


def _pull_parser(events: tuple[Literal["start", "end"], ...], tags: list[str] | None) -> etree.XMLPullParser:
    # No entity is resolved, nothing is fetched, and libxml2's own limits stay on. A comment would split a text in two.
    return etree.XMLPullParser(
        events, tag=tags, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )


def _elements(parser: etree.XMLPullParser) -> Iterator[tuple[str, etree._Element]]:
    events: Any = parser.read_events()  # its types allow for kinds of events that weren't asked for
    yield from events


def _unreadable(reason: str | None) -> InvalidInputError:
    return InvalidInputError(field="file", value=reason, rule=_RULE)


def _decimal(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text.strip())
    except InvalidOperation:
        return None
