from __future__ import annotations

import gzip
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.ids import entry_transaction_id
from tests.integration.api.bank import Bank, Records
from tests.integration.cli.conftest import CommandLine, end, said, until_money_arrives
from tests.unit.starter.entry_files import entry, text_of, write


@pytest.fixture
def account() -> str:
    return f"F{uuid.uuid4().hex[:12]}"


def _submit(file: Path, bank: Bank, *options: str) -> tuple[str, ...]:
    return ("submit", str(file), "--tenant", bank.tenant, "--json", *options)


async def test_file_is_posted_in_order_and_proven_and_a_second_run_posts_nothing_twice(
    cli: CommandLine, bank: Bank, records: Records, account: str, tmp_path: Path
) -> None:
    # Each debit takes all that is there: in any other order one of them would be refused.
    lines, number = [], 0
    for _ in range(6):
        lines.append(entry(number := number + 1, account, "100.00", "100.00"))
        lines.append(entry(number := number + 1, account, "-100.00", "0.00"))
    lines += [entry(f"b{index}", f"{account}-b", "1.00", f"{index + 1}.00") for index in range(5)]
    file = write(tmp_path / "entries.csv", lines)
    first = await cli.run_apart(*_submit(file, bank))
    assert first.code == 0, first.err
    assert (first.json["transactions"], first.json["statuses"], first.json["already_posted"]) == (17, {"completed": 17}, 0)
    assert (first.json["accounts_opened"], first.json["proven"], first.json["problem"]) == (2, True, None)
    assert first.json["balances"] == {"compared": 2, "equal": 2, "different": []}
    counted = records.counts(bank.tenant)
    second = await cli.run(*_submit(file, bank))
    assert second.code == 0
    assert (second.json["transactions"], second.json["already_posted"], second.json["accounts_opened"]) == (17, 17, 0)
    assert records.counts(bank.tenant) == counted
    plain = await cli.run("submit", str(file), "--tenant", bank.tenant)
    assert plain.code == 0
    assert "2 of 2 account balances equal the file's running total" in plain.out


async def test_line_becomes_the_transaction_that_its_ids_name(cli: CommandLine, bank: Bank, account: str, tmp_path: Path) -> None:
    line = entry("e1", account, "12.50", "12.50", counterparty_bank="QR", counterparty_account="7")
    assert (await cli.run(*_submit(write(tmp_path / "e.csv", [line]), bank))).code == 0
    found = (await bank.http.get(f"/v1/transactions/{entry_transaction_id(bank.tenant, account, 'e1')}")).json()
    assert (found["status"], found["creditor"], found["amount"], found["currency"]) == ("completed", account, "12.50", "CZK")
    assert (found["settlement"], found["value_date"]) == ("clearing", "1993-01-31")
    assert found["metadata"]["counterparty_account"] == "7"


async def test_account_that_ran_below_zero_is_opened_with_its_overdraft(cli: CommandLine, bank: Bank, account: str, tmp_path: Path) -> None:
    lines = [entry(1, account, "-20.00", "-20.00"), entry(2, account, "50.00", "30.00")]
    assert (await cli.run(*_submit(write(tmp_path / "e.csv", lines), bank))).code == 0
    assert (await bank.http.get(f"/v1/accounts/{account}")).json()["overdraft_limit"] == "20.00"


