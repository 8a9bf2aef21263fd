"""Cross-origin requests (the Fetch standard, section 3.2): which pages may call the JSON door, and read its answers.

Envoy's own CORS filter works only for routes to a cluster. It omits pages, refusals and the gateway's own errors, and a
page that cannot read an answer sees a network error. So we set the headers in the outermost filter, which every answer
passes, and in the local replies, which also answer requests that Envoy refuses before the filters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, HeaderMatcher, Route, RouteMatch
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from gateway.messages import replaced_header
from gateway.routes import HttpRoute
from gateway.settings import GatewaySettings

REQUEST_HEADERS: Final = (
    "authorization",
    "content-type",
    "dpop",
    "if-modified-since",
    "if-none-match",
    "traceparent",
    "tracestate",
    "x-request-id",
)
"""Request headers that a page may send, besides those that every page may send."""

ANSWER_HEADERS: Final = ("content-disposition", "etag", "last-modified", "retry-after", "x-request-id")
"""Response headers that a page may read, besides those that every page may read."""

MAX_AGE_S: Final = 600
"""How long a browser caches the answer to a preflight."""


def _where_listed(settings: GatewaySettings, value: str) -> str:
    """Envoy's format for `value`, a CEL expression, if the caller's origin is listed; otherwise empty, so no header."""
    origins = ", ".join(f"'{origin}'" for origin in settings.gateway_cors_origins)
    return f"%CEL('origin' in request.headers && request.headers['origin'] in [{origins}] ? {value} : '')%"


def answer_headers(settings: GatewaySettings) -> list[Any]:
    """Headers of every answer; none if no origin is listed."""
    if not settings.gateway_cors_origins:
        return []
    return [
        replaced_header("access-control-allow-origin", _where_listed(settings, "request.headers['origin']")),
        replaced_header("access-control-expose-headers", _where_listed(settings, f"'{', '.join(ANSWER_HEADERS)}'")),
        # Also if the origin is not listed, or a cache would give that answer to a listed page. `accept` for paths that
        # have a page beside the RPC. The gateway's own errors pass here twice, so headers are replaced, never appended.
        replaced_header("vary", "accept, origin"),
    ]


def preflight_routes(
    settings: GatewaySettings, routes: Iterable[HttpRoute], typed_per_filter_config: dict[str, Any]
) -> list[Any]:
    """Routes that answer preflights of listed origins; other origins get NOT_FOUND."""
    if not settings.gateway_cors_origins:
        return []
    methods = sorted({route.http_method for route in routes})
    origins = "|".join(map(re.escape, settings.gateway_cors_origins))
    headers = [
        HeaderMatcher(name=":method", string_match=StringMatcher(exact="OPTIONS")),
        HeaderMatcher(name="origin", string_match=StringMatcher(safe_regex=RegexMatcher(regex=origins))),
        HeaderMatcher(name="access-control-request-method", present_match=True),
    ]
    return [
        Route(
            name="preflight",
            match=RouteMatch(prefix="/", headers=headers),
            direct_response=DirectResponseAction(status=200),
            typed_per_filter_config=typed_per_filter_config,
            response_headers_to_add=[
                replaced_header("access-control-allow-methods", ", ".join(methods)),
                replaced_header("access-control-allow-headers", ", ".join(REQUEST_HEADERS)),
                replaced_header("access-control-max-age", str(MAX_AGE_S)),
            ],
        )
    ]
