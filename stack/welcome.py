"""The text that a person sees once the stack is ready."""

from __future__ import annotations

from collections.abc import Mapping

from stack.settings import StackSettings
from stack.state import StateFolder
from suite import NAMES

TEMPLATE = """\
VYRIS is ready.

  JSON over HTTP   http://localhost:{gateway_port}
  native gRPC      localhost:{gateway_grpc_port}
  reference        http://localhost:{gateway_port}/docs
  live view        http://localhost:{gateway_port}/drops/{tier}/{year}/live
  services         {services}
  Postgres         {database}
  Redis            {redis}
  mail             {mail}
  state            {root} (logs/, mail/, keys/; all ports in ports.json)
"""
FIRST_MINT = """
Mint a membership:

curl -i http://localhost:{gateway_port}/mint -H 'content-type: application/json' \
-d '{{"receipt_data":"receipt-1","user_id":"user-1"}}'"""


def welcome(
    settings: StackSettings, state: StateFolder, listens: Mapping[str, int | str], environment: Mapping[str, str]
) -> str:
    """All addresses, and in development a first request to paste. Hides credentials in configured URLs.

    `environment`: the services' environment.
    """
    services = [name for name in NAMES if name in listens]
    # Production accepts no opaque receipt, so there is none to paste.
    text = TEMPLATE if settings.vyris_env == "production" else TEMPLATE + FIRST_MINT
    return text.format(
        gateway_port=settings.gateway_port,
        gateway_grpc_port=settings.gateway_grpc_port,
        services=", ".join(f"{name} {listens[name]}" for name in services),
        database=listens.get("database_url", "as DATABASE_URL says"),
        redis=listens.get("redis_url", "as REDIS_URL says"),
        mail=f"port {listens['smtp']}, kept in {state.mail}" if "smtp" in listens else "as SMTP_URL says",
        root=state.root,
        tier=environment.get("DROP_TIER") or "genesis",
        year=environment.get("DROP_YEAR") or "2025",
    )