async def test_broken_line_is_named_and_the_mended_file_posts_none_twice(
    cli: CommandLine, bank: Bank, records: Records, account: str, tmp_path: Path
) -> None:
    good = [
        entry(1, account, "100.00", "100.00"),
        entry(2, account, "-30.00", "70.00"),
        entry(3, account, "-70.00", "0.00"),
        entry(4, account, "-5.00", "-5.00"),  # needs an overdraft, which is set when the account is opened
    ]
    broken = [*good[:2], {**good[2], "amount": "7O.00"}, good[3]]
    file = write(tmp_path / "entries.csv", broken)
    first = await cli.run(*_submit(file, bank))
    assert first.code == 2
    assert "line 4: amount must be a decimal string of plain digits, such as \"12.50\"; it is '7O.00'" in first.err
    assert (first.json["transactions"], first.json["proven"]) == (2, False)
    assert "line 4" in first.json["problem"]
    assert await bank.ledger(account) == "70.00"
    write(file, good)
    mended = await cli.run(*_submit(file, bank))
    assert mended.code == 0, mended.out
    assert (mended.json["transactions"], mended.json["already_posted"], mended.json["proven"]) == (4, 2, True)
    assert await bank.ledger(account) == "-5.00"
    assert records.one("SELECT count(*) FROM decision WHERE tenant = %s AND account_id = %s", bank.tenant, account) == 4


async def test_line_in_another_currency_than_its_account_stops_the_run(cli: CommandLine, bank: Bank, account: str, tmp_path: Path) -> None:
    lines = [entry(1, account, "100.00", "100.00"), entry(2, account, "5.00", "105.00", currency="EUR"), entry(3, account, "1.00", "1.00")]
    ended = await cli.run(*_submit(write(tmp_path / "e.csv", lines), bank))
    assert ended.code == 2
    assert "line 3: currency must be CZK, as in the account's lines above; it is 'EUR'" in ended.err
    assert ended.json["transactions"] == 1
    assert await bank.ledger(account) == "100.00"


async def test_account_kept_in_another_currency_is_a_conflict_before_any_line(cli: CommandLine, bank: Bank, tmp_path: Path) -> None:
    account = await bank.open("EUR")
    ended = await cli.run(*_submit(write(tmp_path / "e.csv", [entry(1, account, "1.00", "1.00")]), bank))
    assert ended.code == 2
    assert f"account {account} is kept in EUR, the file has CZK" in ended.err
    assert await bank.ledger(account) == "0.00"


@pytest.mark.parametrize("change", [{"amount": "5.01"}, {"direction": "debit"}, {"purpose": "rent"}, {"booked_on": "1993-02-01"}])
async def test_same_entry_with_other_content_is_a_conflict_that_names_the_line(
    cli: CommandLine, bank: Bank, account: str, tmp_path: Path, change: dict[str, str]
) -> None:
    lines = [entry(1, account, "100.00", "100.00"), entry(2, account, "5.00", "105.00")]
    file = write(tmp_path / "e.csv", lines)
    assert (await cli.run(*_submit(file, bank))).code == 0
    write(file, [lines[0], {**lines[1], **change}, entry(3, account, "1.00", "106.00")])
    ended = await cli.run(*_submit(file, bank))
    assert ended.code == 2
    identifier = entry_transaction_id(bank.tenant, account, "2")
    assert f"line 3: transaction_id {identifier} was used before with other content" in ended.err
    assert ended.json["already_posted"] == 1
    assert await bank.ledger(account) == "105.00"


async def test_running_total_that_does_not_match_ends_with_1(cli: CommandLine, bank: Bank, account: str, tmp_path: Path) -> None:
    file = write(tmp_path / "e.csv", [entry(1, account, "100.00", "100.01")])
    ended = await cli.run(*_submit(file, bank))
    assert ended.code == 1
    (different,) = ended.json["balances"]["different"]
    assert (different["account_id"], different["ledger"], different["running_total"]) == (account, "100.00", "100.01")
    assert ended.json["proven"] is False
    plain = await cli.run("submit", str(file), "--tenant", bank.tenant)
    assert plain.code == 1
    assert "DIFFERENT" in plain.out


async def test_rejected_line_is_counted_with_its_reason_and_ends_with_1(cli: CommandLine, bank: Bank, tmp_path: Path) -> None:
    account = await bank.open("CZK")
    await bank.http.post(f"/v1/accounts/{account}/freeze")
    ended = await cli.run(*_submit(write(tmp_path / "e.csv", [entry(1, account, "1.00", "1.00")]), bank))
    assert ended.code == 1
    assert (ended.json["statuses"], ended.json["reasons"]) == ({"rejected": 1}, {"account-frozen": 1})


