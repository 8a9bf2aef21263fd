"""Mail is sent at least once, through faults of the mail server and of the service, and keeps its secrets."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stack.local import Stack
from tests.fresh_database import fresh_database
from tests.stand_ins.reforge_service import Device, Process, World, text_of, token_in, world


@pytest.fixture
async def own_world(database_template: Stack, tmp_path: Path) -> AsyncIterator[World]:
    """A process of the test's own, which it can kill."""
    async with fresh_database(database_template.database_url) as url, world(url, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
async def shared_process(database_template: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("reforge")
    async with fresh_database(database_template.database_url) as url, world(url, folder) as running:
        yield running


@pytest.fixture
async def mail_world(shared_process: World) -> World:
    """One process for all tests, with empty tables and a mail server that a test can break."""
    await shared_process.database.execute("TRUNCATE memberships, mail_outbox, device_proof_uses CASCADE")
    await asyncio.sleep(0.2)  # A mail that is being sent arrives first.
    shared_process.mailbox.reset()
    shared_process.process.skip_log()
    return shared_process


async def outbox(running: World, member: str) -> list[tuple[bool, int, str | None]]:
    rows = await running.database.fetch(
        "SELECT sent_at IS NOT NULL AS sent, attempts, last_failure FROM mail_outbox"
        " WHERE recipient = $1 ORDER BY created_at",
        running.address(member),
    )
    return [(row["sent"], row["attempts"], row["last_failure"]) for row in rows]


async def test_while_the_mail_server_is_down_202_comes_at_once_and_the_mail_later_once(mail_world: World) -> None:
    mail_world.mailbox.close()
    member = await mail_world.member(Device("A"))
    started = time.monotonic()
    await mail_world.init(member, Device("B"), old="A")
    assert time.monotonic() - started < 1
    await asyncio.sleep(1.5)
    [(sent, attempts, failure)] = await outbox(mail_world, member)
    assert not sent
    assert attempts >= 2
    assert failure == "SMTPConnectError"
    mail_world.mailbox.open()
    await mail_world.mail_with(member, "confirm")
    await asyncio.sleep(1)
    assert len(mail_world.mailbox.to(mail_world.address(member))) == 1
    assert (await outbox(mail_world, member))[0][0]


async def test_killed_between_commit_and_send_the_mail_still_arrives(own_world: World, tmp_path: Path) -> None:
    own_world.mailbox.close()  # so that nothing can be sent before the kill
    member = await own_world.member(Device("A"))
    await own_world.init(member, Device("B"), old="A")
    own_world.process.kill()
    own_world.mailbox.open()
    successor = Process(own_world.database_url, own_world.mailbox.port, tmp_path)
    try:
        mail = await own_world.mail_with(member, "confirm")
        message_id = await own_world.database.fetchval("SELECT id FROM mail_outbox")
        assert mail["Message-ID"] == f"<{message_id}@vyris.localhost>"
    finally:
        successor.stop()


async def test_a_mail_sent_twice_has_one_message_id(mail_world: World) -> None:
    member = await mail_world.member()
    await mail_world.init(member, Device("B"))
    first = await mail_world.mail_with(member, "confirm")
    while await mail_world.database.fetchval("SELECT count(*) FROM mail_outbox WHERE sent_at IS NULL"):
        await asyncio.sleep(0.02)  # it arrived; now it is marked as sent, too
    # As after a kill between sending and marking.
    await mail_world.database.execute("UPDATE mail_outbox SET sent_at = NULL, due_at = now()")
    await asyncio.to_thread(mail_world.mailbox.wait_for, mail_world.address(member), 2)
    second = mail_world.mailbox.to(mail_world.address(member))[1]
    assert first["Message-ID"] == second["Message-ID"]
    assert token_in(first) == token_in(second)


async def test_a_refused_recipient_is_given_up_and_a_busy_server_asked_again(mail_world: World) -> None:
    mail_world.mailbox.refusal = "451 try later"
    member = await mail_world.member()
    await mail_world.init(member, Device("B"))
    await asyncio.sleep(0.8)
    [(sent, attempts, failure)] = await outbox(mail_world, member)
    assert (sent, failure) == (False, "server answered 451")
    assert attempts >= 2
    mail_world.mailbox.refusal = "550 no such mailbox"
    await asyncio.sleep(1.2)
    gave_up = await mail_world.database.fetchval("SELECT last_failure FROM mail_outbox WHERE gave_up_at IS NOT NULL")
    assert gave_up == "server answered 550"


async def test_a_link_that_could_no_longer_be_used_is_not_sent(mail_world: World) -> None:
    mail_world.mailbox.close()
    member = await mail_world.member()
    await mail_world.init(member, Device("B"))
    await asyncio.sleep(0.3)
    await mail_world.database.execute(
        "UPDATE mail_outbox SET useless_after = now(), due_at = now() + interval '1 hour'"
    )
    await asyncio.sleep(0.5)  # An attempt that was under way fails first.
    mail_world.mailbox.open()
    await mail_world.database.execute("UPDATE mail_outbox SET due_at = now()")
    await asyncio.sleep(1)
    assert mail_world.mailbox.to(mail_world.address(member)) == []
    assert await mail_world.database.fetchval("SELECT last_failure FROM mail_outbox") == "too late"


async def test_an_address_that_no_mail_can_carry_blocks_nobody(mail_world: World) -> None:
    odd = await mail_world.member(email_address="a,b@mail.example")
    await mail_world.init(odd, Device("B"))
    member = await mail_world.member()
    await mail_world.init(member, Device("B"))
    await mail_world.mail_with(member, "confirm")
    assert mail_world.mailbox.recipients == [mail_world.address(member)]


async def test_a_request_that_was_rolled_back_sends_nothing(mail_world: World) -> None:
    member = await mail_world.member()
    await mail_world.database.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$"
    )
    await mail_world.database.execute(
        "CREATE CONSTRAINT TRIGGER fail_late AFTER INSERT ON mail_outbox DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    with pytest.raises(Exception, match="could not finish"):
        await mail_world.init(member, Device("B"))
    await asyncio.sleep(0.5)
    assert mail_world.mailbox.messages == []
    assert await mail_world.database.fetchval("SELECT count(*) FROM reforge_requests") == 0
    await mail_world.database.execute("DROP FUNCTION fail CASCADE")


async def test_a_mail_is_text_and_html_that_say_the_same(mail_world: World) -> None:
    member = await mail_world.member()
    await mail_world.init(member, Device("https://evil.example/x"))
    mail = await mail_world.mail_with(member, "confirm")
    html = mail.get_body(("html",))
    assert html is not None
    token = token_in(mail)
    for body in (text_of(mail), str(html.get_content())):
        assert f"/reforge/confirm?token={token}" in body
        assert f"/reforge/refuse?token={token}" in body
        assert "https···evil·example·x" in body
        assert "evil.example" not in body
        assert "203.0.113.9" in body
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"] == "VYRIS <no-reply@vyris.localhost>"


async def test_neither_tokens_nor_addresses_are_in_any_log_line_nor_tokens_in_the_database(mail_world: World) -> None:
    old = Device("A")
    member = await mail_world.member(old)
    begun = await mail_world.init(member, Device("B"), old="A", proven_by=old)
    confirm_mail = await mail_world.mail_with(member, "confirm")
    await mail_world.confirm(token_in(confirm_mail))
    undo_mail = await mail_world.mail_with(member, "undo")
    mail_world.mailbox.refusal = "550 <owner> rejected"
    await mail_world.database.execute("ALTER TABLE membership_events RENAME TO elsewhere")
    with pytest.raises(Exception, match="could not finish"):
        await mail_world.call_undo(token_in(undo_mail, "undo"))
    await mail_world.database.execute("ALTER TABLE elsewhere RENAME TO membership_events")
    await mail_world.call_undo(token_in(undo_mail, "undo"))
    await asyncio.sleep(0.5)
    log = mail_world.process.log()
    assert '"outcome": "sent"' in log
    assert '"outcome": "gave_up"' in log
    assert "database_failed" in log
    dump = str(await dump_tables(mail_world))
    assert begun.reforge_id in dump
    for token in (token_in(confirm_mail), token_in(undo_mail, "undo")):
        assert token not in log
        assert token not in dump
    assert mail_world.address(member) not in log
    assert "mail.example" not in log
    assert not re.search(r"token=", log)


async def dump_tables(running: World) -> list[object]:
    tables = ("reforge_requests", "mail_outbox", "audit_log", "email_changes", "device_proof_uses", "devices")
    return [await running.database.fetch(f"SELECT t::text FROM {table} t") for table in tables]  # noqa: S608


async def test_a_server_that_refused_us_gets_the_mail_after_it_accepts_us(mail_world: World) -> None:
    mail_world.mailbox.sender_refusal = "550 5.7.1 this sender is on a list"
    member = await mail_world.member()
    await mail_world.init(member, Device("B"))
    for _ in range(100):
        [(sent, attempts, failure)] = await outbox(mail_world, member)
        if attempts >= 3:
            break
        await asyncio.sleep(0.1)
    assert (sent, attempts >= 3, failure) == (False, True, "server answered 550")
    log = mail_world.process.log()
    assert '"event": "mail_server_refuses_us"' in log
    assert '"stage": "mail"' in log
    assert '"outcome": "gave_up"' not in log
    mail_world.mailbox.sender_refusal = ""
    await mail_world.mail_with(member, "confirm")


async def test_mail_to_a_domain_in_another_script_is_carried_in_ascii(mail_world: World) -> None:
    member = await mail_world.member(email_address="owner@b\u00fccher.example")
    await mail_world.init(member, Device("B"))
    mail = await asyncio.to_thread(mail_world.mailbox.wait_for, "owner@xn--bcher-kva.example")
    assert "/reforge/confirm?token=" in text_of(mail)
    assert mail_world.mailbox.recipients == ["owner@xn--bcher-kva.example"]


async def test_a_proof_that_is_stale_is_forgotten_and_one_that_is_not_is_kept(own_world: World) -> None:
    thumbprint = "t" * 43
    await own_world.database.execute(
        "INSERT INTO device_proof_uses VALUES ($1, 'old', now() - interval '5 minutes'), ($1, 'new', now())", thumbprint
    )
    for _ in range(100):
        left = await own_world.database.fetch("SELECT jti FROM device_proof_uses")
        if len(left) == 1:
            break
        await asyncio.sleep(0.1)
    assert [row["jti"] for row in left] == ["new"]


async def test_two_processes_share_an_outbox_without_sending_twice(mail_world: World, tmp_path: Path) -> None:
    mail_world.mailbox.close()
    second = Process(mail_world.database_url, mail_world.mailbox.port, tmp_path)
    try:
        await second.ready()
        members = [await mail_world.member() for _ in range(12)]
        for member in members:
            await mail_world.init(member, Device("B"))
        mail_world.mailbox.open()
        for member in members:
            await mail_world.mail_with(member, "confirm")
        await asyncio.sleep(1)
        assert len(mail_world.mailbox.messages) == 12
        assert len({str(message["Message-ID"]) for message in mail_world.mailbox.messages}) == 12
    finally:
        second.stop()
