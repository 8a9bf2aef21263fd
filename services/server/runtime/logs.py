"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog

# gRPC logs a header's value that is not UTF-8, with a traceback. The value may be a token, and callers could fill the
# log with it. The call itself goes on, with the value read as Latin-1.
_GRPC_CORE: Final = "grpc._cython.cygrpc"
_HEADER_MESSAGE: Final = "Invalid encoding on "

# Without the frames' local variables, which contain tokens, keys and addresses.
TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure(level: str, process: str) -> None:
    """Send all logs, also those of libraries, through one JSON renderer."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _, __, event: {"process": process, **event},
                TRACEBACKS,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger(_GRPC_CORE).addFilter(_keep_record)
    # Libraries that log addresses or bodies.
    for talkative in ("httpx", "httpcore", "hpack", "asyncio", "aiosmtplib"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def _keep_record(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_HEADER_MESSAGE)