async def test_missing_accounts_are_an_error_where_none_may_be_opened(cli: CommandLine, bank: Bank, account: str, tmp_path: Path) -> None:
    ended = await cli.run(*_submit(write(tmp_path / "e.csv", [entry(1, account, "1.00", "1.00")]), bank, "--no-open-accounts"))
    assert ended.code == 2
    assert f"no account '{account}'" in ended.err
    assert (await bank.http.get(f"/v1/accounts/{account}")).status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("e.csv", lambda _: b"", "the file is empty"),
        ("e.csv", lambda text: text.splitlines()[0].encode(), "only a header"),
        ("e.csv", lambda text: text.replace("amount", "sum", 1).encode(), "line 1: missing column amount"),
        ("e.csv", lambda text: text.encode("utf-16"), "must be UTF-8"),
        ("e.csv", lambda text: text.replace("cash", "p\u0159evod").encode("cp1250"), "must be UTF-8"),
        ("e.csv.gz", lambda text: text.encode(), "the name ends in .gz, but the file is not gzip-compressed"),
        ("e.csv.gz", lambda text: gzip.compress(text.encode())[:40], "the compressed data is damaged"),
        ("e.csv", lambda text: text.replace("credit,", "both,").encode(), "line 2: direction must be credit or debit; it is 'both'"),
    ],
    ids=["empty", "header only", "missing column", "UTF-16", "wrong encoding", "not compressed", "damaged", "first line broken"],
)
async def test_file_that_cannot_be_used_opens_and_posts_nothing(
    cli: CommandLine, bank: Bank, records: Records, account: str, tmp_path: Path, name: str, content: Callable[[str], bytes], complaint: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content(text_of([entry(1, account, "1.00", "1.00")])))
    before = records.counts(bank.tenant)
    ended = await cli.run(*_submit(file, bank))
    assert (ended.code, ended.out) == (2, "")
    assert complaint in ended.err
    assert str(file) in ended.err
    assert records.counts(bank.tenant) == before


async def test_line_that_only_the_api_can_refuse_is_named(cli: CommandLine, bank: Bank, account: str, tmp_path: Path) -> None:
    lines = [entry(1, account, "1.00", "1.00"), entry(2, account, "1.00", "2.00", purpose="a\u0007b"), entry(3, account, "1.00", "3.00")]
    ended = await cli.run(*_submit(write(tmp_path / "e.csv", lines), bank))
    assert ended.code == 2
    assert "line 3: metadata.purpose: must have printable characters only" in ended.err
    assert await bank.ledger(account) == "1.00"


async def test_interrupted_run_is_carried_on_by_the_next(cli: CommandLine, bank: Bank, account: str, tmp_path: Path) -> None:
    lines = [entry(number, account, "1.00", f"{number}.00") for number in range(1, 61)]
    file = write(tmp_path / "e.csv", lines)
    process = await cli.start(*_submit(file, bank, "--in-flight", "1"))
    await until_money_arrives(bank, account)
    process.send_signal(signal.SIGINT)
    ended = await end(process)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    posted = int((await bank.ledger(account)).partition(".")[0])
    assert 0 < posted < 60
    rest = await cli.run(*_submit(file, bank))
    assert rest.code == 0
    assert (rest.json["already_posted"], rest.json["proven"]) == (posted, True)


async def test_file_waits_for_an_api_that_is_away(cli: CommandLine, bank: Bank, account: str, tmp_path: Path) -> None:
    file = write(tmp_path / "e.csv", [entry(1, account, "1.00", "1.00")])
    process = await cli.having(CASAFLOW_API_URL="http://127.0.0.1:1").start(*_submit(file, bank))
    await said(process, "waiting: the API does not answer")
    process.send_signal(signal.SIGINT)
    assert (await end(process)).code == 130
