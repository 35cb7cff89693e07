"""Server-sent events of the running API: whose they are, nothing lost over breaks, and an end at once when the process stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import httpx
import psutil
import pytest
from casaflow_client import AsyncClient, Patience
from casaflow_client.events import STREAM_ENDED as ENDED
from casaflow_client.events import StreamedEvent as Sent
from casaflow_client.events import StreamParser

from tests.integration.api.bank import Bank, assert_problem, bank_at
from tests.integration.api.saga import api_process
from tests.integration.proxies import KafkaProxy
from tests.stack_fixtures import RunningStack

_WITHIN_SECONDS = 60


async def parsed(lines: AsyncIterator[str]) -> AsyncGenerator[Sent]:
    parser = StreamParser()
    async for line in lines:
        event = parser.feed(line)
        if event is not None:
            yield event


@asynccontextmanager
async def _stream(bank: Bank, last_event_id: str | None = None, **query: str) -> AsyncGenerator[AsyncGenerator[Sent]]:
    """A stream that has begun."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    async with bank.http.stream("GET", "/v1/events", params=query, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        async with aclosing(parsed(response.aiter_lines())) as sent:
            async with asyncio.timeout(_WITHIN_SECONDS):
                while not (await anext(sent)).position:
                    pass
            yield sent


async def _take(stream: AsyncGenerator[Sent], number: int) -> list[Sent]:
    """So many events of the ledger."""
    found: list[Sent] = []
    async with asyncio.timeout(_WITHIN_SECONDS):
        while len(found) < number:
            sent = await anext(stream)
            if sent.data:
                assert sent.type.startswith("casaflow."), sent
                assert sent.type != ENDED, sent
                found.append(sent)
    return found


def _told(sent: list[Sent]) -> set[tuple[str, str]]:
    return {(each.type.split(".")[-2], json.loads(each.data)["subject"]) for each in sent}


async def _pay(bank: Bank, account: str, amount: str = "1.00") -> str:
    answer = await bank.submit({"creditor": account, "amount": amount, "currency": "EUR"})
    assert answer.json()["status"] == "completed", answer.text
    return str(answer.json()["transaction_id"])


async def test_each_stream_gets_the_events_it_asked_for(bank: Bank) -> None:
    one, two = await bank.open(funds="9.00"), await bank.open()
    async with _stream(bank) as all_events, _stream(bank, account_id=two) as of_account:
        paid = await _pay(bank, one)
        moved = (await bank.submit({"debtor": one, "creditor": two, "amount": "2.00", "currency": "EUR"})).json()["transaction_id"]
        by_transaction = {("credited", paid), ("transaction-completed", paid)}
        of_two = {("credited", moved), ("transaction-completed", moved)}
        everything = await _take(all_events, 5)
        assert _told(everything) == by_transaction | of_two | {("debited", moved)}
        assert _told(await _take(of_account, 2)) == of_two
    event = json.loads(everything[0].data)
    assert {"specversion", "id", "type", "source", "subject", "time", "datacontenttype", "data"} == set(event)
    assert event["type"] == everything[0].type
    assert event["data"]["instruction"]["tenant"] == bank.tenant


async def test_stream_of_a_transaction_goes_on_behind_an_id_from_before_it(bank: Bank) -> None:
    account = await bank.open()
    async with _stream(bank) as stream:
        await _pay(bank, account)
        before = (await _take(stream, 2))[-1].position
    missed = [await _pay(bank, account) for _ in range(3)]
    async with _stream(bank, before, transaction_id=missed[1]) as stream:
        assert _told(await _take(stream, 2)) == {("credited", missed[1]), ("transaction-completed", missed[1])}
    async with _stream(bank, before, account_id=account) as stream:
        later = await _pay(bank, account)
        events = await _take(stream, 8)
    # Nothing lost and nothing twice, what was missed and what came meanwhile alike.
    ids = [json.loads(each.data)["id"] for each in events]
    assert len(set(ids)) == len(ids)
    assert _told(events) == {(what, each) for each in (*missed, later) for what in ("credited", "transaction-completed")}


async def test_position_of_any_event_leads_to_the_rest(bank: Bank) -> None:
    account = await bank.open()
    async with _stream(bank, account_id=account) as stream:
        for _ in range(3):
            await _pay(bank, account)
        events = await _take(stream, 6)
    for number, event in enumerate(events[:-1]):
        async with _stream(bank, event.position, account_id=account) as stream:
            rest = await _take(stream, len(events) - number - 1)
        assert {json.loads(each.data)["id"] for each in rest} == {json.loads(each.data)["id"] for each in events[number + 1 :]}


async def test_another_tenant_sees_nothing_of_it(bank: Bank, other_bank: Bank) -> None:
    account, own = await bank.open(), await other_bank.open()
    async with _stream(other_bank) as everything, _stream(other_bank, account_id=account) as foreign:
        start = (await _pay(bank, account), await _pay(other_bank, own))
        # Its own event came later, so the other one has been passed over by now.
        assert _told(await _take(everything, 2)) == {("credited", start[1]), ("transaction-completed", start[1])}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_take(foreign, 1), timeout=1)


