"""An erased person is nowhere; what the drop and the till need is still there."""

from __future__ import annotations

import json
import uuid

import asyncpg
import pytest

from cli.erasure import erase_user
from services.mint.ledger import EnrolledDevice
from tests.integration.mint.receipts.notices import mint_of, notice, told
from tests.stand_ins.mint_engine import MintMaker
from vyris.errors import InvalidReceipt, ReceiptUsed

ADA = "ada-7f3"
SECRETS = (ADA, "ada@example.org", "ada-phone", "push-token-of-ada", "203.0.113.7")


async def everything(connection: asyncpg.Connection) -> str:
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
    device = EnrolledDevice("ada-phone", json.dumps({"kty": "EC"}), "t" * 43)
    membership, _ = await mint.mint("ada's receipt", ADA, email="ada@example.org", device=device)
    other, _ = await mint.mint("ben's receipt", "ben", email="ben@example.org")
    connection = await asyncpg.connect(database_url)
    serial = uuid.UUID(membership.pass_serial)
    await connection.execute(
        "INSERT INTO passes (serial, membership_id, generation, public_id) VALUES ($1, $2, 0, repeat('p', 22))",
        serial,
        uuid.UUID(membership.id),
    )
    await connection.execute(
        "INSERT INTO pass_registrations (device_library_id, serial, push_token) VALUES ('ada-phone', $1, $2)",
        serial,
        "push-token-of-ada",
    )
    await connection.execute("INSERT INTO pass_pushes (push_token) VALUES ('push-token-of-ada')")
    request = uuid.uuid4()
    await connection.execute(
        "INSERT INTO reforge_requests (id, membership_id, proven, new_device_id, new_public_key, new_thumbprint, email,"
        " asked_from, token_digest, undo_digest, code_required, expires_at) VALUES ($1, $2, false, 'ada-phone', '{}',"
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
    before = await everything(connection)
    assert all(secret in before for secret in SECRETS)

    async with connection.transaction():
        erased = await erase_user(connection, ADA, reason="asked by post", actor="operator")
    assert (erased.memberships, erased.receipts) == (1, 1)
    after = await everything(connection)
    assert not [secret for secret in SECRETS if secret in after]
    assert "ben@example.org" in after
    assert await connection.fetchval("SELECT count(*) FROM audit_log WHERE action = 'user.erase'") == 1
    assert await connection.fetchval("SELECT count(*) FROM membership_events WHERE kind = 'revoked'") == 1

    # The number is not sold again, the receipt is known for ever, and Ben keeps his membership.
    assert await mint.slots() == 1
    for user in (ADA, "eve"):
        with pytest.raises((ReceiptUsed, InvalidReceipt)):
            await mint.mint("ada's receipt", user)
    assert (await mint.mint("ben's receipt", "ben"))[0].id == other.id
    async with connection.transaction():
        assert (await erase_user(connection, ADA, reason="again", actor="operator")).memberships == 0
    await connection.close()


async def test_a_refund_that_is_taken_back_brings_no_erased_membership_to_life(
    make_mint: MintMaker, database_url: str
) -> None:
    mint = await make_mint(capacity=1)
    membership, _ = await mint_of(mint, "ada's order", ADA)
    assert await told(mint, notice("REFUND", "ada's order", 1)) == ["REVOKED"]
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await erase_user(connection, ADA, reason="asked by post", actor="operator")
    assert await told(mint, notice("REFUND_REVERSED", "ada's order", 2)) == ["NOT_RESTORED"]
    revoked = "SELECT revoked_at IS NOT NULL FROM memberships WHERE id = $1"
    assert await connection.fetchval(revoked, uuid.UUID(membership.id))
    await connection.close()
