"""The errors for statuses that gRPC itself makes: `vyris.errors` as a Lua table for the scripts."""

from __future__ import annotations

import json
from typing import Final

from vyris.errors import ERRORS_BY_BARE_CODE, Retryable, VyrisError


def _literal(error: VyrisError) -> str:
    # A JSON string in plain ASCII is also a Lua string.
    fields = [json.dumps(str(error.http_status)), json.dumps(error.reason), json.dumps(error.message)]
    fields.append("true" if error.retryable else "false")
    if error.retry_after_s is not None:
        fields.append(json.dumps(str(error.retry_after_s)))
    return "{" + ", ".join(fields) + "}"


LUA: Final = "\n".join(
    [
        f"local UNFINISHED = {_literal(Retryable())}",
        f"local UNREACHABLE = {_literal(Retryable.unreachable())}",
        "local BY_GRPC_STATUS = {",
        *(f'  ["{code.value[0]}"] = {_literal(error)},' for code, error in ERRORS_BY_BARE_CODE.items()),
        "}",
    ]
)
"""Text to put before `lua/errors.lua`."""
