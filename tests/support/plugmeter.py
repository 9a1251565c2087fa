"""Small real meters: an HTTP server, and programs that print or append, all of known power on this host's CLOCK_MONOTONIC."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from greenray.config.settings import WallMeter
from greenray.power.trace import Series
from greenray.power.wall.meter import WallSensor, follow
from tests.support.running import wait_until


class HttpMeter:
    """A plug meter on loopback that answers `{"plug": [{"watts": ..., "joules": ..., "at": ...}]}`.

    Attributes:
        power_w: true power at a moment.
        energy_j: its counter now; None where it has none.
        delay_s: how long an answer takes; it is measured halfway.
        ahead_s: how much its clock is ahead of the host's.
        says: replaces the answer by this text.
        code: HTTP status.
        hits: paths that were asked for, with their Authorization.
    """

    def __init__(self, power_w: Callable[[float], float], *, delay_s: float = 0.0, ahead_s: float = 0.0) -> None:
        self.power_w, self.delay_s, self.ahead_s = power_w, delay_s, ahead_s
        self.energy_j: Callable[[], float] | None = None
        self.says: str | None = None
        self.code = 200
        self.hits: list[tuple[str, str | None]] = []
        self._closing = threading.Event()
        meter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                meter.hits.append((self.path, self.headers["Authorization"]))
                body = meter.answer().encode()
                self.send_response(meter.code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.address}/status"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def answer(self) -> str:
        self._closing.wait(self.delay_s / 2)
        now_s, epoch_s = time.monotonic(), time.time()
        joules = None if self.energy_j is None else self.energy_j()
        watts = self.power_w(now_s)
        self._closing.wait(self.delay_s / 2)
        return (
            json.dumps({"plug": [{"watts": watts, "joules": joules, "at": epoch_s + self.ahead_s}]})
            if self.says is None
            else self.says
        )

    def close(self) -> None:
        self._closing.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def http_meter(power_w: Callable[[float], float], **options: float) -> Iterator[HttpMeter]:
    meter = HttpMeter(power_w, **options)
    try:
        yield meter
    finally:
        meter.close()


@contextmanager
def following(**meter: Any) -> Iterator[WallSensor]:
    """Follows a meter of this configuration on a host called `here`."""
    sensor = follow(WallMeter(**meter), host="here")
    try:
        yield sensor
    finally:
        sensor.close()


def until(condition: Callable[[], Any], *, timeout_s: float = 20.0, what: str = "it") -> Any:
    """Polls what another process or thread does; the condition's answer once it is true."""
    return wait_until(condition, timeout_s=timeout_s, what=what)


def everything(sensor: WallSensor) -> Series:
    """All that a meter's follower has taken."""
    return sensor.series(start_s=-math.inf, end_s=math.inf)
