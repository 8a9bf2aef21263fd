"""Apple's PassKit web service, called as Wallet calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from uuid import uuid4

import pytest

from tests.integration.wallet.apns_peer import ApnsPeer
from tests.integration.wallet.conftest import SeededMembership, World
from tests.integration.wallet.wallet_client import WalletClient
from vyris.errors import InvalidRequest, Unauthorized


async def wait_until(condition: Callable[[], Awaitable[bool]], limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while not await condition():
            await asyncio.sleep(0.02)


async def issue_pass(wallet: WalletClient, membership: SeededMembership) -> tuple[str, str]:
    document = (await wallet.issue(membership.id, membership.user_id)).opened.document
    return document["serialNumber"], document["authenticationToken"]


async def is_voided(wallet: WalletClient, serial: str, token: str) -> bool:
    return bool((await wallet.fetch(serial, f"ApplePass {token}")).opened.document.get("voided", False))


async def test_a_phone_registers_lists_a_change_fetches_it_and_unregisters(
    pushing_wallet: WalletClient, world: World, apns: ApnsPeer
) -> None:
    wallet = pushing_wallet
    membership = await world.mint()
    serial, token = await issue_pass(wallet, membership)

    assert (await wallet.register(serial, token)).status == 201
    assert (await wallet.register(serial, token)).status == 200

    listed = await wallet.list_updated()
    assert listed.status == 200
    assert listed.json["serialNumbers"] == [serial]
    tag = listed.json["lastUpdated"]
    assert (await wallet.list_updated(tag)).status == 204

    fetched = await wallet.fetch(serial, f"ApplePass {token}")
    assert fetched.status == 200
    last_modified = fetched.headers["last-modified"]
    assert last_modified.endswith(" GMT")
    assert (await wallet.fetch(serial, f"ApplePass {token}", if_modified_since=last_modified)).status == 304

    await world.revoke(membership)

    async def is_pushed() -> bool:
        return apns.tokens() == ["ab" * 32]

    await wait_until(is_pushed)
    push = apns.received[0]
    assert push.body == b"{}"
    assert push.headers["apns-topic"] == "pass.app.vyris.membership"
    assert push.client_common_name == "Pass Type ID: pass.app.vyris.membership"

    changed = await wallet.list_updated(tag)
    assert changed.json["serialNumbers"] == [serial]
    assert int(changed.json["lastUpdated"]) > int(tag)
    newer = await wallet.fetch(serial, f"ApplePass {token}", if_modified_since=last_modified)
    assert newer.status == 200
    assert newer.opened.document["voided"] is True
    assert newer.opened.document["authenticationToken"] == token
    assert newer.headers["last-modified"] != last_modified
    assert (await wallet.list_updated(changed.json["lastUpdated"])).status == 204

    assert (await wallet.unregister(serial, token)).status == 200
    assert (await wallet.unregister(serial, token)).status == 200
    assert (await wallet.list_updated()).status == 204


async def test_every_wrong_token_serial_or_pass_type_is_the_same_401(wallet: WalletClient, world: World) -> None:
    membership, other = await world.mint(), await world.mint()
    serial, token = await issue_pass(wallet, membership)
    _, other_token = await issue_pass(wallet, other)
    replies = [
        await wallet.fetch(serial, None),
        await wallet.fetch(serial, ""),
        await wallet.fetch(serial, token),
        await wallet.fetch(serial, f"Bearer {token}"),
        await wallet.fetch(serial, f"ApplePass {other_token}"),
        await wallet.fetch(serial, "ApplePass x"),
        await wallet.fetch(uuid4(), f"ApplePass {token}"),
        await wallet.fetch("no-uuid", f"ApplePass {token}"),
        await wallet.fetch(serial, f"ApplePass {token}", pass_type="pass.com.other"),
        await wallet.register(serial, other_token),
        await wallet.unregister(serial, other_token),
    ]
    assert {(reply.status, reply.error and reply.error.reason) for reply in replies} == {(401, "UNAUTHORIZED")}
    assert len({reply.error.message for reply in replies if reply.error}) <= 2
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 0


async def test_a_restored_membership_is_no_longer_voided(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    serial, token = await issue_pass(wallet, membership)
    await world.revoke(membership)
    await wait_until(lambda: is_voided(wallet, serial, token))
    await world.restore(membership)

    async def alive() -> bool:
        return not await is_voided(wallet, serial, token)

    await wait_until(alive)


async def test_after_a_move_the_old_serial_fetches_only_its_voided_pass(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    old_serial, old_token = await issue_pass(wallet, membership)
    await world.move(membership)
    await wait_until(lambda: is_voided(wallet, old_serial, old_token))
    new_serial, new_token = await issue_pass(wallet, membership)
    assert (await wallet.fetch(new_serial, f"ApplePass {old_token}")).status == 401
    assert not await is_voided(wallet, new_serial, new_token)
    # Later changes of the membership leave the old pass void.
    await world.revoke(membership)
    await wait_until(lambda: is_voided(wallet, new_serial, new_token))
    await world.restore(membership)

    async def is_restored() -> bool:
        return not await is_voided(wallet, new_serial, new_token)

    await wait_until(is_restored)
    assert await is_voided(wallet, old_serial, old_token)


async def test_a_pass_issued_between_the_move_and_its_handling_is_not_voided_by_it(
    wallet: WalletClient, world: World
) -> None:
    membership = await world.mint()
    old_serial, old_token = await issue_pass(wallet, membership)
    await world.move(membership)
    new_serial, new_token = await issue_pass(wallet, membership)  # at once, before or after the follower's round
    await wait_until(lambda: is_voided(wallet, old_serial, old_token))
    assert not await is_voided(wallet, new_serial, new_token)


async def test_two_changes_in_one_second_have_two_modification_times(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    serial, token = await issue_pass(wallet, membership)
    times = []
    for change in (world.revoke, world.restore, world.revoke):
        tag = await world.connection.fetchval("SELECT max(update_tag) FROM passes")
        await change(membership)

        async def is_handled(tag: int = tag) -> bool:
            return bool(await world.connection.fetchval("SELECT max(update_tag) > $1 FROM passes", tag))

        await wait_until(is_handled)
        reply = await wallet.fetch(serial, f"ApplePass {token}")
        times.append(parsedate_to_datetime(reply.headers["last-modified"]))
    assert times[0] < times[1] < times[2]


@pytest.mark.parametrize(
    "header",
    [
        "nonsense",
        "Thu, 99 Nov 1994 08:49:37 GMT",
        "0",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        f"Mon, 01 Jan {10**20} 00:00:00 GMT",
        f"Mon, {10**20} Jan 2024 00:00:00 GMT",
        f"Mon, 01 Jan 2024 00:00:00 +{10**20}",
    ],
)
async def test_a_date_that_is_old_or_no_date_gets_the_whole_pass(
    wallet: WalletClient, world: World, header: str
) -> None:
    serial, token = await issue_pass(wallet, await world.mint())
    assert (await wallet.fetch(serial, f"ApplePass {token}", if_modified_since=header)).status == 200


async def test_a_cache_that_asks_by_a_tag_gets_the_whole_pass(wallet: WalletClient, world: World) -> None:
    serial, token = await issue_pass(wallet, await world.mint())
    holder = f"ApplePass {token}"
    date = (await wallet.fetch(serial, holder)).headers["last-modified"]
    assert (await wallet.fetch(serial, holder, if_modified_since=date)).status == 304
    assert (await wallet.fetch(serial, holder, if_modified_since=date, if_none_match='"x"')).status == 200


async def test_a_tag_or_a_type_that_cannot_be_stored_is_invalid(wallet: WalletClient) -> None:
    for reply in (await wallet.list_updated("\0"), await wallet.list_updated(pass_type="\0")):
        assert isinstance(reply.error, InvalidRequest)


async def test_a_tag_that_is_not_ours_lists_everything(wallet: WalletClient, world: World) -> None:
    serial, token = await issue_pass(wallet, await world.mint())
    await wallet.register(serial, token)
    for tag in ("yesterday", "-5", "9" * 40, "2025-01-01T00:00:00Z"):
        assert (await wallet.list_updated(tag)).json["serialNumbers"] == [serial]


async def test_a_device_gets_only_its_own_passes(wallet: WalletClient, world: World) -> None:
    serials = []
    for index in range(2):
        serial, token = await issue_pass(wallet, await world.mint())
        await wallet.register(serial, token, device=f"library-{index}")
        serials.append(serial)
    assert (await wallet.list_updated(device="library-0")).json["serialNumbers"] == [serials[0]]
    assert (await wallet.list_updated(device="library-1")).json["serialNumbers"] == [serials[1]]
    assert (await wallet.list_updated(device="nobody")).status == 204
    assert (await wallet.list_updated(device="library-0", pass_type="pass.com.other")).status == 204


async def test_a_pass_remembers_a_bounded_number_of_devices(wallet: WalletClient, world: World) -> None:
    serial, token = await issue_pass(wallet, await world.mint())
    for index in range(40):
        assert (await wallet.register(serial, token, device=f"library-{index}")).status == 201
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 32
    assert (await wallet.list_updated(device="library-0")).status == 204
    assert (await wallet.list_updated(device="library-39")).status == 200


@pytest.mark.parametrize(
    "identifier",
    ["x" * 257, "0123456789abcdef" * 128, "a/../b c", "..", ".", "ab?cd#e", "%2F", "a+b=&c;", "Grüße-📱"],
    ids=ascii,
)
async def test_apples_identifiers_are_opaque(
    pushing_wallet: WalletClient, world: World, apns: ApnsPeer, identifier: str
) -> None:
    wallet, membership = pushing_wallet, await world.mint()
    serial, token = await issue_pass(wallet, membership)
    assert (await wallet.register(serial, token, device=identifier, push_token=identifier)).status == 201
    await world.revoke(membership)

    async def is_pushed() -> bool:
        return apns.tokens() == [identifier]

    await wait_until(is_pushed)
    assert (await wallet.list_updated("0", device=identifier)).json["serialNumbers"] == [serial]
    assert (await wallet.unregister(serial, token, device=identifier)).status == 200
    assert (await wallet.list_updated(device=identifier)).status == 204


async def test_an_impossible_apple_identifier_is_422(wallet: WalletClient, world: World) -> None:
    serial, token = await issue_pass(wallet, await world.mint())
    for wrong in ("", " ", "a\nb", "\x00", "a\u202eb", "x" * 2049, "ü" * 1025):
        for reply in (
            await wallet.register(serial, token, push_token=wrong),
            await wallet.register(serial, token, device=wrong),
            await wallet.unregister(serial, token, device=wrong),
            await wallet.list_updated(device=wrong),
        ):
            assert (reply.status, reply.error and reply.error.reason) == (422, "INVALID_REQUEST")
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 0


async def test_logs_with_any_content_are_accepted(wallet: WalletClient) -> None:
    assert (await wallet.log([])).status == 200
    assert (await wallet.log(["x" * 2000] * 30)).status == 200


async def test_a_registration_of_an_unknown_but_well_signed_serial_is_401(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    serial, token = await issue_pass(wallet, membership)
    await world.connection.execute("DELETE FROM passes")
    reply = await wallet.register(serial, token)
    assert isinstance(reply.error, Unauthorized)
    assert isinstance((await wallet.fetch(serial, f"ApplePass {token}")).error, Unauthorized)
