"""Limits: each membership has its own share, and nobody can use up another's."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stack.local import Stack
from tests.fresh_database import fresh_database
from tests.stand_ins.reforge_service import Device, World, token_in, world
from vyris.errors import RateLimited

ADDRESS_LIMIT = 3
EMAIL_LIMIT = 4


@pytest.fixture(scope="module")
async def narrow(database_template: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Small limits, so that a test does not need hundreds of requests."""
    folder: Path = tmp_path_factory.mktemp("narrow")
    limits = {"REFORGE_ADDRESS_LIMIT": str(ADDRESS_LIMIT), "REFORGE_EMAIL_LIMIT": str(EMAIL_LIMIT)}
    async with fresh_database(database_template.database_url) as url, world(url, folder, **limits) as running:
        yield running


async def test_memberships_that_name_a_victims_address_do_not_lock_the_victim_out(narrow: World) -> None:
    victims_address = f"victim-{uuid.uuid4().hex[:8]}@mail.example"
    phone = Device("phone")
    victim = await narrow.member(phone, email_address=victims_address)
    for number in range(5):
        stranger = Device(f"stranger-{number}")
        member = await narrow.member(stranger, email_address=victims_address, user="eve")
        for _ in range(3):
            await narrow.init(member, Device("x"), old=stranger.name, user_id="eve")
            await narrow.init(member, Device("x"), old=stranger.name, user_id="eve", proven_by=stranger)
    assert (await narrow.init(victim, Device("new"), old="phone")).status == "PENDING"
    assert (await narrow.init(victim, Device("new"), old="phone", proven_by=phone)).status == "PENDING"


async def test_an_addresses_share_is_that_of_the_memberships_that_verified_it(narrow: World) -> None:
    address = f"collector-{uuid.uuid4().hex[:8]}@mail.example"
    verified = []
    for number in range(ADDRESS_LIMIT):
        old = Device(f"old-{number}")
        member = await narrow.member(old, email_address=address)
        await narrow.init(member, Device(f"new-{number}"), old=old.name)
        await narrow.confirm(token_in(await narrow.mail_to(address, "confirm", beyond=number)))
        verified.append(member)
    with pytest.raises(RateLimited):
        await narrow.init(verified[0], Device("again"), old="new-0")
    unverified = await narrow.member(Device("A"), email_address=address)
    assert (await narrow.init(unverified, Device("B"), old="A")).status == "PENDING"


async def test_a_membership_has_its_own_share_of_address_changes(narrow: World) -> None:
    device, other = Device("A"), Device("A")
    member, neighbour = await narrow.member(device), await narrow.member(other)
    for number in range(EMAIL_LIMIT):
        await narrow.change_email(member, f"n{number}@mail.example", device)
    with pytest.raises(RateLimited) as refusal:
        await narrow.change_email(member, "last@mail.example", device)
    assert refusal.value.retry_after_s is not None
    assert 3000 < refusal.value.retry_after_s <= 3600
    assert (await narrow.change_email(neighbour, "n@mail.example", other)).status == "PENDING"


async def test_sixty_changes_of_address_at_once_are_no_more_than_the_share(narrow: World) -> None:
    device = Device("A")
    member = await narrow.member(device)
    asked = [narrow.change_email(member, f"n{number}@mail.example", device) for number in range(60)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, RateLimited) for answer in answers) == 60 - EMAIL_LIMIT
    open_changes = await narrow.database.fetchval(
        "SELECT count(*) FROM email_changes WHERE membership_id = $1 AND refused_at IS NULL", uuid.UUID(member)
    )
    assert open_changes == 1


async def test_a_short_lived_link_does_not_wait_behind_notices(database_template: Stack, tmp_path: Path) -> None:
    """Among 40 notices that wait, a link is in the first batch."""
    async with fresh_database(database_template.database_url) as url, world(url, tmp_path) as running:
        running.mailbox.close()
        await running.database.execute(
            "INSERT INTO mail_outbox (id, kind, subject_id, recipient, facts, useless_after)"
            " SELECT gen_random_uuid(), 'recovered', gen_random_uuid(), 'n' || n || '@mail.example',"
            ' \'{"membership": "Genesis 2025", "hours": 72}\', now() + interval \'5 days\''
            " FROM generate_series(1, 40) n"
        )
        member = await running.member()
        await running.init(member, Device("B"))
        await asyncio.sleep(0.5)
        await running.database.execute("UPDATE mail_outbox SET due_at = now() + interval '1 hour'")
        await asyncio.sleep(0.5)  # What is under way fails first.
        running.mailbox.open()
        # All are due at once, the link last.
        await running.database.execute(
            "UPDATE mail_outbox SET due_at = now() - CASE kind WHEN 'confirm' THEN interval '0' ELSE interval '1m' END"
        )
        await running.mail_with(member, "confirm")
        assert len(running.mailbox.recipients) <= 10
