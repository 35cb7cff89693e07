"""Writing pain.002, the customer payment status report: what became of a payment file."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, BinaryIO, Final

from infra.iso20022.names import NAMESPACE, NOT_PROVIDED
from infra.iso20022.writing import DECLARATION, element, instant, leaf
from ledger.refusals import RefusalCode

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from ledger.payment_files import FileHeader, LineOutcome

LONGEST_DETAIL: Final = 105
"""Characters of an AddtlInf (Max105Text)."""
NARRATIVE: Final = "NARR"
"""The reason is in the additional information only."""

_ANSWERS: Final = {"pain.001.001.03": "pain.002.001.03"}
_LATER_ANSWER: Final = "pain.002.001.12"
_TRANSACTION_STATUS: Final = {"completed": "ACSC", "rejected": "RJCT"}

REASONS: Final[dict[str, str]] = {
    RefusalCode.CANCELLED: "DS02",  # an authorised user has cancelled the order
    RefusalCode.ABANDONED: "MS03",  # the agent gives no reason
    RefusalCode.DECLINED: "DS04",  # the bank's side has rejected the order
    RefusalCode.APPROVAL_EXPIRED: "DS24",  # waiting time expired due to incomplete order
    RefusalCode.RATE_UNAVAILABLE: "AM03",  # currency can't be processed
    RefusalCode.RATE_TOO_OLD: "AM03",
    RefusalCode.CONVERSION_ROUNDS_TO_ZERO: "AM06",  # amount too low
    RefusalCode.CONVERSION_TOO_LARGE: "AM02",  # above the allowed maximum
    RefusalCode.ACCOUNT_CLOSED: "AC04",
    RefusalCode.ACCOUNT_FROZEN: "AC06",  # blocked
    RefusalCode.ACCOUNT_DEBIT_FROZEN: "AC06",
    RefusalCode.ACCOUNT_CREDIT_FROZEN: "AC06",
    RefusalCode.ACCOUNT_DORMANT: "AC06",
    RefusalCode.HOLD_UNKNOWN: "AG01",  # transaction forbidden on this account
    RefusalCode.HOLD_CLOSED: "AG01",
    RefusalCode.HOLD_EXPIRED: "AG01",
    RefusalCode.HOLD_EXCEEDED: "AM02",
    RefusalCode.NOT_REVERSIBLE: "AG03",  # transaction type not supported
    RefusalCode.REVERSAL_EXCEEDS_ORIGINAL: "AM02",
    RefusalCode.TRANSACTION_LIMIT: "AM14",  # above the limit agreed between bank and client
    RefusalCode.DAILY_LIMIT: "AM14",
    RefusalCode.MONTHLY_LIMIT: "AM14",
    RefusalCode.INSUFFICIENT_FUNDS: "AM04",
    RefusalCode.MINIMUM_BALANCE: "AM04",
    RefusalCode.MAXIMUM_BALANCE: "AM02",
    RefusalCode.REVERSED_BY_OPERATOR: "MS03",
    "unknown-account": "AC01",
    "unknown-currency": "AM11",
    "invalid-input": "CH16",  # content is incorrect
    "transaction-conflict": "DU03",  # transaction is not unique
}
"""casaflow's codes in ISO 20022's external code set ExternalStatusReason1Code. A code that isn't here is told as a narrative."""


def write(
    out: BinaryIO, header: FileHeader, status: str, lines: Iterable[LineOutcome], *, message_id: str, created_at: dt.datetime
) -> None:
    """Write a status report, line by line.

    A file of pain.001.001.03 is answered by pain.002.001.03, all others by pain.002.001.12.

    Args:
        out: where to.
        header: of the file that is answered.
        status: of the whole file, of ExternalPaymentGroupStatus1Code: ``ACCP`` (accepted), ``ACSC`` (all settled), ``PART`` (some
            rejected) or ``RJCT`` (all rejected).
        lines: of the file, in its order; those of a payment information block behind one another.
        message_id: of the report, 35 characters at most.
        created_at: when the report was made.
    """
    message_name = _ANSWERS.get(header.message_name or "", _LATER_ANSWER)

    def put(text: str) -> None:
        out.write(text.encode())

    put(f'{DECLARATION}<Document xmlns="{NAMESPACE}{message_name}"><CstmrPmtStsRpt>\n')
    put(element("GrpHdr", leaf("MsgId", message_id), leaf("CreDtTm", instant(created_at))))
    put(_group(header, status))
    for block, outcomes in groupby(lines, lambda line: line.instruction.get("pmt_inf_id", NOT_PROVIDED)):
        put(f"\n<OrgnlPmtInfAndSts>{leaf('OrgnlPmtInfId', block)}")
        for outcome in outcomes:
            put(_transaction(outcome))
        put("</OrgnlPmtInfAndSts>")
    put("\n</CstmrPmtStsRpt></Document>\n")


def _group(header: FileHeader, status: str) -> str:
    return element(
        "OrgnlGrpInfAndSts",
        leaf("OrgnlMsgId", header.message_id or NOT_PROVIDED),
        leaf("OrgnlMsgNmId", header.message_name or NOT_PROVIDED),
        leaf("OrgnlCreDtTm", instant(header.created_at) if header.created_at else None),
        leaf("OrgnlNbOfTxs", None if header.declared_lines is None else str(header.declared_lines)),
        leaf("OrgnlCtrlSum", header.control_sum),
        leaf("GrpSts", status),
    )


def _transaction(outcome: LineOutcome) -> str:
    return "\n" + element(
        "TxInfAndSts",
        leaf("StsId", str(outcome.number)),
        leaf("OrgnlInstrId", outcome.instruction.get("instr_id")),
        leaf("OrgnlEndToEndId", outcome.instruction.get("end_to_end_id")),
        leaf("TxSts", _TRANSACTION_STATUS[outcome.status]),
        _reason(outcome),
    )


def _reason(outcome: LineOutcome) -> str:
    if outcome.reason_code is None:
        return ""
    code = REASONS.get(outcome.reason_code, NARRATIVE)
    told = f"{outcome.reason_code}: {outcome.reason_detail}" if outcome.reason_detail else outcome.reason_code
    return element("StsRsnInf", element("Rsn", leaf("Cd", code)), leaf("AddtlInf", told, longest=LONGEST_DETAIL))
