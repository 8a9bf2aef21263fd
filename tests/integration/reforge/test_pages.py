"""The pages' methods over gRPC: what they show, what they do, and their status."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from google.api.httpbody_pb2 import HttpBody

from tests.stand_ins.reforge_service import Device, World, token_in
from vyris.reforge.v1 import reforge_pb2


async def page(world: World, method: str, request: Any) -> tuple[int, str]:
    call = getattr(world.stub, method)(request, timeout=20)
    body = await call
    headers = dict(await call.initial_metadata())
    assert body.content_type == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["content-security-policy"]
    return int(headers["x-http-status"]), body.data.decode()


async def show_page(world: World, method: str, token: str) -> tuple[int, str]:
    return await page(world, method, reforge_pb2.ShowPageRequest(token=token))


async def submit_page(world: World, method: str, **fields: str) -> tuple[int, str]:
    form = HttpBody(content_type="application/x-www-form-urlencoded", data=urlencode(fields).encode())
    return await page(world, method, reforge_pb2.SubmitPageRequest(form=form))


async def test_a_page_that_asks_for_the_code_says_when_it_is_wrong(reforge_with_code: World) -> None:
    world = reforge_with_code
    member = await world.member(Device("A"))
    begun = await world.init(member, Device("B"), old="A")
    token = token_in(await world.mail_with(member, "confirm"))
    status, html = await show_page(world, "ShowConfirmPage", token)
    assert status == 200
    assert 'name="confirmation_code"' in html
    assert begun.confirmation_code not in html
    wrong = "000000" if begun.confirmation_code != "000000" else "000001"
    status, html = await submit_page(world, "SubmitConfirmPage", token=token, confirmation_code=wrong)
    assert status == 401
    assert 'role="alert"' in html
    assert await world.active(member) == ["A"]
    status, html = await submit_page(world, "SubmitConfirmPage", token=token, confirmation_code=begun.confirmation_code)
    assert (status, await world.active(member)) == (200, ["B"])


async def test_any_number_of_gets_changes_nothing(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    begun = await reforge.init(member, Device("B"), old="A")
    token = token_in(await reforge.mail_with(member, "confirm"))
    before = await reforge.database.fetch("SELECT * FROM reforge_requests WHERE id = $1", begun.reforge_id)
    for method in ("ShowConfirmPage", "ShowRefusePage") * 3:
        assert (await show_page(reforge, method, token))[0] == 200
    assert await reforge.database.fetch("SELECT * FROM reforge_requests WHERE id = $1", begun.reforge_id) == before


async def test_superseded_used_and_unknown_links_say_so_kindly(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    await reforge.init(member, Device("B"), old="A")
    first = token_in(await reforge.mail_with(member, "confirm"))
    await reforge.init(member, Device("C"), old="A")
    second = token_in(await reforge.mail_with(member, "confirm", beyond=1))
    status, html = await show_page(reforge, "ShowConfirmPage", first)
    assert status == 410
    assert "A newer request took this link" in html
    assert (await submit_page(reforge, "SubmitConfirmPage", token=second))[0] == 200
    status, html = await show_page(reforge, "ShowConfirmPage", second)
    assert status == 410
    assert "This link was used" in html
    status, html = await show_page(reforge, "ShowConfirmPage", "<script>alert(1)</script>")
    assert status == 404
    assert "<script" not in html
    assert (await show_page(reforge, "ShowUndoPage", ""))[0] == 422


async def test_while_the_database_refuses_the_page_asks_for_patience(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    await reforge.init(member, Device("B"), old="A")
    token = token_in(await reforge.mail_with(member, "confirm"))
    await reforge.database.execute("ALTER TABLE reforge_requests RENAME TO elsewhere")
    try:
        status, html = await show_page(reforge, "ShowConfirmPage", token)
    finally:
        await reforge.database.execute("ALTER TABLE elsewhere RENAME TO reforge_requests")
    assert status == 500
    assert "try the same again" in html
    assert "SQLSTATE" not in html
    assert (await show_page(reforge, "ShowConfirmPage", token))[0] == 200
