"""The HTTP filters, in the order in which requests pass them, and their route configuration."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as HeaderMutationRule
from envoy.config.core.v3.base_pb2 import DataSource, RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import FilterConfig, RateLimit
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import LocalRateLimitDescriptor, RateLimitDescriptor
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer, BufferPerRoute
from envoy.extensions.filters.http.grpc_json_transcoder.v3.transcoder_pb2 import GrpcJsonTranscoder
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation, Mutations
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.v3.percent_pb2 import FractionalPercent
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway import bare_statuses, bounds, cors
from gateway.messages import flag, number, pack, seconds
from gateway.routes import HttpRoute, rpc_services
from gateway.settings import GatewaySettings
from vyris.errors import REQUEST_LIMIT_BYTES

HEADER_MUTATION: Final = "envoy.filters.http.header_mutation"
BUFFER: Final = bounds.BUFFER
LUA: Final = "envoy.filters.http.lua"
RATE_LIMIT: Final = "envoy.filters.http.local_ratelimit"
TRANSCODER: Final = "envoy.filters.http.grpc_json_transcoder"
ROUTER: Final = "envoy.filters.http.router"

PRIVATE_HEADERS: Final = (
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "grpc-encoding",
    "grpc-accept-encoding",
    "x-error-code",
    "x-error-status",
    "x-error-retryable",
    "x-http-status",
    "x-vyris-kept",
)
ANSWER_LIMIT_BYTES: Final = 4 << 20
ADDRESSES_LIMIT: Final = 100_000
"""The most addresses that are counted at once; the least recently seen ones are dropped."""

_LUA_FOLDER: Final = Path(__file__).with_name("lua")


@cache
def lua_file(name: str) -> str:
    """Read one script of the `lua` folder."""
    return (_LUA_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def answer_script_name(route: HttpRoute) -> str:
    """The name of the script that shapes the answers of `route`, and removes a body if the route takes none."""
    name = f"{_answer_file(route)}_{route.success_status}"
    if route.shared:
        return "_".join((name, "shared", *route.query_parameters))
    return name if route.takes_body else f"{name}_bodiless"


def _answer_file(route: HttpRoute) -> str:
    if route.is_health:
        return "health"
    return "answer_named" if route.status_from_service else "answer"


def answer_scripts(routes: Iterable[HttpRoute]) -> dict[str, str]:
    """The scripts that `routes` need, by name.

    The success status is a constant of the script; reading it from the route's metadata costs more.
    """
    scripts = {"answer_200": _script(200, "answer")}
    for route in routes:
        script = _script(route.success_status, _answer_file(route))
        if route.shared:
            script += f"\n{query_script(route.query_parameters)}\n{lua_file('shared')}"
        elif not route.takes_body:
            script += f"\n{lua_file('bodiless')}"
        scripts[answer_script_name(route)] = script
    return scripts


def _script(status: int, file: str) -> str:
    return f'local SUCCESS_STATUS = "{status}"\n{bare_statuses.LUA}\n{lua_file("errors")}\n{lua_file(file)}'


def query_script(allowed: Iterable[str]) -> str:
    """A script that removes all query parameters except the `allowed` ones, and a body as in bodiless.lua."""
    names = ", ".join(f'["{name}"] = true' for name in allowed)
    return f"{lua_file('bodiless')}\nlocal ALLOWED = {{{names}}}\n{lua_file('query')}"


def _source(text: str) -> Any:
    return DataSource(inline_string=text)


def _filter(name: str, config: Any, *, disabled: bool = False) -> Any:
    return HttpFilter(name=name, typed_config=pack(config), disabled=disabled)


def _body_limit() -> Any:
    return Buffer(max_request_bytes=number(REQUEST_LIMIT_BYTES))


def bounded_body() -> dict[str, Any]:
    """Route configuration: limit the body, with every encoding."""
    return {BUFFER: pack(BufferPerRoute(buffer=_body_limit()))}


def _answer_headers(settings: GatewaySettings) -> Any:
    """Remove internal headers from answers, and add those that let pages of listed origins read them."""
    mutations = [HeaderMutationRule(remove=name) for name in PRIVATE_HEADERS]
    mutations += [HeaderMutationRule(append=header) for header in cors.answer_headers(settings)]
    return HeaderMutation(mutations=Mutations(response_mutations=mutations))


def _transcoder(descriptors: FileDescriptorSet) -> Any:
    return GrpcJsonTranscoder(
        proto_descriptor_bin=descriptors.SerializeToString(deterministic=True),
        services=[service.name for service in rpc_services(descriptors)],
        match_incoming_request_route=True,
        convert_grpc_status=False,
        print_options=GrpcJsonTranscoder.PrintOptions(
            preserve_proto_field_names=True, always_print_primitive_fields=True
        ),
        request_validation_options=GrpcJsonTranscoder.RequestValidationOptions(
            reject_unknown_method=True,
            reject_unknown_query_parameters=True,
            # Otherwise a field of the body would override the same field of the path.
            reject_binding_body_field_collisions=True,
        ),
        # Without these the limit is the connection's buffer.
        max_request_body_size=number(REQUEST_LIMIT_BYTES),
        max_response_body_size=number(ANSWER_LIMIT_BYTES),
    )


def _rate_limit(settings: GatewaySettings) -> Any:
    per_second = settings.gateway_rate_limit_rps or 1
    always = RuntimeFractionalPercent(
        default_value=FractionalPercent(numerator=100, denominator=FractionalPercent.HUNDRED)
    )
    return LocalRateLimit(
        stat_prefix="per_address",
        filter_enabled=always,
        filter_enforced=always,
        # Requests without a descriptor would share this bucket, which is never empty; there are none.
        token_bucket=TokenBucket(max_tokens=1 << 30, tokens_per_fill=number(1 << 30), fill_interval=seconds(1)),
        always_consume_default_token_bucket=flag(False),
        descriptors=[
            LocalRateLimitDescriptor(
                # An entry without a value: one bucket for each value.
                entries=[RateLimitDescriptor.Entry(key="masked_remote_address")],
                token_bucket=TokenBucket(
                    max_tokens=settings.burst, tokens_per_fill=number(per_second), fill_interval=seconds(1)
                ),
            )
        ],
        max_dynamic_descriptors=number(ADDRESSES_LIMIT),
        rate_limits=[
            RateLimit(
                actions=[
                    RateLimit.Action(
                        # A caller with one IPv6 address has the whole /64.
                        masked_remote_address=RateLimit.Action.MaskedRemoteAddress(
                            v4_prefix_mask_len=number(32), v6_prefix_mask_len=number(64)
                        )
                    )
                ]
            )
        ],
        rate_limited_as_resource_exhausted=True,
    )


def json_filters(settings: GatewaySettings, descriptors: FileDescriptorSet, scripts: dict[str, str]) -> list[Any]:
    """The filter chain of the JSON listener.

    Lua comes before the transcoder, so on the way back it sees the transcoder's result. The buffer filter, which routes
    switch on, limits a body; the transcoder's own limit only applies to the part in memory.
    """
    lua = Lua(
        default_source_code=_source(scripts["answer_200"]),
        source_codes={name: _source(text) for name, text in scripts.items()},
    )
    chain = [_filter(HEADER_MUTATION, _answer_headers(settings)), _filter(LUA, lua)]
    if settings.gateway_rate_limit_rps is not None:
        chain.append(_filter(RATE_LIMIT, _rate_limit(settings)))
    chain.append(_filter(BUFFER, _body_limit(), disabled=True))
    chain.append(_filter(TRANSCODER, _transcoder(descriptors)))
    chain.append(_filter(ROUTER, Router()))
    return chain


def grpc_filters(settings: GatewaySettings) -> list[Any]:
    """The filter chain of the native listener. Lua runs only for `grpc.health.v1.Health`."""
    lua = Lua(default_source_code=_source(lua_file("health_routing")))
    chain = [*bounds.native_filters(settings), _filter(LUA, lua, disabled=True), _filter(ROUTER, Router())]
    if settings.gateway_rate_limit_rps is not None:
        chain.insert(0, _filter(RATE_LIMIT, _rate_limit(settings)))
    return chain


def named_script(name: str) -> dict[str, Any]:
    """Route configuration: shape answers by the script `name`."""
    return {LUA: pack(LuaPerRoute(name=name))}


def switched_on(filter_name: str, config: Any) -> dict[str, Any]:
    """Route configuration: run a filter that is off elsewhere."""
    return {filter_name: pack(FilterConfig(config=pack(config)))}


def switched_off(*filter_names: str) -> dict[str, Any]:
    """Route configuration: switch these filters off."""
    return {name: pack(FilterConfig(disabled=True, is_optional=True)) for name in filter_names}
