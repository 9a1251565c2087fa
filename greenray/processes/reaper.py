"""The last one standing: waits for the end of the process that started it, then does what that left undone.

The reaper proper kills everything that bears a mark. Parent-death signals reach the children of a worker, not grandchildren that
left for a session of their own. It closes that hole. A survivor is no child of the worker (forked twice, in its own session), so
that nothing that ends a worker and its children ends it; and it does not bear the mark, so that it does not end itself. It waits
on a pipe whose other end only the worker holds: however the worker dies, the kernel closes that end.
"""

import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from greenray.processes.tree import MARK, kill_marked, set_name

_START_TIMEOUT_S = 30.0
_KILL_TIMEOUT_S = 10.0


class Survivor:
    """Handle of a process that outlives this one: `close` (or the death of this process) makes it call its target, and end."""

    def __init__(self, *, target: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start one in an environment that must not hold the mark, by default this one's without it.

        `target` is `module:function`, called with the arguments. Raises OSError or subprocess.SubprocessError.
        """
        watched, self._held = os.pipe()
        command = [sys.executable, "-P", "-m", "greenray.processes.reaper", str(watched), target, *arguments]
        try:
            # Returns as soon as the first process has forked the survivor proper and ended.
            subprocess.run(
                command,
                env=fresh_environment() if environment is None else environment,
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


class Reaper(Survivor):
    """Kills what bears the mark."""

    def __init__(self, *, mark: str, environment: Mapping[str, str]) -> None:
        super().__init__(target="greenray.processes.reaper:reap", arguments=[mark], environment=environment)


def reap(mark: str) -> None:
    """Kill everything that bears the mark."""
    kill_marked(mark, timeout_s=_KILL_TIMEOUT_S)


def fresh_environment() -> dict[str, str]:
    """This process's, without the mark, in which a fresh interpreter can import what this one can, wherever it starts."""
    path = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    return {name: value for name, value in {**os.environ, **path}.items() if name != MARK}


def main() -> None:
    watched, target, *arguments = int(sys.argv[1]), *sys.argv[2:]
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
    pkgutil.resolve_name(target)(*arguments)


if __name__ == "__main__":
    main()
