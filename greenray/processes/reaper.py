"""The last one standing: waits for the end of the process that started it, then kills everything that bears its mark.

Parent-death signals reach the children of a worker, not grandchildren that left for a session of their own. The reaper
closes that hole. It is no child of the worker (forked twice, in its own session), so that nothing that ends a worker and its
children ends the reaper; and it does not bear the mark, so that it does not end itself. It waits on a pipe whose other end
only the worker holds: however the worker dies, the kernel closes that end.
"""

import os
import signal
import subprocess
import sys

from greenray.processes.tree import kill_marked, set_name

_START_TIMEOUT_S = 30.0
_KILL_TIMEOUT_S = 10.0


class Reaper:
    """Handle of a running reaper: `close` (or the death of this process) makes it kill what bears the mark, and end."""

    def __init__(self, *, mark: str, environment: dict[str, str]) -> None:
        """Start one in an environment that must not hold the mark. Raises OSError or subprocess.SubprocessError."""
        watched, self._held = os.pipe()
        command = [sys.executable, "-P", "-m", "greenray.processes.reaper", str(watched), mark]
        try:
            # Returns as soon as the first process has forked the reaper proper and ended.
            subprocess.run(
                command,
                env=environment,
                pass_fds=[watched],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=True,
                start_new_session=True,
                timeout=_START_TIMEOUT_S,
            )
        except BaseException:
            os.close(self._held)
            raise
        finally:
            os.close(watched)

    def close(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def main() -> None:
    watched, mark = int(sys.argv[1]), sys.argv[2]
    if os.fork():
        os._exit(0)
    set_name("greenray-reaper")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)  # else a pipe that the worker's reader waits on would stay open
    while os.read(watched, 1):  # nothing is ever written: returns at the end of file
        pass
    kill_marked(mark, timeout_s=_KILL_TIMEOUT_S)


if __name__ == "__main__":
    main()
