"""The answers that a caller gets."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import grpc
import pytest

from services.server.grpc_server.rpc import NO_MESSAGE, UNEXPECTED, Rpc
from services.server.grpc_server.server import UNKNOWN_METHOD
from tests.unit.server.grpc_server.raw_caller import framed, raw_caller
from tests.unit.server.grpc_server.served import SERVICE, Method, echo, served, unary

pytestmark = pytest.mark.usefixtures("grpc_server")

GONE = (grpc.StatusCode.NOT_FOUND, "gone: ünknown", (("reason", "sold"), ("proof-bin", b"\xff\x00")))


async def abort(request: bytes, rpc: Rpc) -> bytes:
    await rpc.abort(*GONE)


async def fail(request: bytes, rpc: Rpc) -> bytes:
    raise RuntimeError("a secret of the house")


async def test_a_message_is_answered_with_a_message() -> None:
    async with served(Echo=unary(echo)) as running:
        call = running.call("Echo", b"hello")
        assert await call == b"hello"
        assert await call.code() == grpc.StatusCode.OK
        assert tuple(await call.initial_metadata()) == ()
        assert tuple(await call.trailing_metadata()) == ()


async def test_an_empty_message_is_a_message() -> None:
    async with served(Echo=unary(echo)) as running:
        assert await running.call("Echo", b"") == b""


async def test_a_long_message_comes_back_whole() -> None:
    async with served(Echo=unary(echo)) as running:
        message = bytes(range(256)) * 10_000
        assert await running.call("Echo", message) == message


async def test_an_abort_tells_code_details_and_trailing_metadata() -> None:
    async with served(Abort=unary(abort)) as running:
        error = await running.refused("Abort")
        assert (error.code(), error.details(), tuple(error.trailing_metadata())) == GONE


async def test_an_abort_is_one_frame_of_headers_where_none_were_sent() -> None:
    async with served(Abort=unary(abort)) as running, raw_caller(running.port) as caller:
        answer = await caller.answer(await caller.ask(f"/{SERVICE}/Abort", framed(b"")))
        assert len(answer.headers) == 1
        assert answer.header(b"grpc-status") == b"5"
        assert answer.header(b"reason") == b"sold"


async def test_an_abort_after_initial_metadata_tells_both() -> None:
    async def method(request: bytes, rpc: Rpc) -> bytes:
        await rpc.send_initial_metadata((("early", "bird"),))
        await rpc.abort(*GONE)

    async with served(Late=unary(method)) as running:
        error = await running.refused("Late")
        assert tuple(error.initial_metadata()) == (("early", "bird"),)
        assert (error.code(), error.details(), tuple(error.trailing_metadata())) == GONE


async def test_a_method_may_end_with_a_status_without_raising() -> None:
    async def method(request: bytes, rpc: Rpc) -> None:
        rpc.end_with(*GONE)

    async with served(End=unary(method)) as running:
        error = await running.refused("End")
        assert (error.code(), error.details(), tuple(error.trailing_metadata())) == GONE


async def test_an_abort_is_final_though_the_method_goes_on() -> None:
    async def method(request: bytes, rpc: Rpc) -> bytes:
        try:
            await rpc.abort(*GONE)
        except Exception:
            return request

    async with served(Abort=unary(method)) as running:
        assert (await running.refused("Abort", b"x")).code() == grpc.StatusCode.NOT_FOUND


async def test_the_code_is_known_once_the_method_has_aborted() -> None:
    codes: list[grpc.StatusCode | None] = []

    async def method(request: bytes, rpc: Rpc) -> bytes:
        codes.append(rpc.code())
        try:
            await rpc.abort(grpc.StatusCode.NOT_FOUND)
        finally:
            codes.append(rpc.code())

    async with served(Abort=unary(method)) as running:
        await running.refused("Abort")
    assert codes == [None, grpc.StatusCode.NOT_FOUND]


async def test_initial_metadata_comes_before_the_answer() -> None:
    answer = asyncio.Event()

    async def method(request: bytes, rpc: Rpc) -> bytes:
        await rpc.send_initial_metadata((("early", "bird"), ("worm-bin", b"\x00\xff")))
        await answer.wait()
        return request

    async with served(Early=unary(method)) as running:
        call = running.listen("Early", b"x")  # a call for one answer would tell all at its end
        assert tuple(await call.initial_metadata()) == (("early", "bird"), ("worm-bin", b"\x00\xff"))
        answer.set()
        assert await call.read() == b"x"


async def test_initial_metadata_is_not_sent_twice() -> None:
    async def method(request: bytes, rpc: Rpc) -> bytes:
        await rpc.send_initial_metadata((("first", "1"),))
        with pytest.raises(grpc.aio.UsageError):
            await rpc.send_initial_metadata((("second", "2"),))
        return request

    async with served(Twice=unary(method)) as running:
        call = running.call("Twice", b"x")
        assert await call == b"x"
        assert tuple(await call.initial_metadata()) == (("first", "1"),)


async def test_a_method_sees_the_callers_metadata_and_its_bytes() -> None:
    seen: dict[str, str | bytes] = {}

    async def method(request: bytes, rpc: Rpc) -> bytes:
        seen.update(rpc.invocation_metadata())
        return b""

    async with served(Look=unary(method)) as running:
        await running.call("Look", metadata=(("who", "me"), ("raw-bin", b"\x00\xfe\xff")))
    assert seen["who"] == "me"
    assert seen["raw-bin"] == b"\x00\xfe\xff"


async def time_told(**how: Any) -> float:
    told: list[float] = []

    async def method(request: bytes, rpc: Rpc) -> bytes:
        told.append(rpc.time_remaining())
        return b""

    async with served(Time=unary(method)) as running:
        await running.call("Time", **how)
    return told[0]


async def test_the_time_that_remains_is_the_callers() -> None:
    assert 5 < await time_told(timeout=7) <= 7.1  # gRPC rounds up what it tells the server


async def test_without_a_deadline_time_is_without_end() -> None:
    assert await time_told(timeout=None) == math.inf


async def test_a_method_that_nobody_serves_is_unimplemented() -> None:
    async with served(Echo=unary(echo)) as running:
        error = await running.refused("Other")
        assert (error.code(), error.details()) == (grpc.StatusCode.UNIMPLEMENTED, UNKNOWN_METHOD)
        assert await running.call("Echo", b"still") == b"still"


async def test_an_unexpected_failure_keeps_its_words_to_itself() -> None:
    async with served(Fail=unary(fail), Echo=unary(echo)) as running:
        error = await running.refused("Fail")
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, UNEXPECTED)
        assert "secret" not in error.debug_error_string()
        assert await running.call("Echo", b"still") == b"still"


def breaks(message: object) -> bytes:
    raise ValueError("a secret of the house")


def no_bytes(message: object) -> str:
    return "text"


@pytest.mark.parametrize("how", [{"read": breaks}, {"written": breaks}, {"written": no_bytes}])
async def test_a_message_that_cannot_be_read_or_written_is_an_unexpected_failure(how: dict[str, Any]) -> None:
    async with served(Broken=unary(echo, **how), Echo=unary(echo)) as running:
        error = await running.refused("Broken", timeout=5)
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, UNEXPECTED)
        assert await running.call("Echo", b"still") == b"still"


async def abort_with_a_number(request: bytes, rpc: Rpc) -> bytes:
    await rpc.abort(grpc.StatusCode.NOT_FOUND, "", (("key", 3),))  # type: ignore[arg-type]


async def abort_with_half_a_letter(request: bytes, rpc: Rpc) -> bytes:
    await rpc.abort(grpc.StatusCode.NOT_FOUND, "\udc80")


async def begin_with_a_number(request: bytes, rpc: Rpc) -> bytes:
    await rpc.send_initial_metadata((("key", 3),))  # type: ignore[arg-type]
    return request


async def begin_with_a_capital(request: bytes, rpc: Rpc) -> bytes:
    await rpc.send_initial_metadata((("KEY", "x"),))
    return request


async def abort_with_a_capital(request: bytes, rpc: Rpc) -> bytes:
    await rpc.abort(grpc.StatusCode.NOT_FOUND, "", (("KEY", "x"),))


@pytest.mark.parametrize(
    "method",
    [abort_with_a_number, abort_with_half_a_letter, begin_with_a_number, begin_with_a_capital, abort_with_a_capital],
)
async def test_what_cannot_be_sent_does_not_leave_the_caller_waiting(method: Method) -> None:
    async with served(Broken=unary(method)) as running:
        error = await running.refused("Broken", timeout=5)
        assert error.code() in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND}


async def test_a_call_without_a_message_is_an_invalid_argument() -> None:
    async with served(Echo=unary(echo)) as running, raw_caller(running.port) as caller:
        answer = await caller.answer(await caller.ask(f"/{SERVICE}/Echo"))
        assert answer.header(b"grpc-status") == b"3"
        assert answer.header(b"grpc-message") == NO_MESSAGE.encode()


async def test_a_call_with_half_a_message_ends_and_the_server_goes_on() -> None:
    async with served(Echo=unary(echo)) as running:
        async with raw_caller(running.port) as caller:
            answer = await caller.answer(await caller.ask(f"/{SERVICE}/Echo", framed(b"hello")[:-2]))
            assert answer.reset or answer.header(b"grpc-status") not in {None, b"0"}
        assert await running.call("Echo", b"still") == b"still"


async def test_headers_that_are_no_text_reach_the_method() -> None:
    seen: list[str | bytes] = []

    async def method(request: bytes, rpc: Rpc) -> bytes:
        seen.extend(value for key, value in rpc.invocation_metadata() if key == "name")
        return request

    async with served(Look=unary(method)) as running, raw_caller(running.port) as caller:
        stream = await caller.ask(f"/{SERVICE}/Look", framed(b"x"), extra=[(b"name", b"caf\xe9")])
        answer = await caller.answer(stream)
        assert (answer.header(b"grpc-status"), answer.data) == (b"0", framed(b"x"))
    assert seen == ["café"]


async def test_a_message_over_the_limit_is_refused_and_one_at_it_is_served() -> None:
    async with served(options=[("grpc.max_receive_message_length", 1000)], Echo=unary(echo)) as running:
        error = await running.refused("Echo", bytes(1001))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await running.call("Echo", bytes(1000)) == bytes(1000)