@pytest.mark.parametrize("identifier", ["x", "1.2", "-", "1." * 11 + "1", "9" * 30, "0.0.0.0.0.0.0-0.0.0.0.0"])
async def test_bad_last_event_id_is_refused(bank: Bank, identifier: str) -> None:
    answer = await bank.http.get("/v1/events", headers={"Last-Event-ID": identifier})
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["field"] == "Last-Event-ID"


async def test_bad_query_is_refused(bank: Bank) -> None:
    for query in ({"account_id": "a b"}, {"transaction_id": "1"}, {"account": "A1"}):
        assert_problem(await bank.http.get("/v1/events", params=query), 422, "invalid-input")


async def test_a_key_has_a_bounded_number_of_streams(stack: RunningStack, bank: Bank) -> None:
    async with bank_at(stack.api, stack.postgres_dsn) as few, AsyncExitStack() as opened:
        for _ in range(10):
            await opened.enter_async_context(_stream(few))
        refused = await few.http.get("/v1/events")
        assert_problem(refused, 429, "too-many-requests")
        assert "Retry-After" in refused.headers
        async with _stream(bank):
            pass
        await opened.aclose()
        async with asyncio.timeout(_WITHIN_SECONDS):
            while (await _status(few)) == 429:  # noqa: ASYNC110  the server hears of the end of a connection in its own time
                await asyncio.sleep(0.05)


async def _status(bank: Bank) -> int:
    async with bank.http.stream("GET", "/v1/events") as response:
        return response.status_code


@pytest.fixture(scope="module")
async def elsewhere(stack: RunningStack, bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Bank, KafkaProxy]]:
    """The same tenant on another process of the API, which reaches Kafka through a proxy."""
    log = tmp_path_factory.mktemp("elsewhere") / "api.log"
    async with (
        KafkaProxy(stack.kafka_bootstrap_servers) as kafka,
        api_process(stack, log, KAFKA_BOOTSTRAP_SERVERS=kafka.address) as api,
        httpx.AsyncClient(base_url=api, headers={"Authorization": f"Bearer {bank.key}"}, trust_env=False, timeout=60) as http,
    ):
        yield Bank(http, bank.tenant, bank.key), kafka


async def test_nothing_is_lost_while_kafka_is_away(bank: Bank, elsewhere: tuple[Bank, KafkaProxy]) -> None:
    (there, kafka), account = elsewhere, await bank.open()
    async with _stream(there) as stream:
        await _pay(bank, account)
        before = (await _take(stream, 2))[-1].position
    said: list[str] = []
    client = AsyncClient(str(there.http.base_url), there.key, patience=Patience(seconds=None, on_wait=said.append))
    async with client, aclosing(client.events(account_id=account, after=before)) as watching:
        ids = [await _pay(bank, account)]
        async with asyncio.timeout(_WITHIN_SECONDS):
            seen = [json.loads((await anext(watching)).data)["subject"] for _ in range(2)]
        await kafka.refuse()
        ids += [await _pay(bank, account) for _ in range(2)]
        await kafka.accept()
        async with asyncio.timeout(_WITHIN_SECONDS):
            while len(seen) < 6:
                seen.append(json.loads((await anext(watching)).data)["subject"])
    assert sorted(seen) == sorted([*ids, *ids]), said


async def test_no_stream_begins_while_kafka_is_away(elsewhere: tuple[Bank, KafkaProxy]) -> None:
    there, kafka = elsewhere
    await kafka.refuse()
    assert_problem(await there.http.get("/v1/events"), 503, "unavailable")
    await kafka.accept()
    async with asyncio.timeout(_WITHIN_SECONDS):
        while (await _status(there)) == 503:  # noqa: ASYNC110  a broker tells nobody that it is back
            await asyncio.sleep(0.2)


async def test_streams_end_at_once_when_the_process_stops_and_go_on_elsewhere(bank: Bank, elsewhere: tuple[Bank, KafkaProxy]) -> None:
    there, account = elsewhere[0], await bank.open()
    async with _stream(there, account_id=account) as stream:
        first = await _pay(bank, account)
        position = (await _take(stream, 2))[-1].position
        _listener(there).terminate()
        # A process waits up to 15 seconds for what it is answering; a stream doesn't let it wait.
        async with asyncio.timeout(10):
            last = [sent async for sent in stream][-1]
        assert (last.type, json.loads(last.data)["code"]) == (ENDED, "stopping")
    second = await _pay(bank, account)
    async with _stream(bank, position, account_id=account) as stream:
        assert _told(await _take(stream, 2)) == {("credited", second), ("transaction-completed", second)}
    assert first != second


def _listener(bank: Bank) -> psutil.Process:
    """The process of this test run that serves a bank's API."""
    port = bank.http.base_url.port
    (found,) = [
        process
        for process in psutil.Process().children()
        if any(connection.status == "LISTEN" and connection.laddr.port == port for connection in process.net_connections("tcp"))
    ]
    return found
