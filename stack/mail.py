"""The local stack's mail sink: `python -m stack.mail PORT FOLDER` stores every message as one file.

File names are UTC arrival times, so they sort by arrival. Files appear atomically.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from services.server.runtime.whole_file import write_whole
from stack.probes import answers_smtp
from stack.processes import ProcessSpec, Tier
from stack.state import StateFolder

MESSAGE_LIMIT_BYTES = 10 * 1024 * 1024
IDLE_LIMIT_S = 60
NAME_FORMAT = "%Y%m%dT%H%M%S.%fZ"


class MailFolder:
    """aiosmtpd handler that writes each message to `<folder>/<arrival>.eml`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = max((_arrival(path) for path in folder.glob("*.eml")), default=datetime.min.replace(tzinfo=UTC))

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002
        """Store the message, then acknowledge it."""
        content = envelope.original_content or b""
        # A clock that stops or goes back must not change the order.
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        name = self._last.strftime(NAME_FORMAT)
        write_whole(self._folder / f"{name}.eml", content)
        sys.stdout.write(f"kept {name}.eml, {len(content)} bytes, for {len(envelope.rcpt_tos)} recipient(s)\n")
        sys.stdout.flush()
        return "250 kept"


def _arrival(path: Path) -> datetime:
    try:
        return datetime.strptime(path.stem, NAME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def specification(state: StateFolder, environment: dict[str, str], port: int) -> ProcessSpec:
    """Describe the sink as a process of the stack."""
    return ProcessSpec(
        name="mail",
        tier=Tier.STORAGE,
        argv=(sys.executable, "-m", "stack.mail", str(port), str(state.mail)),
        environment=environment,
        is_ready=lambda: answers_smtp(port),
        listens={"smtp": port, "smtp_url": f"smtp://127.0.0.1:{port}"},
        stop_limit_s=5,
    )


async def serve(port: int, folder: Path) -> None:
    """Receive on a loopback port until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    handler = MailFolder(folder)

    def session() -> SMTP:
        return SMTP(
            handler,
            hostname="localhost",
            ident="VYRIS mail sink",
            data_size_limit=MESSAGE_LIMIT_BYTES,
            timeout=IDLE_LIMIT_S,
            enable_SMTPUTF8=True,
            loop=loop,
        )

    server = await loop.create_server(session, "127.0.0.1", port)
    await stopped.wait()
    # Do not wait for it: an idle client would keep the sink running.
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
