"""A headless Chromium, driven over the DevTools protocol through two pipes (`--remote-debugging-pipe`)."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ANSWER_LIMIT_S = 20.0
# Chromium reads commands from descriptor 3 and writes answers to 4; the copies keep each from overwriting the other.
TAKE_PIPES = """
import os, sys
for high, number in ((100, sys.argv[1]), (101, sys.argv[2])):
    os.dup2(int(number), high)
os.dup2(100, 3)
os.dup2(101, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def chromium_path() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def name_of(node: dict[str, Any]) -> str:
    """What a screen reader calls a node."""
    return str(node.get("name", {}).get("value", ""))


class Browser:
    """A browser with one tab at a time. Each new tab has a context of its own: nothing of an earlier one is left."""

    def __init__(self, path: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="vyris-chromium-", ignore_cleanup_errors=True)
        command_read, self._write = os.pipe()
        self._read, answer_write = os.pipe()
        options = [
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            # Switch off the browser's own requests: a test uses only the stack.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-quic",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={self._profile.name}",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]

        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_PIPES, str(command_read), str(answer_write), path, *options],
            pass_fds=(command_read, answer_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(answer_write)
        self._buffer = b""
        self._number = 0
        self.problems: list[str] = []
        self._session = ""
        self._context = ""

    def open_tab(self) -> None:
        """Open an empty tab, in place of the one before."""
        if self._context:
            self._send("Target.disposeBrowserContext", browserContextId=self._context)
        self._context = self._send("Target.createBrowserContext")["browserContextId"]
        target = self._send("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.problems.clear()
        for domain in ("Page", "DOM", "Accessibility", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._send(method, self._session, **parameters)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self._until("Page.loadEventFired")

    def scheme(self, name: str) -> None:
        """`light` or `dark`. Nothing moves, so that a colour is final at once."""
        chosen = {"prefers-color-scheme": name, "prefers-reduced-motion": "reduce"}
        features = [{"name": feature, "value": value} for feature, value in chosen.items()]
        self.call("Emulation.setEmulatedMedia", features=features)

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=False)

    def screenshot(self) -> bytes:
        """The visible part of the page as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def nodes(self, *roles: str) -> list[dict[str, Any]]:
        """The visible nodes of these roles, as a screen reader finds them."""
        tree = self.call("Accessibility.getFullAXTree")["nodes"]
        return [node for node in tree if not node.get("ignored") and node.get("role", {}).get("value") in roles]

    def names(self, role: str) -> list[str]:
        return [name_of(node) for node in self.nodes(role)]

    def text(self) -> str:
        return " ".join(self.names("StaticText"))

    def press(self, role: str, name: str) -> None:
        """Click the node that a screen reader calls `name`, and wait for the next page."""
        node = next(node for node in self.nodes(role) if node["name"]["value"] == name)
        self.call("DOM.scrollIntoViewIfNeeded", backendNodeId=node["backendDOMNodeId"])
        corners = self.call("DOM.getBoxModel", backendNodeId=node["backendDOMNodeId"])["model"]["content"]
        x, y = (corners[0] + corners[4]) / 2, (corners[1] + corners[5]) / 2
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self._until("Page.loadEventFired")

    def _send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def _until(self, event: str) -> None:
        while self._next().get("method") != event:
            pass

    def _next(self) -> dict[str, Any]:
        """The next message, without those of earlier tabs."""
        while (message := self._read_message()).get("sessionId", self._session) != self._session:
            pass
        if message.get("method") == "Log.entryAdded":
            self.problems.append(message["params"]["entry"]["text"])
        return message

    def _read_message(self) -> dict[str, Any]:
        until = time.monotonic() + ANSWER_LIMIT_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "Chromium does not answer"
            piece = os.read(self._read, 1 << 20)
            assert piece, "Chromium has ended"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message
