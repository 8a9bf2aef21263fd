"""Changes since a tag: no order of registrations, changes and commits hides a change from a phone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

from services.data.storage.database import Database
from services.wallet.membership_events import EventFollower
from services.wallet.settings import WalletSettings
from services.wallet.statements import QUERIES
from tests.integration.wallet.apns_peer import ApnsPeer
from tests.integration.wallet.conftest import SeededMembership, World
from tests.integration.wallet.test_pass_web_service import is_voided, issue_pass, wait_until
from tests.integration.wallet.wallet_client import WalletClient


@pytest.fixture
async def follower(settings: WalletSettings) -> AsyncIterator[EventFollower]:
    async with Database.open(settings, "test") as database:
        yield EventFollower(database)


async def member_with_pass(world: World) -> SeededMembership:
    """A membership with a pass."""
    membership = await world.mint()
    await world.connection.execute(
        "INSERT INTO passes (serial, membership_id, generation, public_id) "
        "VALUES ($1, $2, 0, substr(md5(random()::text), 1, 22))",
        *(membership.pass_serial, membership.id),
    )
    return membership


async def register(connection: asyncpg.Connection, serial: UUID) -> None:
    await connection.fetchval(QUERIES["register_device"], "library", serial, "aa")


async def list_changes(world: World, tag: int) -> tuple[list[UUID], int]:
    """The serials that the phone gets, and its next tag."""
    rows = await world.connection.fetch(QUERIES["list_updated"], "library", tag, 100)
    return [row["serial"] for row in rows], rows[-1]["tag"] if rows else tag


async def take_pushes(world: World) -> list[str]:
    return [row[0] for row in await world.connection.fetch("DELETE FROM pass_pushes RETURNING push_token")]


async def test_a_phone_gets_a_pass_that_was_voided_before_it_registered(
    pushing_wallet: WalletClient, world: World, apns: ApnsPeer
) -> None:
    wallet = pushing_wallet
    late, early = await world.mint(), await world.mint()
    late_serial, late_token = await issue_pass(wallet, late)
    early_serial, early_token = await issue_pass(wallet, early)
    assert (await wallet.register(early_serial, early_token)).status == 201
    await world.revoke(late)
    await wait_until(lambda: is_voided(wallet, late_serial, late_token))
    await world.revoke(early)
    await wait_until(lambda: is_voided(wallet, early_serial, early_token))
    tag = (await wallet.list_updated("0")).json["lastUpdated"]
    assert (await wallet.list_updated(tag)).status == 204
    await wait_until(_pushes(apns, 1))

    # The mail with the pass is opened only now: Wallet shows the old pass, and registers it.
    assert (await wallet.register(late_serial, late_token)).status == 201
    await wait_until(_pushes(apns, 2))
    listed = await wallet.list_updated(tag)
    assert listed.json["serialNumbers"] == [late_serial]
    assert (await wallet.list_updated(listed.json["lastUpdated"])).status == 204


def _pushes(apns: ApnsPeer, count: int) -> Callable[[], Awaitable[bool]]:
    async def is_sent() -> bool:
        return len(apns.received) >= count

    return is_sent


async def test_a_registration_that_commits_while_the_change_is_handled_is_notified(
    world: World, follower: EventFollower, database_url: str
) -> None:
    """Neither transaction sees the other one's rows."""
    late, other = await member_with_pass(world), await member_with_pass(world)
    await register(world.connection, other.pass_serial)
    await world.revoke(late)
    await world.revoke(other)
    phone = await asyncpg.connect(database_url)
    transaction = phone.transaction()
    await transaction.start()
    await register(phone, late.pass_serial)
    await follower.follow()
    listed, tag = await list_changes(world, 0)
    assert listed == [other.pass_serial]
    assert await take_pushes(world) == ["aa"]
    await transaction.commit()
    await phone.close()
    await follower.follow()
    assert await take_pushes(world) == ["aa"]
    assert (await list_changes(world, tag))[0] == [late.pass_serial]


async def test_a_registration_whose_pass_never_changed_is_not_pushed(world: World, follower: EventFollower) -> None:
    fresh, changed = await member_with_pass(world), await member_with_pass(world)
    await register(world.connection, changed.pass_serial)
    await world.revoke(changed)
    await follower.follow()
    _, tag = await list_changes(world, 0)
    await take_pushes(world)
    await register(world.connection, fresh.pass_serial)
    assert await follower.follow() == 1
    assert await take_pushes(world) == []
    assert await list_changes(world, tag) == ([], tag)


async def test_a_pass_that_was_removed_and_added_again_is_listed_again(world: World, follower: EventFollower) -> None:
    membership = await member_with_pass(world)
    await register(world.connection, membership.pass_serial)
    await world.revoke(membership)
    await follower.follow()
    _, tag = await list_changes(world, 0)
    await world.connection.execute(QUERIES["unregister_device"], "library", membership.pass_serial)
    await register(world.connection, membership.pass_serial)
    await follower.follow()
    assert (await list_changes(world, tag))[0] == [membership.pass_serial]


async def test_registrations_of_the_version_before_are_listed_too(world: World, follower: EventFollower) -> None:
    """Phones that came too late before this version get the pass now: their rows have no tag yet."""
    membership = await member_with_pass(world)
    await world.revoke(membership)
    await follower.follow()
    await world.connection.execute(
        "INSERT INTO pass_registrations (device_library_id, serial, push_token) VALUES ('library', $1, 'aa')",
        membership.pass_serial,
    )
    await follower.follow()
    assert await take_pushes(world) == ["aa"]


async def test_a_tag_that_was_never_given_lists_everything(world: World, follower: EventFollower) -> None:
    """As after a restore to an earlier moment: the phone is ahead of the database."""
    membership = await member_with_pass(world)
    await register(world.connection, membership.pass_serial)
    assert (await list_changes(world, 7))[0] == [membership.pass_serial]
    await world.revoke(membership)
    await follower.follow()
    assert (await list_changes(world, 10**17))[0] == [membership.pass_serial]
    listed, tag = await list_changes(world, 0)
    assert listed == [membership.pass_serial]
    assert await list_changes(world, tag) == ([], tag)


async def test_pages_of_a_phone_with_many_changes_hide_nothing(world: World, follower: EventFollower) -> None:
    memberships = [await member_with_pass(world) for _ in range(7)]
    for membership in memberships[:4]:
        await register(world.connection, membership.pass_serial)
    for membership in memberships:
        await world.revoke(membership)
    await follower.follow()
    for membership in memberships[4:]:
        await register(world.connection, membership.pass_serial)
    await follower.follow()
    listed: list[UUID] = []
    tag = 0
    while rows := await world.connection.fetch(QUERIES["list_updated"], "library", tag, 2):
        listed += [row["serial"] for row in rows]
        tag = rows[-1]["tag"]
    assert listed == [membership.pass_serial for membership in memberships]
