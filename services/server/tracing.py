"""OpenTelemetry traces: off unless a collector is set. A request that is not sampled costs almost nothing.

A call is a span with the gateway's span as its parent (W3C `traceparent`). A batch is a separate trace that links its
calls. Calls to Postgres and Redis are spans inside of both. Span names are constants and contain no data of a request.
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
    """Send spans to `endpoint` (`http://host:4317` or `host:4317`, OTLP over gRPC). Do nothing if it is empty.

    Return a function to call at the process's end; it sends the remaining spans. The SDK is imported only here, because
    it is not needed without traces.
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
    """Whether traces are switched on."""
    return _State.tracer is not None


def call_span(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> AbstractContextManager[trace.Span | None]:
    """Start the span of one RPC, as a child of the span in its metadata. `method`: `/package.Service/Method`."""
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
        # An exception's text may contain data of a request.
        record_exception=False,
        set_status_on_exception=False,
    )


def current() -> trace.SpanContext | None:
    """The context of the open span, for a batch to link; None if it is not sampled."""
    if _State.tracer is None:
        return None
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid and context.trace_flags.sampled else None


def exemplar() -> dict[str, str] | None:
    """The labels that link a measurement to the current trace; None if there is none."""
    context = current()
    return None if context is None else {"trace_id": trace.format_trace_id(context.trace_id)}


def batch_span(name: str, calls: Sequence[trace.SpanContext]) -> AbstractContextManager[trace.Span | None]:
    """Start a separate trace for work on many calls, with links to them; no trace if no call is sampled."""
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
    """Start the span of one request to a database, inside a call or batch; no span outside of both.

    `system`: `postgresql` or `redis`. `asked`: the name of the statement, or empty.
    """
    if _State.tracer is None or not trace.get_current_span().get_span_context().is_valid:
        return _NOTHING
    return _State.tracer.start_as_current_span(
        name,
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": system, **({"db.query.summary": asked} if asked else {})},
        record_exception=False,
    )
