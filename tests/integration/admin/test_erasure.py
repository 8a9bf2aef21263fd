"""An erased person is nowhere; the rows that the drop and the ledger need are still there."""

from __future__ import annotations

import asyncio
import json
import uuid

import asyncpg
import pytest

from admin.people import erase_user
from services.data.audit_log import Actor
from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.mint.ledger import EnrolledDevice
from services.mint.revocation import restore, revoke
from services.reforge.statements import lock_membership
from services.wallet.housekeeping import Housekeeping
from services.wallet.membership_events import EventFollower
from services.wallet.push_outbox import PushOutbox
from suite import NAMES
from tests.integration.mint.receipts.notices import apply, mint_of, notice
from tests.stand_ins.mint_engine import MintMaker
from vyris.errors import InvalidReceipt, ReceiptUsed

ADA = "ada-7f3"
THUMBPRINT, OLD_THUMBPRINT = "t" * 43, "o" * 43
COORDINATE = "coordinate-of-adas-key"
PHONE, LIBRARY, PUSH_TOKEN = "ada-phone", "library-of-ada", "push-token-of-ada"
DEVICE = EnrolledDevice(PHONE, json.dumps({"kty": "EC", "x": COORDINATE}), THUMBPRINT)
SECRETS = (
    *(ADA, "ada@example.org", PHONE, LIBRARY, PUSH_TOKEN, "203.0.113.7", THUMBPRINT, OLD_THUMBPRINT, COORDINATE),
    "jti-of-ada",
)


