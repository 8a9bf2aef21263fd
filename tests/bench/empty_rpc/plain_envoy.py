"""The plain ceiling's Envoy: a transcoder, the few lines of Lua that set the status, a router, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DESCRIPTORS = Path(__file__).resolve().parents[3] / "gateway" / "descriptors.binpb"
TYPES = "type.googleapis.com/envoy.extensions"
STATUS_SCRIPT = """
function envoy_on_response(handle)
  local status = handle:headers():get("x-http-status")
  if status then
    handle:headers():replace(":status", status)
    handle:headers():remove("x-http-status")
  end
end
"""


def _filter(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{TYPES}.{kind}", **config}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def configuration(port: int, upstream_port: int) -> str:
    """Envoy's bootstrap as JSON: HTTP on `port`, the gRPC server on `upstream_port`."""
    route = {"match": {"path": "/mint"}, "route": {"cluster": "mint"}}
    manager = _filter(
        "manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="plain",
        route_config={"virtual_hosts": [{"name": "plain", "domains": ["*"], "routes": [route]}]},
        http_filters=[
            _filter("lua", "filters.http.lua.v3.Lua", default_source_code={"inline_string": STATUS_SCRIPT}),
            _filter(
                "transcoder",
                "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
                proto_descriptor=str(DESCRIPTORS),
                services=["vyris.mint.v1.MintService"],
                match_incoming_request_route=True,
                print_options={"preserve_proto_field_names": True, "always_print_primitive_fields": True},
            ),
            _filter("router", "filters.http.router.v3.Router"),
        ],
    )
    cluster = {
        "name": "mint",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "mint",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream_port)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    listener = {"name": "plain", "address": _address(port), "filter_chains": [{"filters": [manager]}]}
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)
