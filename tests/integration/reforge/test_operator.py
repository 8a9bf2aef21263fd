"""Reforge makes an operator's change: the owner's link to stop it works, and the mail says who asked."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from services.reforge.mail_messages import MailWriter
from services.reforge.operator_servicer import OperatorServicer
from services.reforge.outbox import Mail, MailKind
from services.reforge.settings import sender_of
from services.reforge.tokens import TokenKey
from stack.local import Stack
from tests.forked import wait_until_it_serves
from tests.fresh_database import fresh_database
from tests.integration.cli.operator_login import Done, vyris
from tests.ports import free_port
from tests.stand_ins.authority import Authority
from tests.stand_ins.reforge_service import Device, Process, World, text_of, token_in
from vyris.errors import Expired, InvalidRequest, NotFound, Unauthorized, VyrisError
from vyris.reforge.v1 import operator_pb2, operator_pb2_grpc, reforge_pb2

REASON = "case 45, confirmed by B"


def set_email(world: World, member: str, address: str, **environment: str) -> Done:
    """As in the runbook: the operator has no key of reforge."""
    given = {"REFORGE_ADDRESS": f"127.0.0.1:{world.process.port}", "LOGNAME": "ada", **environment}
    [done] = vyris([("membership", "set-email", member, address, "--reason", REASON)], given)
    return done


async def change_email(world: World, **fields: str) -> operator_pb2.ChangeOwnerEmailResponse:
    request = {"actor": "ada", "reason": REASON, **fields}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.process.port}") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        try:
            return await stub.ChangeOwnerEmail(operator_pb2.ChangeOwnerEmailRequest(**request), timeout=20)
        except grpc.aio.AioRpcError as error:
            from vyris.error_wire import from_rpc_error

            refusal = from_rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
            assert refusal is not None
            raise refusal from None


async def test_the_owners_link_stops_what_the_operator_asked(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    done = await asyncio.to_thread(set_email, reforge, member, " Other\uff20MAIL.example")
    assert done.status == 0, done
    assert "takes effect at" in done.output
    mail = await reforge.mail_with(member, "refuse")
    request = reforge_pb2.RefuseReforgeRequest(token=token_in(mail, "refuse"))
    assert (await reforge.call("RefuseReforge", request)).status == "REFUSED"
    change = await reforge.database.fetchrow(
        "SELECT new_email, asked_by, refused_at IS NOT NULL AS refused, applied_at FROM email_changes"
        " WHERE membership_id = $1",
        uuid.UUID(member),
    )
    assert tuple(change) == ("Other@mail.example", "operator:ada", True, None)
    with pytest.raises(Expired):
        await reforge.call("RefuseReforge", request)


async def test_the_audit_log_holds_who_why_and_the_delay_that_applied(reforge: World) -> None:
    member, without = await reforge.member(), await reforge.member(email_address=None)
    scheduled = await change_email(reforge, membership_id=member, email="new@mail.example")
    applied = await change_email(reforge, membership_id=without, email="first@mail.example")
    assert (scheduled.status, applied.status) == ("SCHEDULED", "APPLIED")
    for name, hours, change in ((member, 72, scheduled), (without, 0, applied)):
        row = await reforge.database.fetchrow(
            "SELECT actor, reason, details FROM audit_log WHERE subject = $1 AND action = 'email.change_asked'", name
        )
        details = json.loads(row["details"])
        assert (row["actor"], row["reason"], details["delay_h"]) == ("ada", REASON, hours)
        assert details["effective_at"] == change.effective_at


async def test_the_mail_says_that_support_asked(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    await change_email(reforge, membership_id=member, email="new@mail.example")
    text = " ".join(text_of(await reforge.mail_with(member, "refuse")).split())
    assert "Our support asked on" in text
    assert "by the device" not in text


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"by_device": False, "applied": True}, "by our support"),
        ({"by_device": True, "applied": True, "undo_until": "5 May 2026"}, "as the device that holds it had asked"),
        ({"by_device": False, "applied": False}, "Our support asked"),
        ({"by_device": True, "applied": False}, "The device that holds your membership asked"),
        ({"applied": False}, "Somebody asked"),  # written by the version before
        ({"applied": True}, "was changed on 2 May 2026"),
    ],
)
def test_a_mail_about_an_address_says_truthfully_who_asked(facts: dict[str, object], sentence: str) -> None:
    from datetime import UTC, datetime

    whole = {
        "membership": "Genesis 2025 · № 7",
        "asked_at": "1 May 2026",
        "effective_at": "2 May 2026",
        **facts,
    }
    mail = Mail(uuid.uuid4(), MailKind.EMAIL_CHANGE, uuid.uuid4(), "a@b.example", whole, datetime.now(UTC), 1, False)
    writer = MailWriter(TokenKey(b"k" * 32), base_url="https://club.example", sender=sender_of("a@club.example"))
    message = writer.write(mail)
    for part in ("plain", "html"):
        body = message.get_body((part,))
        assert body is not None
        text = " ".join(str(body.get_content()).split())
        assert sentence in text
        assert ("the device" in text) == (facts.get("by_device") is True)


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"membership_id": "no-uuid"}, NotFound),
        ({"membership_id": str(uuid.UUID(int=1))}, NotFound),
        ({"email": "nonsense"}, InvalidRequest),
        ({"actor": ""}, InvalidRequest),
        ({"actor": "x" * 65}, InvalidRequest),
        ({"actor": "a\nb"}, InvalidRequest),
        ({"reason": "  "}, InvalidRequest),
        ({"reason": "x" * 501}, InvalidRequest),
        ({"reason": "a\x00b"}, InvalidRequest),
    ],
)
async def test_bad_input_is_refused(reforge: World, fields: dict[str, str], refusal: type[VyrisError]) -> None:
    given = {"membership_id": await reforge.member(), "email": "new@mail.example", **fields}
    with pytest.raises(refusal):
        await change_email(reforge, **given)


async def test_an_operator_who_is_called_device_is_no_device(reforge: World) -> None:
    member = await reforge.member()
    await change_email(reforge, membership_id=member, email="new@mail.example", actor="device")
    asked_by = "SELECT asked_by FROM email_changes WHERE membership_id = $1"
    assert await reforge.database.fetchval(asked_by, uuid.UUID(member)) == "operator:device"


async def test_where_callers_prove_nothing_production_serves_no_operator() -> None:
    closed = OperatorServicer(None, None, delay_h=72, operators=frozenset())  # type: ignore[arg-type]
    request = operator_pb2.ChangeOwnerEmailRequest(membership_id=str(uuid.uuid4()), email="a@b.example")
    stranger: Any = SimpleNamespace(certificate_names=lambda: frozenset({"gateway"}))
    with pytest.raises(Unauthorized, match="mutual TLS"):
        await closed.change_owner_email(request, stranger)


async def test_the_command_proves_itself_over_mutual_tls(database_template: Stack, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("reforge", "reforge")
    own_cert, own_key = authority.issue("operator", "operator")
    other_cert, other_key = authority.issue("gateway", "gateway")
    async with fresh_database(database_template.database_url) as url:
        tls = {
            "SERVER_TLS_CERT_FILE": str(cert),
            "SERVER_TLS_KEY_FILE": str(key),
            "SERVER_TLS_CLIENT_CA_FILE": str(authority.ca_file),
            "REFORGE_OPERATOR_NAMES": "operator",
        }
        health_port = free_port()
        process = Process(url, 1, tmp_path, HEALTH_PORT=str(health_port), **tls)
        try:
            await asyncio.to_thread(wait_until_it_serves, "vyris.reforge.v1.ReforgeService", health_port)
            command = ("membership", "set-email", str(uuid.uuid4()), "a@b.example", "--reason", "x")
            address = {"REFORGE_ADDRESS": f"127.0.0.1:{process.port}"}
            proof = {
                "OPERATOR_TLS_CA_FILE": str(authority.ca_file),
                "OPERATOR_TLS_CERT_FILE": str(own_cert),
                "OPERATOR_TLS_KEY_FILE": str(own_key),
            }
            [proven] = await asyncio.to_thread(vyris, [command], {**address, **proof})
            others = {"OPERATOR_TLS_CERT_FILE": str(other_cert), "OPERATOR_TLS_KEY_FILE": str(other_key)}
            [another] = await asyncio.to_thread(vyris, [command], {**address, **proof, **others})
            [plain] = await asyncio.to_thread(vyris, [command], address)
        finally:
            process.stop()
    assert "no such membership" in proven.output
    assert "REFORGE_OPERATOR_NAMES" in another.output
    assert "gave no answer" in plain.output
    assert (proven.status, another.status, plain.status) == (1, 1, 1)