async def dump_database(connection: asyncpg.Connection) -> str:
    """Every row of every table, as text."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = []
    for (table,) in tables:
        found += [row[0] for row in await connection.fetch(f"SELECT t::text FROM {table} t")]  # noqa: S608 - a name
    return "\n".join(found)


async def test_nothing_names_an_erased_user_and_the_receipt_never_mints_again(
    make_mint: MintMaker, database_url: str
) -> None:
    mint = await make_mint(capacity=3)
    membership, _ = await mint.mint("ada's receipt", ADA, email="ada@example.org", device=DEVICE)
    other, _ = await mint.mint("ben's receipt", "ben", email="ben@example.org")
    connection = await asyncpg.connect(database_url)
    serial = uuid.UUID(membership.pass_serial)
    await connection.execute(
        "INSERT INTO passes (serial, membership_id, generation, public_id) VALUES ($1, $2, 0, repeat('p', 22))",
        serial,
        uuid.UUID(membership.id),
    )
    await connection.execute(
        "INSERT INTO pass_registrations (device_library_id, serial, push_token) VALUES ($1, $2, $3)",
        *(LIBRARY, serial, PUSH_TOKEN),
    )
    await connection.execute("INSERT INTO pass_pushes (push_token) VALUES ($1)", PUSH_TOKEN)
    await live_a_life(connection, uuid.UUID(membership.id), uuid.UUID(other.id))
    request = uuid.uuid4()
    await connection.execute(
        "INSERT INTO reforge_requests (id, membership_id, proven, new_device_id, new_public_key, new_thumbprint, email,"
        " asked_from, token_digest, undo_digest, code_required, expires_at) VALUES ($1, $2, false, 'ada-phone-2', '{}',"
        " repeat('t', 43), 'ada@example.org', '203.0.113.7', $3, $3, false, now())",
        request,
        uuid.UUID(membership.id),
        b"d" * 32,
    )
    await connection.execute(
        "INSERT INTO mail_outbox (id, kind, subject_id, recipient, facts, useless_after)"
        " VALUES (gen_random_uuid(), 'confirm', $1, 'ada@example.org', '{\"asked_from\": \"203.0.113.7\"}', now())",
        request,
    )
    before = await dump_database(connection)
    assert all(secret in before for secret in SECRETS)

    async with connection.transaction():
        erased = await erase_user(connection, ADA, Actor("operator", "asked by post"))
    assert (erased.memberships, erased.receipts) == (1, 1)
    after = await dump_database(connection)
    # Wallet still needs two of them, to notify the phone.
    assert {secret for secret in SECRETS if secret in after} == {LIBRARY, PUSH_TOKEN}
    await let_wallet_forget(connection, database_url)
    after = await dump_database(connection)
    assert not [secret for secret in SECRETS if secret in after]
    for kept in ("ben@example.org", "b" * 43, "paid back to ben", "no. 7 of 3"):
        assert kept in after
    assert await connection.fetchval("SELECT count(*) FROM audit_log WHERE action = 'user.erase'") == 1
    assert await connection.fetchval("SELECT count(*) FROM membership_events WHERE kind = 'revoked'") == 1

    # The number is not sold again, the receipt never mints again, and Ben keeps his membership.
    assert await mint.slots() == 1
    for user in (ADA, "eve"):
        with pytest.raises((ReceiptUsed, InvalidReceipt)):
            await mint.mint("ada's receipt", user)
    assert (await mint.mint("ben's receipt", "ben"))[0].id == other.id
    async with connection.transaction():
        assert (await erase_user(connection, ADA, Actor("operator", "again"))).memberships == 0
    await connection.close()


async def live_a_life(connection: asyncpg.Connection, ada: uuid.UUID, ben: uuid.UUID) -> None:
    """Ada meets Ben, sends proofs and moves to a new phone; an operator writes about her."""
    await connection.execute(
        "INSERT INTO devices (membership_id, device_id, public_key, thumbprint, retired_at) "
        "VALUES ($1, 'ada-phone-1', '{}', $2, now())",
        *(ada, OLD_THUMBPRINT),
    )
    meetings = [
        (ada, ben, THUMBPRINT, "jti-of-ada-1"),
        (ada, ben, THUMBPRINT, "jti-of-ada-2"),
        (ada, ben, OLD_THUMBPRINT, "jti-of-ada-3"),
        (ben, ada, "b" * 43, "jti-of-ben"),
    ]
    await connection.executemany(
        "INSERT INTO encounters (id, initiator_id, receiver_id, signing_key, jti, encountered_at) "
        "VALUES (gen_random_uuid(), $1, $2, $3, $4, now())",
        meetings,
    )
    await connection.execute(
        "INSERT INTO device_proof_uses VALUES ($1, 'jti-of-ada', now()), ($2, 'jti', now())", THUMBPRINT, "b" * 43
    )
    written = [
        ("reforge.confirmed", str(ada), "confirmed by the link", {"new_key": THUMBPRINT, "before": [{"k": PHONE}]}),
        ("email.change_asked", str(ada), f"case 12, {ADA} (ADA@example.org) asked", {"number": 7}),
        ("receipts.refunded", "3 receipts", "for ada@example.org, paid back to ben", {"receipt_keys": ["7"]}),
        ("drop.create", "genesis 2025", "no. 7 of 3", {"capacity": 3}),
        ("user.show", ADA, "asked by telephone", {}),
    ]
    await connection.executemany(
        "INSERT INTO audit_log (actor, action, subject, reason, details) VALUES ('operator', $1, $2, $3, $4)",
        [(action, subject, reason, json.dumps(details)) for action, subject, reason, details in written],
    )


async def let_wallet_forget(connection: asyncpg.Connection, database_url: str) -> None:
    """Do what wallet does within a day."""
    settings = PostgresSettings(database_url=database_url)
    async with Database.open(settings, "test") as database:
        await EventFollower(database).follow()
        await PushOutbox(database, None, attempt_limit=1).send_due()
        await Housekeeping(database).once()
        await connection.execute("UPDATE pass_registrations SET forget_after = now() - interval '1 second'")
        await Housekeeping(database).once()


async def test_encounters_of_an_erased_member_stay_and_lead_to_no_device(
    make_mint: MintMaker, database_url: str
) -> None:
    mint = await make_mint(capacity=3)
    ada, _ = await mint.mint("ada's receipt", ADA, device=DEVICE)
    ben, _ = await mint.mint("ben's receipt", "ben")
    connection = await asyncpg.connect(database_url)
    await live_a_life(connection, uuid.UUID(ada.id), uuid.UUID(ben.id))
    async with connection.transaction():
        await erase_user(connection, ADA, Actor("operator", "asked by post"))
    met = await connection.fetch("SELECT signing_key, jti FROM encounters WHERE initiator_id = $1", uuid.UUID(ada.id))
    assert len({row["signing_key"] for row in met}) == len({row["jti"] for row in met}) == 3
    assert all(len(row["signing_key"]) == 43 for row in met)
    ben_met = await connection.fetch("SELECT jti FROM encounters WHERE initiator_id = $1", uuid.UUID(ben.id))
    assert [row["jti"] for row in ben_met] == ["jti-of-ben"]
    await connection.close()


async def test_an_erasure_keeps_audit_details_that_name_nobody(make_mint: MintMaker, database_url: str) -> None:
    """If a user's id is a number or a common word, no other row and no other id changes."""
    mint = await make_mint(capacity=3)
    seven, _ = await mint.mint("a receipt", "7", device=DEVICE)
    ben, _ = await mint.mint("ben's receipt", "ben")
    connection = await asyncpg.connect(database_url)
    await live_a_life(connection, uuid.UUID(seven.id), uuid.UUID(ben.id))
    rows = "SELECT subject, reason, details FROM audit_log WHERE action <> 'user.erase' ORDER BY id"
    before = await connection.fetch(rows)
    async with connection.transaction():
        await erase_user(connection, "7", Actor("operator", "request 45 of 7"))
    after = (await connection.fetch(rows))[: len(before)]
    assert [row["subject"] for row in after] == [row["subject"] for row in before]
    by_reason = {row["reason"]: json.loads(row["details"]) for row in after}
    assert by_reason["no. 7 of 3"] == {"capacity": 3}
    assert by_reason["for ada@example.org, paid back to ben"] == {"receipt_keys": ["7"]}
    assert by_reason["case 12, ada-7f3 (ADA@example.org) asked"] == {"number": 7}
    assert by_reason["confirmed by the link"] == {"new_key": "erased", "before": [{"k": "erased"}]}
    erased = await connection.fetchrow("SELECT * FROM audit_log WHERE action = 'user.erase'")
    assert erased["reason"] == "request 45 of erased"
    assert json.loads(erased["details"])["memberships"] == [seven.id]
    await connection.close()


