"""A real browser for tests of pages: Debian's chromium, driven over a pipe in its own protocol, without a driver between."""

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
WHY_NOT = "no chromium on this machine (apt-get install chromium)"
PATIENCE = 60  # seconds
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


class Page:
    """One open page. Commands go out on one pipe and answers come back on another, each ended by a zero byte."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._unread = to_browser, from_browser, b""
        self._sent, self._session = 0, None
        self.errors: list[str] = []  # exceptions of the page's script that nobody caught

    def open(self, path: Path, **media: str) -> None:
        """Loads a file. `media`: what the page is told of the reader, like `prefers_color_scheme="dark"`."""
        if self._session is None:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self.call("Page.enable")
            self.call("Runtime.enable")
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """What the expression gives in the page, as JSON. Raises RuntimeError where the page's script does."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """One key, where the focus is. `code`: its number among the keys of Windows, which is what the protocol asks for."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int) -> None:
        """The window, in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session is not None and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _wait_for(self, event: str) -> None:
        while self._read().get("method") != event:
            pass

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], PATIENCE)
            some = os.read(self._from, 2**16) if ready else b""
            if not some:
                raise RuntimeError(
                    "the browser has gone" if ready else f"the browser said nothing for {PATIENCE} seconds"
                )
            self._unread += some
        content, self._unread = self._unread.split(b"\0", 1)
        message = json.loads(content)
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser of our own with an empty profile, ended afterwards."""
    assert CHROMIUM is not None, WHY_NOT
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()
    # It reads commands from 3 and answers on 4; by way of numbers that are free, lest one takes the other's place.
    shell = f'exec {{r}}<&{read_commands} {{w}}>&{write_answers}; exec "$0" "$@" 3<&$r 4>&$w'
    process = subprocess.Popen(
        ["/bin/bash", "-c", shell, CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(read_commands, write_answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Page(write_commands, read_answers)
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(write_commands)
        os.close(read_answers)
