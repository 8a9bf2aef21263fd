"""A collector that keeps OpenTelemetry spans in memory, to look at a trace without a back end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Kept:
    """A span, and the process that it came from."""

    process: str
    span: Span

    @property
    def trace_id(self) -> str:
        """In hexadecimal, as in logs."""
        return self.span.trace_id.hex()

    def attribute(self, key: str) -> str:
        """The text of an attribute; empty if there is none."""
        return next((tag.value.string_value for tag in self.span.attributes if tag.key == key), "")


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []

    def Export(  # noqa: N802 - the service's own form
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Keep the spans that a process sends."""
        for resource in request.resource_spans:
            names = [tag.value.string_value for tag in resource.resource.attributes if tag.key == "service.name"]
            for scope in resource.scope_spans:
                self.kept += [Kept(names[0] if names else "?", span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector and its address, on the loopback interface."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(0)