async def test_no_service_may_redact_the_audit_log(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    for service in NAMES:
        may = "SELECT has_function_privilege($1, 'redact_audit_log(text[], text[])', 'EXECUTE')"
        assert not await connection.fetchval(may, f"vyris_{service}")
    await connection.execute(
        "INSERT INTO audit_log (actor, action, subject, reason) VALUES ('operator', 'x', 'm', 'for ada@example.org')"
    )
    assert await connection.fetchval("SELECT redact_audit_log('{m}', '{ada@example.org}')") == 1
    assert await connection.fetchval("SELECT reason FROM audit_log") == "for erased"
    assert await connection.fetchval("SELECT redact_audit_log('{m}', '{}')") == 0
    await connection.close()


async def test_a_revocation_with_the_reason_erased_is_not_an_erasure(make_mint: MintMaker, database_url: str) -> None:
    mint = await make_mint(capacity=1)
    membership, _ = await mint.mint("ada's receipt", ADA)
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        identity = uuid.UUID(membership.id)
        assert await revoke(connection, identity, reason="erased", actor="operator", frees_number=False)
        assert await restore(connection, identity, reason="a mistake", actor="operator")
        await erase_user(connection, ADA, Actor("operator", "asked by post"))
        await connection.execute("UPDATE memberships SET revoked_reason = 'something else'")
        assert not await restore(connection, identity, reason="a mistake", actor="operator")
    await connection.close()


async def test_an_erasure_waits_for_a_move_in_flight(make_mint: MintMaker, database_url: str) -> None:
    """Reforge holds its lock on the membership while it writes; the erasure also removes those rows."""
    mint = await make_mint(capacity=1)
    membership, _ = await mint.mint("ada's receipt", ADA)
    identity = uuid.UUID(membership.id)
    connection, reforge = await asyncpg.connect(database_url), await asyncpg.connect(database_url)

    async def erase() -> None:
        async with connection.transaction():
            await erase_user(connection, ADA, Actor("operator", "asked by post"))

    async with reforge.transaction():
        await lock_membership(reforge, identity)
        erasing = asyncio.create_task(erase())
        await asyncio.sleep(0.2)
        assert not erasing.done()
        await reforge.execute("INSERT INTO contacts (membership_id, email) VALUES ($1, 'ada@example.org')", identity)
    await erasing
    assert "ada@example.org" not in await dump_database(connection)
    await connection.close()
    await reforge.close()


async def test_an_erasure_waits_for_an_encounter_in_flight(make_mint: MintMaker, database_url: str) -> None:
    mint = await make_mint(capacity=2)
    ada, _ = await mint.mint("ada's receipt", ADA, device=DEVICE)
    ben, _ = await mint.mint("ben's receipt", "ben")
    connection, encounter = await asyncpg.connect(database_url), await asyncpg.connect(database_url)

    async def erase() -> None:
        async with connection.transaction():
            await erase_user(connection, ADA, Actor("operator", "asked by post"))

    async with encounter.transaction():
        await live_a_life(encounter, uuid.UUID(ada.id), uuid.UUID(ben.id))
        erasing = asyncio.create_task(erase())
        await asyncio.sleep(0.2)
        assert not erasing.done()
    await erasing
    assert await connection.fetchval("SELECT count(*) FROM encounters WHERE signing_key = $1", THUMBPRINT) == 0
    await connection.close()
    await encounter.close()


async def test_a_reversed_refund_does_not_restore_an_erased_membership(make_mint: MintMaker, database_url: str) -> None:
    mint = await make_mint(capacity=1)
    membership, _ = await mint_of(mint, "ada's order", ADA)
    assert await apply(mint, notice("REFUND", "ada's order", 1)) == ["REVOKED"]
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await erase_user(connection, ADA, Actor("operator", "asked by post"))
    assert await apply(mint, notice("REFUND_REVERSED", "ada's order", 2)) == ["NOT_RESTORED"]
    revoked = "SELECT revoked_at IS NOT NULL FROM memberships WHERE id = $1"
    assert await connection.fetchval(revoked, uuid.UUID(membership.id))
    await connection.close()
