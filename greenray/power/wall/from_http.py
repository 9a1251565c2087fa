"""A wall meter behind an address that answers JSON."""

import base64
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from greenray.power.wall.follow import TIMEOUT_S, NoReading, Receiver, Source, in_words

_ANSWER_BYTES = 1 << 20


class HttpSource(Source):
    """An address that answers JSON, asked every `period_s`; asked less and less often while it fails."""

    def __init__(self, url: str, *, value: str | int | None, stamp: str | int | None, period_s: float) -> None:
        parts = urlsplit(url)
        super().__init__(parts.netloc.rpartition("@")[2], value=value, stamp=stamp, period_s=period_s)
        self._request = urllib.request.Request(
            urlunsplit(parts._replace(netloc=self.name, fragment="")), headers={"Accept": "application/json"}
        )
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            # Not handed on to wherever an answer may redirect to.
            self._request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        # The meter stands in the same network: a proxy for the world outside would not find it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def follow(self, receiver: Receiver, stopping: threading.Event) -> None:
        due_s = time.monotonic()
        while not stopping.wait(max(0.0, due_s - time.monotonic())):
            before_s = time.monotonic()
            try:
                document = self._ask(before_s + TIMEOUT_S)
                after_s = time.monotonic()
                receiver.take(self._found(document, before_s=before_s, after_s=after_s, asked=True))
                due_s = max(due_s + self._rest_s(well=True), after_s)
            except (OSError, ValueError, http.client.HTTPException) as error:
                receiver.fail(_why_no_answer(error))
                due_s = time.monotonic() + self._rest_s(well=False)

    def _ask(self, deadline_s: float) -> Any:
        with self._opener.open(self._request, timeout=TIMEOUT_S) as answer:
            body = b""
            # The limit of a socket is one of silence: an answer that trickles in needs one of its own.
            while (more := answer.read1(_ANSWER_BYTES)) and len(body) < _ANSWER_BYTES:
                body += more
                if time.monotonic() > deadline_s:
                    raise TimeoutError("timed out")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise NoReading("the wall meter's answer is not JSON") from None


def _why_no_answer(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the wall meter answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()
    if isinstance(error, NoReading):
        return str(error)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"the wall meter does not answer ({in_words(reason)})"
