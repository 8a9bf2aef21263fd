"""Envoy's route tables: for the JSON listener, the native one, and the statistics."""

from __future__ import annotations

from typing import Any, Final

from envoy.config.core.v3.base_pb2 import DEFAULT, HIGH
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    HeaderMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import BufferPerRoute
from envoy.extensions.filters.http.lua.v3.lua_pb2 import LuaPerRoute
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from gateway import bounds, cors, filters
from gateway.clusters import ADMIN_CLUSTER, native_cluster_name, streams_cluster_name
from gateway.local_replies import NATIVE_ROUTE
from gateway.messages import added_header, number, pack, replaced_header, seconds
from gateway.paths import path_regex
from gateway.routes import HttpRoute, RpcService
from gateway.settings import GatewaySettings
from gateway.static_pages import PAGE_LIMIT_BYTES, StaticPage

HEALTH_SERVICE_HEADER: Final = "x-vyris-health-service"
CALLER_ADDRESS_HEADER: Final = "x-vyris-caller-address"
HEALTH_TIMEOUT_S: Final = 2


def caller_address() -> Any:
    """Send the caller's address to services, the one of the limits and the access log.

    A caller's own header is removed.
    """
    return replaced_header(CALLER_ADDRESS_HEADER, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")


def _header_is(name: str, value: str) -> Any:
    return HeaderMatcher(name=name, string_match=StringMatcher(exact=value))


_HAS_QUERY: Final = HeaderMatcher(name=":path", string_match=StringMatcher(contains="?"))
# Content types that Envoy itself treats as gRPC. All similar ones are read as JSON.
_IS_GRPC: Final = HeaderMatcher(
    name="content-type",
    string_match=StringMatcher(safe_regex=RegexMatcher(regex=r"application/grpc(\+.*)?")),
)


def retry_policy() -> Any:
    """Retry only if the service cannot have begun with the request. Shed requests are never retried here."""
    return RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request",
        num_retries=number(2),
        retry_host_predicate=[
            RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=pack(PreviousHostsPredicate())
            )
        ],
        host_selection_retry_max_attempts=3,
        retry_back_off=RetryPolicy.RetryBackOff(base_interval=seconds(0.025), max_interval=seconds(0.25)),
    )


def _path_match(http_method: str, template: str, *more: Any) -> Any:
    headers = [*more, _header_is(":method", http_method)]
    regex = path_regex(template)
    if regex is None:
        return RouteMatch(path=template, headers=headers)
    return RouteMatch(safe_regex=RegexMatcher(regex=regex), headers=headers)


def _json_route(route: HttpRoute, settings: GatewaySettings, *, with_query: bool = False) -> Any:
    script = filters.answer_script_name(route)
    per_filter = filters.named_script(query_script_name(route) if with_query else script)
    per_filter |= filters.bounded_body()
    timeout_s = HEALTH_TIMEOUT_S if route.is_health else settings.gateway_request_timeout_s
    if route.is_health and settings.gateway_rate_limit_rps is not None:
        per_filter |= filters.switched_off(filters.RATE_LIMIT)
    return Route(
        name=f"{route.http_method} {route.template}",
        match=_path_match(route.http_method, route.template, *([_HAS_QUERY] if with_query else [])),
        route=RouteAction(
            cluster=route.cluster,
            timeout=seconds(timeout_s),
            priority=HIGH if route.is_health else DEFAULT,
        ),
        # A JSON caller has no deadline; the service gets the gateway's, in gRPC's form.
        request_headers_to_add=[replaced_header("grpc-timeout", f"{round(timeout_s * 1000)}m")],
        typed_per_filter_config=per_filter,
    )


def query_script_name(route: HttpRoute) -> str:
    """The name of the script that removes the query parameters that `route` does not take."""
    return "query_" + "_".join(route.query_parameters)


def json_scripts(routes: list[HttpRoute]) -> dict[str, str]:
    """All scripts of the JSON listener's routes."""
    scripts = filters.answer_scripts(routes)
    for route in routes:
        if route.query_parameters and not route.shared:
            answers = scripts[filters.answer_script_name(route)]
            scripts[query_script_name(route)] = answers + filters.query_script(route.query_parameters)
    return scripts


def _refusal(name: str, match: Any, status: int, per_filter: dict[str, Any]) -> Any:
    return Route(
        name=name,
        match=match,
        direct_response=DirectResponseAction(status=status),
        typed_per_filter_config=per_filter,
    )


def _query_guard() -> Any:
    """A route for requests with a query, to remove unlisted parameters."""
    # The script removes the query, and the request is routed again, so this answer is never sent.
    strip = {filters.LUA: pack(LuaPerRoute(source_code={"inline_string": filters.query_script(())}))}
    # The first route decides which filters are on.
    strip |= filters.bounded_body()
    return _refusal("query", RouteMatch(prefix="/", headers=[_HAS_QUERY]), 404, strip)


def _static_route(page: StaticPage) -> Any:
    accepted = [HeaderMatcher(name="accept", string_match=StringMatcher(contains=page.accept))] if page.accept else []
    return Route(
        name=f"GET {page.path}",
        match=_path_match("GET", page.path, *accepted),
        direct_response=DirectResponseAction(status=200, body={"inline_bytes": page.body}),
        response_headers_to_add=[replaced_header(name, value) for name, value in page.headers.items()],
        typed_per_filter_config=filters.switched_off(filters.LUA, filters.TRANSCODER),
    )


