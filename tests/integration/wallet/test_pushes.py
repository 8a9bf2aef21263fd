"""The outbox: the push of every update is sent at least once, and at last given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import structlog
from structlog.testing import capture_logs

from services.data.storage.database import Database
from services.data.storage.outbox import Outbox as StoredOutbox
from services.server.runtime.background import Loop, running
from services.wallet import metrics, push_outbox
from services.wallet.apns import ApnsClient
from services.wallet.membership_events import EventFollower
from services.wallet.pass_tokens import PassTokens
from services.wallet.push_outbox import LIMITS, REFUSED_ATTEMPTS, STATEMENTS, PushOutbox
from services.wallet.settings import WalletSettings
from services.wallet.signing import SigningCredentials
from services.wallet.signing_setup import credentials_from
from services.wallet.web_service import PassWebService
from tests.integration.wallet.apns_peer import ApnsPeer, apns_peer
from tests.integration.wallet.conftest import World

PASS_TYPE = "pass.app.vyris.membership"


def read_count(outcome: str) -> float:
    """The number of pushes with that outcome, from the metrics."""
    return metrics.PUSHES.labels(outcome)._value.get()


class Outbox:
    """The two workers; the test calls each round."""

    def __init__(self, database: Database, apns: ApnsClient, world: World) -> None:
        self.database, self.world = database, world
        self.follower = EventFollower(database)
        self.outbox = PushOutbox(database, apns, attempt_limit=3)

    async def holder(self, push_token: str, device: str = "library") -> UUID:
        """Make a membership whose pass is on a device."""
        membership = await self.world.mint()
        await self.world.connection.execute(
            "INSERT INTO passes (serial, membership_id, generation, public_id) "
            "VALUES ($1, $2, 0, substr(md5(random()::text), 1, 22))",
            *(membership.pass_serial, membership.id),
        )
        await self.world.connection.execute(
            "INSERT INTO pass_registrations (device_library_id, serial, push_token) VALUES ($1, $2, $3)",
            *(device, membership.pass_serial, push_token),
        )
        await self.world.revoke(membership)
        return membership.pass_serial

    async def list_owed(self) -> list[tuple[str, int]]:
        rows = await self.world.connection.fetch("SELECT push_token, attempts FROM pass_pushes ORDER BY push_token")
        return [(row["push_token"], row["attempts"]) for row in rows]

    async def due_now(self) -> None:
        await self.world.connection.execute("UPDATE pass_pushes SET due_at = now()")


@pytest.fixture
def credentials(settings: WalletSettings) -> SigningCredentials:
    return credentials_from(settings)


@pytest.fixture
async def peer(tmp_path: Path, settings: WalletSettings, credentials: SigningCredentials) -> AsyncIterator[ApnsPeer]:
    async with apns_peer(tmp_path, settings.vyris_state_dir / "keys" / "pass_root.pem") as running:
        yield running


@pytest.fixture
async def outbox(
    settings: WalletSettings, credentials: SigningCredentials, peer: ApnsPeer, world: World
) -> AsyncIterator[Outbox]:
    async with (
        Database.open(settings, "test") as database,
        ApnsClient(peer.origin, credentials, PASS_TYPE, trusted=peer.ca) as apns,
    ):
        yield Outbox(database, apns, world)


async def test_one_push_for_a_device_however_many_of_its_passes_changed(outbox: Outbox, peer: ApnsPeer) -> None:
    for _ in range(3):
        await outbox.holder("aa")
    await outbox.follower.follow()
    assert await outbox.outbox.send_due() == 1
    assert peer.tokens() == ["aa"]
    assert await outbox.list_owed() == []


async def test_a_change_and_its_push_are_written_together_or_not_at_all(outbox: Outbox, world: World) -> None:
    await outbox.holder("aa")
    await world.connection.execute("ALTER TABLE pass_pushes ADD CONSTRAINT refuse CHECK (push_token <> 'aa')")
    with pytest.raises(Exception, match="SQLSTATE"):
        await outbox.follower.follow()
    assert await world.connection.fetchval("SELECT count(*) FROM passes WHERE state = 'REVOKED'") == 0
    await world.connection.execute("ALTER TABLE pass_pushes DROP CONSTRAINT refuse")
    await outbox.follower.follow()
    assert await world.connection.fetchval("SELECT count(*) FROM passes WHERE state = 'REVOKED'") == 1
    assert await outbox.list_owed() == [("aa", 0)]


async def test_events_that_are_read_again_change_nothing_and_enqueue_no_push(outbox: Outbox, world: World) -> None:
    await outbox.holder("aa")
    await outbox.follower.follow()
    await outbox.outbox.send_due()
    await world.connection.execute("UPDATE wallet_cursor SET transaction = '0', event_id = 0")
    assert await outbox.follower.follow() == 1
    assert await outbox.list_owed() == []
    assert await outbox.follower.follow() == 0


async def test_events_of_another_cluster_do_not_hide_those_of_this_one(outbox: Outbox, world: World) -> None:
    """As after loading a dump: cursor and old events have transaction ids that this cluster reaches in years."""
    await outbox.holder("handled")
    await outbox.follower.follow()
    await outbox.outbox.send_due()
    await outbox.holder("unread", device="library-2")
    await world.connection.execute("UPDATE wallet_cursor SET transaction = '9000000000'")
    await world.connection.execute("UPDATE membership_events SET transaction = '9000000000'")
    await outbox.holder("new", device="library-3")
    while await outbox.follower.follow():
        pass
    assert await outbox.list_owed() == [("new", 0), ("unread", 0)]
    await outbox.holder("newer", device="library-4")
    await outbox.follower.follow()
    assert [token for token, _ in await outbox.list_owed()] == ["new", "newer", "unread"]


async def test_two_followers_never_handle_the_same_events_at_once(outbox: Outbox, world: World) -> None:
    for index in range(5):
        await outbox.holder(f"a{index}", device=f"library-{index}")
    second = EventFollower(outbox.database)
    read = await asyncio.gather(*(follower.follow() for follower in (outbox.follower, second) for _ in range(5)))
    assert sum(read) == 5 + 5  # events, and registrations
    assert await world.connection.fetchval("SELECT count(DISTINCT update_tag) FROM passes WHERE update_tag > 0") == 5


async def test_an_event_of_an_open_transaction_is_not_skipped(outbox: Outbox, world: World, database_url: str) -> None:
    import asyncpg

    serial = await outbox.holder("aa")  # committed
    slow = await asyncpg.connect(database_url)
    transaction = slow.transaction()
    await transaction.start()
    membership = await world.mint()
    await world.connection.execute(
        "INSERT INTO passes (serial, membership_id, generation, public_id) VALUES ($1, $2, 0, $3)",
        *(membership.pass_serial, membership.id, "x" * 22),
    )
    await slow.execute("UPDATE memberships SET revoked_at = now() WHERE id = $1", membership.id)
    await slow.execute(
        "INSERT INTO membership_events (membership_id, kind) VALUES ($1, 'revoked')", membership.id
    )  # older transaction, still open
    await outbox.holder("bb", device="library-2")  # younger, committed
    await outbox.follower.follow()
    await transaction.commit()
    await slow.close()
    while await outbox.follower.follow():
        pass
    states = await world.connection.fetch("SELECT serial, state::text FROM passes")
    assert {row["state"] for row in states} == {"REVOKED"}
    assert len(states) == 3
    assert serial in {row["serial"] for row in states}


async def test_a_device_that_registers_after_the_pass_was_voided_is_notified(outbox: Outbox, world: World) -> None:
    serial = await outbox.holder("aa")
    await outbox.follower.follow()
    await outbox.outbox.send_due()
    service = PassWebService(outbox.database, PassTokens("k" * 32), PASS_TYPE)
    assert await service.register(serial, "another library", "bb")
    assert await outbox.follower.follow() == 1
    assert await outbox.list_owed() == [("bb", 0)]
    await outbox.outbox.send_due()
    assert not await service.register(serial, "another library", "bb")
    assert await outbox.follower.follow() == 0
    assert await outbox.list_owed() == []
    # The same phone under another push token may have missed the first push.
    assert not await service.register(serial, "another library", "cc")
    assert await outbox.follower.follow() == 1
    assert await outbox.list_owed() == [("cc", 0)]


async def test_the_status_gone_unregisters_the_device(outbox: Outbox, peer: ApnsPeer, world: World) -> None:
    await outbox.holder("dead", device="library-1")
    await outbox.holder("alive", device="library-2")
    gone_at_ms = int((time.time() + 5) * 1000)
    peer.answer = lambda token: (
        (410, {"reason": "Unregistered", "timestamp": gone_at_ms}) if token == "dead" else (200, {})
    )
    await outbox.follower.follow()
    assert await outbox.outbox.send_due() == 2
    assert await outbox.list_owed() == []
    assert await world.connection.fetch("SELECT push_token FROM pass_registrations") == [("alive",)]


async def test_a_registration_newer_than_the_status_gone_stays(outbox: Outbox, peer: ApnsPeer, world: World) -> None:
    await outbox.holder("back")
    peer.answer = lambda _: (410, {"reason": "Unregistered", "timestamp": 1_000_000})
    await outbox.follower.follow()
    await outbox.outbox.send_due()
    assert await outbox.list_owed() == []
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 1


async def test_a_failed_push_is_retried_and_at_last_given_up(outbox: Outbox, peer: ApnsPeer) -> None:
    await outbox.holder("aa")
    peer.answer = lambda _: (503, {"reason": "ServiceUnavailable"})
    retried, given_up = read_count("retry"), read_count("gave_up")
    await outbox.follower.follow()
    for attempt in (1, 2):
        assert await outbox.outbox.send_due() == 1
        assert await outbox.outbox.send_due() == 0, "it waits"
        assert await outbox.list_owed() == [("aa", attempt)]
        await outbox.due_now()
    assert await outbox.outbox.send_due() == 1
    assert await outbox.list_owed() == []
    assert peer.tokens() == ["aa"] * 3
    assert read_count("retry") - retried == 2
    assert read_count("gave_up") - given_up == 1


async def test_a_push_without_an_apns_does_not_count_as_delivered(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A logger that was used before keeps its processors, so its lines would not be captured.
    monkeypatch.setattr(push_outbox, "log", structlog.get_logger())
    await outbox.holder("aa")
    await outbox.follower.follow()
    delivered, skipped = read_count("delivered"), read_count("skipped")
    with capture_logs() as lines:
        nobody = PushOutbox(outbox.database, None, attempt_limit=3)
        async with running([Loop("pushes", run=nobody.once, every_s=0.01)]), asyncio.timeout(5):
            while await outbox.list_owed():
                await asyncio.sleep(0.01)
    assert [line["event"] for line in lines] == ["pushes_are_skipped"]
    assert (read_count("delivered") - delivered, read_count("skipped") - skipped) == (0, 1)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "BadCertificate"),
        (403, "BadCertificateEnvironment"),
        (403, "Forbidden"),
        (400, "BadTopic"),
        (400, "TopicDisallowed"),
        (400, "DeviceTokenNotForTopic"),
        (413, "PayloadTooLarge"),
        (404, "BadPath"),
    ],
)
async def test_an_apns_error_about_us_costs_no_phone_its_registration_or_push(
    outbox: Outbox, peer: ApnsPeer, world: World, status: int, reason: str
) -> None:
    await outbox.holder("aa")
    peer.answer = lambda _: (status, {"reason": reason})
    await outbox.follower.follow()
    for _ in range(5):  # other pushes have three attempts
        assert await outbox.outbox.send_due() == 1
        await outbox.due_now()
    assert await outbox.list_owed() == [("aa", 5)]
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 1
    peer.answer = lambda _: (200, {})
    await outbox.outbox.send_due()
    assert await outbox.list_owed() == []


async def test_a_push_that_apns_refuses_for_a_week_is_given_up(outbox: Outbox, peer: ApnsPeer, world: World) -> None:
    await outbox.holder("aa")
    peer.answer = lambda _: (403, {"reason": "BadCertificate"})
    await outbox.follower.follow()
    await world.connection.execute("UPDATE pass_pushes SET attempts = $1", 3 + REFUSED_ATTEMPTS - 1)
    assert await outbox.outbox.send_due() == 1
    assert await outbox.list_owed() == []
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 1


@pytest.mark.parametrize(("status", "reason"), [(410, "Unregistered"), (410, "ExpiredToken"), (400, "BadDeviceToken")])
async def test_an_apns_error_about_a_device_ends_its_registration(
    outbox: Outbox, peer: ApnsPeer, world: World, status: int, reason: str
) -> None:
    await outbox.holder("aa")
    peer.answer = lambda _: (status, {"reason": reason})
    await outbox.follower.follow()
    await outbox.outbox.send_due()
    assert await outbox.list_owed() == []
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 0


@pytest.mark.parametrize(("status", "reason"), [(429, "TooManyRequests"), (500, "InternalServerError"), (503, "")])
async def test_a_temporary_apns_error_is_retried(
    outbox: Outbox, peer: ApnsPeer, world: World, status: int, reason: str
) -> None:
    await outbox.holder("aa")
    peer.answer = lambda _: (status, {"reason": reason})
    await outbox.follower.follow()
    await outbox.outbox.send_due()
    assert await outbox.list_owed() == [("aa", 1)]
    assert await world.connection.fetchval("SELECT count(*) FROM pass_registrations") == 1


async def test_an_unreachable_apns_loses_nothing(
    outbox: Outbox, peer: ApnsPeer, credentials: SigningCredentials
) -> None:
    await outbox.holder("aa")
    await outbox.follower.follow()
    async with ApnsClient("https://127.0.0.1:1", credentials, PASS_TYPE, trusted=peer.ca) as nobody:
        lame = PushOutbox(outbox.database, nobody, attempt_limit=3)
        assert await lame.send_due() == 1
    assert await outbox.list_owed() == [("aa", 1)]
    await outbox.due_now()
    await outbox.outbox.send_due()
    assert peer.tokens() == ["aa"]
    assert await outbox.list_owed() == []


async def test_a_push_enqueued_while_one_is_in_flight_is_sent_again(
    outbox: Outbox, peer: ApnsPeer, world: World
) -> None:
    await outbox.holder("aa")
    await outbox.follower.follow()
    rows = await world.connection.fetch(
        "UPDATE pass_pushes SET due_at = now() + interval '1 minute', attempts = 1 "
        "RETURNING push_token, version, attempts"
    )  # taken by another process
    await outbox.holder("aa")
    await outbox.follower.follow()
    await outbox.outbox._send(rows[0])
    assert await outbox.outbox.send_due() == 1
    assert peer.tokens() == ["aa", "aa"]
    assert await outbox.list_owed() == []


async def test_pushes_of_a_dead_process_are_due_again_when_their_lease_ends(outbox: Outbox, world: World) -> None:
    await outbox.holder("aa")
    await outbox.follower.follow()
    await world.connection.execute("UPDATE pass_pushes SET due_at = now() + interval '0.2 seconds', attempts = 1")
    assert await outbox.outbox.send_due() == 0
    await asyncio.sleep(0.25)
    assert await outbox.outbox.send_due() == 1


async def test_apns_refuses_a_caller_without_the_pass_certificate(
    outbox: Outbox, peer: ApnsPeer, tmp_path: Path
) -> None:
    from services.wallet.development_certificates import development_credentials

    stranger = development_credentials(tmp_path / "k", pass_type_identifier=PASS_TYPE, team_identifier="STRANGER01")
    async with ApnsClient(peer.origin, stranger, PASS_TYPE, trusted=peer.ca) as apns:
        answer = await apns.push("aa")
    assert answer.outcome.value == "retry"
    assert peer.received == []


@pytest.mark.parametrize(("attempts", "pause_s"), [(1, 1.0), (4, 8.0), (13, 3_600.0), (2_000, 3_600.0)])
async def test_pauses_double_up_to_an_hour(
    world: World, settings: WalletSettings, attempts: int, pause_s: float
) -> None:
    await world.connection.execute(
        "INSERT INTO pass_pushes (push_token, version, attempts) VALUES ('aa', 1, $1)", attempts
    )
    async with Database.open(settings, "test") as database:
        before = await world.connection.fetchval("SELECT clock_timestamp()")
        await StoredOutbox(database, STATEMENTS, LIMITS).later(attempts, "aa", 1)
    due_at, after = await world.connection.fetchrow("SELECT due_at, clock_timestamp() FROM pass_pushes")
    assert 0.75 * pause_s <= (due_at - before).total_seconds()
    assert (due_at - after).total_seconds() <= pause_s
