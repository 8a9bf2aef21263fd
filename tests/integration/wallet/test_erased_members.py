"""An erased person's pass becomes void on the phone, and then the phone's data is deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from admin.people import erase_user
from services.data.audit_log import Actor
from services.data.storage.database import Database
from services.wallet.housekeeping import Housekeeping
from services.wallet.settings import WalletSettings
from tests.integration.admin.test_erasure import dump_database
from tests.integration.wallet.apns_peer import ApnsPeer
from tests.integration.wallet.conftest import SeededMembership, World
from tests.integration.wallet.test_pass_web_service import is_voided, issue_pass, wait_until
from tests.integration.wallet.wallet_client import WalletClient

ADA = "ada-7f3"
LIBRARY, PUSH_TOKEN = "library-of-ada", "push-token-of-ada"


@pytest.fixture
async def housekeeping(settings: WalletSettings) -> AsyncIterator[Housekeeping]:
    async with Database.open(settings, "test") as database:
        yield Housekeeping(database)


async def erase(world: World) -> None:
    async with world.connection.transaction():
        await erase_user(world.connection, ADA, Actor("operator", "asked by post"))


async def on_a_phone(wallet: WalletClient, membership: SeededMembership) -> tuple[str, str]:
    serial, token = await issue_pass(wallet, membership)
    assert (await wallet.register(serial, token, device=LIBRARY, push_token=PUSH_TOKEN)).status == 201
    return serial, token


async def left(world: World) -> set[str]:
    """The phone's data in the database."""
    text = await dump_database(world.connection)
    return {name for name in (ADA, LIBRARY, PUSH_TOKEN) if name in text}


async def no_push_is_owed(world: World) -> bool:
    return not await world.connection.fetchval("SELECT count(*) FROM pass_pushes")


async def a_day_later(world: World, housekeeping: Housekeeping) -> None:
    await world.connection.execute("UPDATE pass_registrations SET forget_after = forget_after - interval '24 hours'")
    await housekeeping.once()


async def test_an_erased_pass_is_voided_pushed_and_then_removed(
    pushing_wallet: WalletClient, world: World, apns: ApnsPeer, housekeeping: Housekeeping
) -> None:
    wallet = pushing_wallet
    serial, token = await on_a_phone(wallet, await world.mint(ADA))
    tag = (await wallet.list_updated(device=LIBRARY)).json["lastUpdated"]
    await erase(world)
    assert ADA not in await left(world)

    async def is_pushed() -> bool:
        return apns.tokens() == [PUSH_TOKEN] and await no_push_is_owed(world)

    await wait_until(is_pushed)
    await housekeeping.once()
    assert await left(world) == {LIBRARY}, "the push token is of no more use"
    assert (await wallet.list_updated(tag, device=LIBRARY)).json["serialNumbers"] == [serial]
    assert await is_voided(wallet, serial, token)
    await a_day_later(world, housekeeping)
    assert await left(world) == set()
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 0
    assert await is_voided(wallet, serial, token), "a phone that still asks gets the void pass"


async def test_a_push_that_fails_keeps_its_token_until_it_is_sent_or_the_day_is_over(
    pushing_wallet: WalletClient, world: World, apns: ApnsPeer, housekeeping: Housekeeping
) -> None:
    apns.answer = lambda _: (503, {"reason": "ServiceUnavailable"})
    await on_a_phone(pushing_wallet, await world.mint(ADA))
    await erase(world)

    async def has_failed() -> bool:
        return bool(await world.connection.fetchval("SELECT count(*) FROM pass_pushes WHERE attempts > 0"))

    await wait_until(has_failed)
    await housekeeping.once()
    assert await left(world) == {LIBRARY, PUSH_TOKEN}
    await a_day_later(world, housekeeping)
    assert await left(world) == set()


@pytest.mark.parametrize("revoked_before", [True, False])
async def test_phones_are_removed_whether_or_not_the_pass_was_void_before(
    wallet: WalletClient, world: World, housekeeping: Housekeeping, revoked_before: bool
) -> None:
    membership = await world.mint(ADA)
    serial, token = await on_a_phone(wallet, membership)
    if revoked_before:
        await world.revoke(membership)
        await wait_until(lambda: is_voided(wallet, serial, token))
    await erase(world)

    async def ends() -> bool:
        return bool(await world.connection.fetchval("SELECT forget_after IS NOT NULL FROM pass_registrations"))

    await wait_until(ends)
    await a_day_later(world, housekeeping)
    assert await left(world) == set()


async def test_a_phone_that_registers_after_the_erasure_is_notified_and_removed_too(
    pushing_wallet: WalletClient, world: World, apns: ApnsPeer, housekeeping: Housekeeping
) -> None:
    wallet = pushing_wallet
    serial, token = await issue_pass(wallet, await world.mint(ADA))
    await erase(world)
    await wait_until(lambda: is_voided(wallet, serial, token))
    assert (await wallet.register(serial, token, device=LIBRARY, push_token=PUSH_TOKEN)).status == 201

    async def is_pushed() -> bool:
        return apns.tokens() == [PUSH_TOKEN]

    await wait_until(is_pushed)
    await a_day_later(world, housekeeping)
    assert await left(world) == set()


async def test_other_members_phones_stay(
    pushing_wallet: WalletClient, world: World, apns: ApnsPeer, housekeeping: Housekeeping
) -> None:
    """Also on a phone with passes of two persons, and while a push for the other's pass is due."""
    wallet = pushing_wallet
    ben = await world.mint("ben")
    serial, token = await issue_pass(wallet, ben)
    assert (await wallet.register(serial, token, device=LIBRARY, push_token=PUSH_TOKEN)).status == 201
    await on_a_phone(wallet, await world.mint(ADA))
    await erase(world)

    async def is_pushed() -> bool:
        return apns.tokens() == [PUSH_TOKEN] and await no_push_is_owed(world)

    await wait_until(is_pushed)
    await housekeeping.once()
    await world.connection.execute("INSERT INTO pass_pushes (push_token, due_at) VALUES ($1, 'infinity')", PUSH_TOKEN)
    await a_day_later(world, housekeeping)
    kept = await world.connection.fetch("SELECT serial::text, push_token FROM pass_registrations")
    assert [tuple(row) for row in kept] == [(serial, PUSH_TOKEN)]
    assert not await no_push_is_owed(world)
