"""Show a page in headless Chromium through chromedriver's plain HTTP interface (W3C WebDriver)."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
CHROMEDRIVER = shutil.which("chromedriver")
AVAILABLE = CHROMIUM is not None and CHROMEDRIVER is not None

_ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


class Browser:
    """Opens files at a given width; a context manager."""

    def __init__(self, width: int = 1200, height: int = 900):
        self._size = {"width": width, "height": height, "pixelRatio": 1}

    def __enter__(self) -> "Browser":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._address = f"http://127.0.0.1:{port}"
        self._driver = subprocess.Popen(
            [str(CHROMEDRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._wait()
            options = {
                "binary": CHROMIUM,
                "args": _ARGUMENTS,
                "mobileEmulation": {"deviceMetrics": self._size},
            }
            wanted = {
                "browserName": "chrome",
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": options,
            }
            body = {"capabilities": {"alwaysMatch": wanted}}
            self._session = "/session/" + self._call("POST", "/session", body)["sessionId"]
        except BaseException:
            self._driver.kill()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait(timeout=30)

    def _wait(self) -> None:
        for _ in range(100):
            try:
                self._call("GET", "/status")
                return
            except (URLError, ConnectionError):
                time.sleep(0.1)
        raise TimeoutError("chromedriver did not start")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._address + path, data, {"Content-Type": "application/json"}, method=method)
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path) -> None:
        """Open a file from disk."""
        self._call("POST", self._session + "/url", {"url": path.resolve().as_uri()})

    def evaluate(self, script: str) -> Any:
        """The return value of the body of a JavaScript function."""
        return self._call("POST", self._session + "/execute/sync", {"script": script, "args": []})

    def console(self) -> list[dict[str, Any]]:
        """The page's console output, network errors included."""
        return self._call("POST", self._session + "/se/log", {"type": "browser"})