def json_routes(settings: GatewaySettings, routes: list[HttpRoute], pages: list[StaticPage]) -> Any:
    """Only exact routes: every other path is NOT_FOUND."""
    answers_itself = filters.switched_off(filters.LUA, filters.TRANSCODER)
    refuse_grpc = _refusal(
        NATIVE_ROUTE,
        RouteMatch(prefix="/", headers=[_IS_GRPC]),
        404,
        filters.switched_off(filters.LUA, filters.TRANSCODER, filters.HEADER_MUTATION),
    )
    table = [refuse_grpc, *cors.preflight_routes(settings, routes, answers_itself)]
    shared, others = [route for route in routes if route.shared], [route for route in routes if not route.shared]
    table += [_json_route(route, settings, with_query=True) for route in others if route.query_parameters]
    table += [_static_route(page) for page in pages if page.accept]
    # Polls are the most frequent of all requests, and routes are tried in their order. They come before the query
    # guard: their script removes unlisted parameters itself, and the guard would route them past the cache.
    table += [_json_route(route, settings) for route in shared]
    table += [_static_route(page) for page in pages if not page.accept]
    table.append(_query_guard())
    table += [_json_route(route, settings) for route in others]
    host = VirtualHost(
        name="json",
        domains=["*"],
        routes=table,
        retry_policy=retry_policy(),
        request_headers_to_add=[caller_address()],
        response_headers_to_remove=["x-envoy-upstream-service-time"],
        response_headers_to_add=[
            added_header("cache-control", "no-store"),
            added_header("x-content-type-options", "nosniff"),
        ],
    )
    if settings.gateway_tls_cert_file is not None:
        host.response_headers_to_add.append(added_header("strict-transport-security", "max-age=31536000"))
    return RouteConfiguration(
        name="json",
        virtual_hosts=[host],
        max_direct_response_body_size_bytes=number(PAGE_LIMIT_BYTES),
    )


def _grpc_route(name: str, match: Any, cluster: str, settings: GatewaySettings, *, stream: bool = False) -> Any:
    if not stream:
        action = RouteAction(cluster=native_cluster_name(cluster), timeout=seconds(settings.gateway_request_timeout_s))
        return Route(name=name, match=match, route=action)
    action = RouteAction(
        cluster=streams_cluster_name(cluster),
        timeout=seconds(0),
        idle_timeout=seconds(settings.gateway_stream_idle_timeout_s),
    )
    return Route(name=name, match=match, route=action, typed_per_filter_config=bounds.counted_stream())


def _grpc_health_routes(settings: GatewaySettings, services: list[RpcService]) -> list[Any]:
    lua_on = filters.switched_on(
        filters.LUA, LuaPerRoute(source_code={"inline_string": filters.lua_file("health_routing")})
    )
    table = []
    for method, stream in (("Check", False), ("Watch", True)):
        path = f"/grpc.health.v1.Health/{method}"
        for service in services:
            match = RouteMatch(path=path, headers=[_header_is(HEALTH_SERVICE_HEADER, service.name)])
            table.append(_grpc_route(f"{service.name} {method}", match, service.cluster, settings, stream=stream))
        # The empty name or an unknown one: mint answers as the protocol requires.
        table.append(_grpc_route(f"health {method}", RouteMatch(path=path), "mint", settings, stream=stream))
    for route in table:
        route.route.priority = HIGH
        for name, config in lua_on.items():
            route.typed_per_filter_config[name].CopyFrom(config)
    return table


def grpc_routes(settings: GatewaySettings, services: list[RpcService]) -> Any:
    """Route by service name to its process; unknown services are UNIMPLEMENTED."""
    table = []
    for service in services:
        for method in service.methods:
            # Each method has its own route, because the access log and traces name a call by it.
            path, stream = f"/{service.name}/{method}", method in service.streams
            table.append(_grpc_route(path, RouteMatch(path=path), service.cluster, settings, stream=stream))
        # Unknown methods go to the service, which may be newer than the gateway.
        prefix = f"/{service.name}/"
        table.append(_grpc_route(prefix, RouteMatch(prefix=prefix), service.cluster, settings))
    table += _grpc_health_routes(settings, services)
    if settings.reflection:
        for version in ("v1", "v1alpha"):
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            reflection = _grpc_route(path, RouteMatch(path=path), "mint", settings, stream=True)
            # Its requests are a stream, so there is no end to wait for.
            reflection.typed_per_filter_config[filters.BUFFER].CopyFrom(pack(BufferPerRoute(disabled=True)))
            table.append(reflection)
    for route in table:
        route.match.grpc.SetInParent()
    host = VirtualHost(
        name="grpc",
        domains=["*"],
        routes=table,
        retry_policy=retry_policy(),
        request_headers_to_add=[caller_address()],
        request_headers_to_remove=[HEALTH_SERVICE_HEADER],
        response_headers_to_remove=["x-envoy-upstream-service-time"],
    )
    return RouteConfiguration(name="grpc", virtual_hosts=[host])


def statistics_routes() -> Any:
    """Only `/metrics`; the rest of the admin interface is not reachable."""
    route = Route(
        name="metrics",
        match=RouteMatch(path="/metrics", headers=[_header_is(":method", "GET")]),
        route=RouteAction(cluster=ADMIN_CLUSTER, prefix_rewrite="/stats/prometheus", timeout=seconds(10)),
    )
    return RouteConfiguration(
        name="statistics", virtual_hosts=[VirtualHost(name="statistics", domains=["*"], routes=[route])]
    )
