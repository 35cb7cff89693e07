"""A member of the group as its settings make it: effects and deliverer, from an event to the e-mail and the webhook."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.member import GroupMember
from consumers.notification import effects, open_deliverer
from infra.settings import Settings
from tests.integration.notifications.conftest import PostOffice, until
from tests.integration.notifications.receivers import Mailbox
from tests.unit.temporal.certificates import Authority


async def test_what_the_settings_say_delivers_by_both_channels(office: PostOffice, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("server", hosts=("localhost",))
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(files.cert, files.key)
    async with Mailbox.open(tls=served, login=True) as mailbox:
        settings = Settings(
            smtp_host="localhost",
            smtp_port=mailbox.port,
            smtp_username="casaflow",
            smtp_password=SecretStr("hush"),
            smtp_from="Bank <no-reply@bank.example>",
            smtp_ca=authority.file,
            webhook_allow_private=True,
        )
        await office.enter(email="jana@example.org", webhook_url=office.hook.url)
        event = office.event(creditor="A")

        async def work(connection: AsyncConnection) -> None:
            await effects(settings).apply(connection, [event])

        await office.database.run(work)
        async with open_deliverer(settings, office.database) as deliverer:
            running = asyncio.create_task(deliverer.run())
            await until(lambda: bool(mailbox.emails) and bool(office.hook.requests))
            deliverer.stop()
            await asyncio.wait_for(running, 10)
    assert mailbox.recipients == ["jana@example.org"]
    assert {row["status"] for row in await office.messages()} == {"delivered"}


class _Failing:
    """A part that ends by an error once another has begun."""

    def __init__(self, begun: asyncio.Event) -> None:
        self._begun = begun

    async def run(self) -> None:
        await self._begun.wait()
        message = "it fell over"
        raise ConnectionError(message)

    def stop(self) -> None:
        """It has ended."""


async def test_where_one_part_of_a_member_fails_the_deliverer_ends_in_order(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    member = GroupMember(office.deliverer(), _Failing(office.hook.arrived))
    with pytest.raises(ExceptionGroup, match="parts of the member") as failed:
        await asyncio.wait_for(member.run(), 10)
    assert [str(error) for error in failed.value.exceptions] == ["it fell over"]
    assert (await office.message())["status"] == "delivered", "what was under way has ended"


async def test_a_stopped_member_stops_all_its_parts(office: PostOffice) -> None:
    member = GroupMember(office.deliverer(), office.deliverer())
    running = asyncio.create_task(member.run())
    await asyncio.sleep(0)
    member.stop()
    await asyncio.wait_for(running, 10)


async def test_without_the_setting_nothing_goes_to_this_machine(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    sender = office.webhooks
    sender._allow_private = False
    assert await office.deliver() == 1
    assert office.hook.requests == []
    message = await office.message()
    assert (message["status"], "https" in message["last_error"]) == ("dead", True)


def test_an_smtp_server_needs_a_sender() -> None:
    with pytest.raises(ValidationError, match="CASAFLOW_SMTP_FROM"):
        Settings(smtp_host="localhost")
    assert not Settings().webhook_allow_private
