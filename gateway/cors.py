"""Cross-origin requests (the Fetch standard, section 3.2): which pages may call the JSON door, and read its answers.

Envoy's own CORS filter works for routes to a cluster alone. It leaves out pages, refusals and the gateway's own errors,
and a page that cannot read an answer sees a network error. So the headers are set where every answer passes: in the
outermost filter, and in the local replies, which also answer what Envoy refuses before any filter sees it.
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
"""What a page may send, besides what every page may."""

ANSWER_HEADERS: Final = ("content-disposition", "etag", "last-modified", "retry-after", "x-request-id")
"""What a page may read, besides what every page may."""

MAX_AGE_S: Final = 600
"""How long a browser remembers the answer to a preflight."""


# The services say of no answer that it varies by anything else.
_VARY: Final = "%CEL('vary' in response.headers && response.headers['vary'] == 'Accept' ? 'Accept, origin' : 'origin')%"


def _where_listed(settings: GatewaySettings, value: str) -> str:
    """Envoy's format for `value`, a CEL expression, where the caller's origin is listed; else empty: no header."""
    origins = ", ".join(f"'{origin}'" for origin in settings.gateway_cors_origins)
    return f"%CEL('origin' in request.headers && request.headers['origin'] in [{origins}] ? {value} : '')%"


def answer_headers(settings: GatewaySettings) -> list[Any]:
    """Headers of every answer; none where no origin is listed."""
    if not settings.gateway_cors_origins:
        return []
    return [
        replaced_header("access-control-allow-origin", _where_listed(settings, "request.headers['origin']")),
        replaced_header("access-control-expose-headers", _where_listed(settings, f"'{', '.join(ANSWER_HEADERS)}'")),
        # Also where the origin is not listed, or a cache would hand that answer to a page that may read it.
        replaced_header("vary", _VARY),
    ]


def preflight_routes(
    settings: GatewaySettings, routes: Iterable[HttpRoute], typed_per_filter_config: dict[str, Any]
) -> list[Any]:
    """Answers to a browser's question whether a listed page may call; other origins get NOT_FOUND."""
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
