"""OpenTelemetry traces: off unless a collector is named, and then next to free when a request is not sampled.

A call is a span whose parent is the gateway's (W3C `traceparent`); a batch is a trace of its own that links the calls
it works for; what is asked of Postgres and Redis are spans inside either. Names are constants: no span says what a
request held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

LINKS_LIMIT: Final = 128
_NOTHING: Final = nullcontext()
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class _State:
    tracer: trace.Tracer | None = None


def switch_on(endpoint: str, process: str) -> Callable[[], None]:
    """Send spans to `endpoint` (`http://host:4317` or `host:4317`, OTLP over gRPC); call the answer at the end.

    It sends what still waits. Nothing happens for an empty endpoint. The SDK is imported only here: it is not needed
    otherwise.
    """
    if not endpoint:
        return lambda: None
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint=endpoint.removeprefix("http://").rstrip("/"), insecure=True, timeout=5)
    provider = TracerProvider(resource=Resource.create({"service.name": f"vyris-{process}"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _State.tracer = provider.get_tracer("vyris")

    def end() -> None:
        _State.tracer = None
        provider.shutdown()

    return end


def is_on() -> bool:
    """Whether spans go anywhere."""
    return _State.tracer is not None


def call_span(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> AbstractContextManager[trace.Span | None]:
    """The span of one RPC, `method` being `/package.Service/Method`; a child of what its metadata names."""
    if _State.tracer is None:
        return _NOTHING
    carrier = {key: value for key, value in metadata if key in {"traceparent", "tracestate"} and isinstance(value, str)}
    parent = _PROPAGATOR.extract(carrier, contexts.Context())
    service, _, name = method.strip("/").partition("/")
    return _State.tracer.start_as_current_span(
        method,
        parent,
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        # An exception's text may hold what a request held.
        record_exception=False,
        set_status_on_exception=False,
    )


def current() -> trace.SpanContext | None:
    """What a batch links: the context of the span that is open right now, if it is sampled."""
    if _State.tracer is None:
        return None
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid and context.trace_flags.sampled else None


def exemplar() -> dict[str, str] | None:
    """What a measurement keeps to find this trace again; None where nothing is traced."""
    context = current()
    return None if context is None else {"trace_id": trace.format_trace_id(context.trace_id)}


def batch_span(name: str, calls: Sequence[trace.SpanContext]) -> AbstractContextManager[trace.Span | None]:
    """A trace of its own for work on many calls, which it links; none where no call is sampled."""
    if _State.tracer is None or not calls:
        return _NOTHING
    return _State.tracer.start_as_current_span(
        name,
        contexts.Context(),
        links=[trace.Link(context) for context in calls[:LINKS_LIMIT]],
        attributes={"vyris.batch.linked_calls": len(calls)},
        record_exception=False,
    )


def step_span(name: str, system: str, asked: str = "") -> AbstractContextManager[trace.Span | None]:
    """One question to a database (`postgresql`, `redis`) inside a call or batch; none outside of both.

    `asked` is the name of the statement, where it has one.
    """
    if _State.tracer is None or not trace.get_current_span().get_span_context().is_valid:
        return _NOTHING
    return _State.tracer.start_as_current_span(
        name,
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": system, **({"db.query.summary": asked} if asked else {})},
        record_exception=False,
    )
