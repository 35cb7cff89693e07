"""Writing camt.053 (statement) and camt.054 (notification of single entries), both of version 8 (camt.053.001.08 and camt.054.001.08).

What stands where, and why, is in decision record 0033. Ids of transactions are written without their hyphens where only 35 characters fit.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, Final

from infra.iso20022.names import NAMESPACE, NOT_PROVIDED
from infra.iso20022.writing import DECLARATION, element, instant, leaf
from ledger.ibans import is_bic, is_iban

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Sequence

    from ledger.documents import DocumentEntry, DocumentLine, StatementDocument
    from ledger.money import Money
    from ledger.rates import Conversion

STATEMENT: Final = "camt.053.001.08"
NOTIFICATION: Final = "camt.054.001.08"

_LONGEST_NAME: Final = 140
_LONGEST_ACCOUNT: Final = 34
_RATE_DIGITS: Final = 11
"""BaseOneRate has 11 digits, 10 of them behind the point at most. The exact rate stands in AddtlTxInf."""
_RATE_STEP: Final = Decimal("1E-10")
_UUID4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_CODES: Final = {
    # (leg, is a credit, has another account, settlement): domain, family, sub-family of ExternalBankTransaction codes
    ("fee", False): ("ACMT", "MDOP", "CHRG"),
    ("cash", True): ("PMNT", "CNTR", "CDPT"),
    ("cash", False): ("PMNT", "CNTR", "CWDL"),
    ("clearing", True): ("PMNT", "RCDT", "DMCT"),
    ("clearing", False): ("PMNT", "ICDT", "DMCT"),
    ("book", True): ("PMNT", "RCDT", "BOOK"),
    ("book", False): ("PMNT", "ICDT", "BOOK"),
}


async def statement(document: StatementDocument, lines: AsyncIterator[DocumentLine], *, bic: str | None) -> AsyncIterator[bytes]:
    """A statement of a period, piece by piece.

    Args:
        document: its period, its balances.
        lines: all of them, proven.
        bic: of the bank; None: it isn't named.
    """
    identity = leaf("Id", document.document_id)
    number = leaf("ElctrncSeqNb", None if document.number is None else str(document.number))
    total = document.credited - document.debited
    summary = element(
        "TxsSummry",
        element(
            "TtlNtries",
            leaf("NbOfNtries", str(document.lines)),
            leaf("Sum", document.money(document.credited + document.debited).decimal_string),
            element("TtlNetNtry", leaf("Amt", document.money(abs(total)).decimal_string), _direction(is_credit=total >= 0)),
        ),
        element("TtlCdtNtries", leaf("Sum", document.money(document.credited).decimal_string)),
        element("TtlDbtNtries", leaf("Sum", document.money(document.debited).decimal_string)),
    )
    period = element("FrToDt", leaf("FrDtTm", instant(document.since)), leaf("ToDtTm", instant(document.until)))
    head = (
        f'{DECLARATION}<Document xmlns="{NAMESPACE}{STATEMENT}"><BkToCstmrStmt>\n',
        _group_header(document.document_id, document.created_at),
        "\n<Stmt>",
        identity,
        number,
        leaf("CreDtTm", instant(document.created_at)),
        period,
        _account(document.account_id, document.currency, bic),
        _balance("OPBD", document.money(document.opening_balance), document.since),
        _balance("CLBD", document.money(document.closing_balance), document.until),
        "" if document.available is None else _balance("CLAV", document.money(document.available), document.until),
        summary,
    )
    yield "".join(head).encode()
    async for line in lines:
        yield _entry(line, document.account_id, document.currency).encode()
    yield b"\n</Stmt></BkToCstmrStmt></Document>\n"


def notification(
    document_id: str, account_id: str, entries: Sequence[DocumentEntry], *, currency: str, created_at: dt.datetime, bic: str | None
) -> bytes:
    """What one transaction has booked on an account.

    Args:
        document_id: the same whenever it is written again; 35 characters at most.
        account_id: whose.
        entries: of the transaction on the account.
        currency: the account's.
        created_at: when it is written.
        bic: of the bank; None: it isn't named.
    """
    content = (
        f'{DECLARATION}<Document xmlns="{NAMESPACE}{NOTIFICATION}"><BkToCstmrDbtCdtNtfctn>\n',
        _group_header(document_id, created_at),
        "\n<Ntfctn>",
        leaf("Id", document_id),
        leaf("CreDtTm", instant(created_at)),
        _account(account_id, currency, bic),
        *(_entry(entry, account_id, currency) for entry in entries),
        "\n</Ntfctn></BkToCstmrDbtCdtNtfctn></Document>\n",
    )
    return "".join(content).encode()


def _group_header(message_id: str, created_at: dt.datetime) -> str:
    return element("GrpHdr", leaf("MsgId", message_id), leaf("CreDtTm", instant(created_at)))


def _account(account_id: str, currency: str, bic: str | None) -> str:
    servicer = element("Svcr", element("FinInstnId", leaf("BICFI", bic)))
    return element("Acct", _identification(account_id), leaf("Ccy", currency), servicer)


def _identification(account_id: str) -> str:
    other = leaf("IBAN", account_id) if is_iban(account_id) else element("Othr", leaf("Id", account_id))
    return element("Id", other)


def _balance(code: str, money: Money, at: dt.datetime) -> str:
    return "\n" + element(
        "Bal",
        element("Tp", element("CdOrPrtry", leaf("Cd", code))),
        _amount(money),
        _direction(is_credit=money.minor_units >= 0),
        element("Dt", leaf("DtTm", instant(at))),
    )


def _amount(money: Money) -> str:
    return leaf("Amt", money.decimal_string.removeprefix("-"), Ccy=money.currency)


def _direction(*, is_credit: bool) -> str:
    return leaf("CdtDbtInd", "CRDT" if is_credit else "DBIT")


def _entry(line: DocumentEntry, account_id: str, currency: str) -> str:
    entry = line.entry
    money = entry.money(currency)
    reference = entry.transaction_id.replace("-", "")
    return "\n" + element(
        "Ntry",
        _amount(money),
        _direction(is_credit=line.is_credit),
        leaf("RvslInd", "true" if line.is_reversal else None),
        element("Sts", leaf("Cd", "BOOK")),
        element("BookgDt", leaf("DtTm", instant(entry.posted_at))),
        element("ValDt", leaf("Dt", entry.value_date.isoformat())),
        leaf("AcctSvcrRef", reference),
        _transaction_code(line),
        element("NtryDtls", _details(line, money, reference, account_id)),
    )


def _transaction_code(line: DocumentEntry) -> str:
    entry = line.entry
    kind = "book" if entry.counterparty is not None or line.detail is None else line.detail.settlement
    if kind == "cash" and line.counterparty is not None:
        kind = "clearing"
    codes = _CODES.get((entry.leg, line.is_credit)) or _CODES[kind, line.is_credit]
    domain, family, sub_family = codes
    return element(
        "BkTxCd",
        element("Domn", leaf("Cd", domain), element("Fmly", leaf("Cd", family), leaf("SubFmlyCd", sub_family))),
        element("Prtry", leaf("Cd", entry.leg), leaf("Issr", "casaflow")),
    )


def _details(line: DocumentEntry, money: Money, reference: str, account_id: str) -> str:
    entry = line.entry
    is_random = _UUID4.fullmatch(entry.transaction_id) is not None
    return element(
        "TxDtls",
        element(
            "Refs",
            leaf("EndToEndId", entry.reference or NOT_PROVIDED),
            leaf("UETR", entry.transaction_id if is_random else None),
            leaf("TxId", reference),
        ),
        _amount(money),
        _direction(is_credit=line.is_credit),
        _amounts(line.conversion),
        _parties(line, account_id),
        _agents(line),
        element("RmtInf", leaf("Ustrd", entry.remittance_information)),
        _return(line),
        _additional(line),
    )


def _amounts(conversion: Conversion | None) -> str:
    """What was converted into what, and at which rate."""
    if conversion is None:
        return ""
    rate = conversion.rate
    digits = Context(prec=_RATE_DIGITS, rounding=ROUND_HALF_EVEN).plus(rate.rate).quantize(_RATE_STEP, rounding=ROUND_HALF_EVEN)
    exchange = element(
        "CcyXchg",
        leaf("SrcCcy", rate.base),
        leaf("TrgtCcy", rate.quote),
        leaf("UnitCcy", rate.base),
        leaf("XchgRate", f"{digits.normalize():f}"),
        leaf("CtrctId", rate.quote_id.replace("-", "")),
    )
    return element(
        "AmtDtls",
        element("InstdAmt", _amount(conversion.source)),
        element("CntrValAmt", _amount(conversion.target), exchange),
    )


def _parties(line: DocumentEntry, account_id: str) -> str:
    name = leaf("Nm", line.detail.counterparty_name if line.detail else None, longest=_LONGEST_NAME)
    party = element("Pty", name)
    other = _identification(line.counterparty[:_LONGEST_ACCOUNT]) if line.counterparty else ""
    own = _identification(account_id)
    debtor, creditor = (("", own), (party, other))[:: -1 if line.is_credit else 1]
    return element(
        "RltdPties",
        element("Dbtr", debtor[0]),
        element("DbtrAcct", debtor[1]),
        element("Cdtr", creditor[0]),
        element("CdtrAcct", creditor[1]),
    )


def _agents(line: DocumentEntry) -> str:
    bank = line.detail.counterparty_bank if line.detail else None
    if bank is None:
        return ""
    named = leaf("BICFI", bank) if is_bic(bank) else leaf("Nm", bank, longest=_LONGEST_NAME)
    return element("RltdAgts", element("DbtrAgt" if line.is_credit else "CdtrAgt", element("FinInstnId", named)))


def _return(line: DocumentEntry) -> str:
    if not line.is_reversal:
        return ""
    original = line.detail.reverses if line.detail else None
    told = f"takes back {original}" if original else "gives back what was debited"
    return element("RtrInf", leaf("AddtlInf", told))


def _additional(line: DocumentEntry) -> str:
    conversion = line.conversion
    if conversion is None:
        return ""
    rate = conversion.rate
    return leaf("AddtlTxInf", f"1 {rate.base} = {rate.rate:f} {rate.quote}, {rate.source}, {rate.as_of}", longest=500)
