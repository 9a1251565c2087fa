"""Joining Ray: whatever Ray says when it cannot be joined becomes one sentence."""

import socket

import pytest

from greenray.driver.cluster import connected
from greenray.errors import ResourceError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Exception("The current node timed out during startup.\nThis and that"), "The current node timed out during startup."),
        (TimeoutError("Timed out after 30 seconds"), "Timed out after 30 seconds"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_ray_that_does_not_come_up_is_no_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    import ray

    def init(**options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with pytest.raises(ResourceError, match=f"no Ray cluster can be joined at {address}: {told}"), connected(address):
            pass
