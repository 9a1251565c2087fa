"""Does what a worker does with one cell, in a process that a test can kill: `stand_in_worker.py KIND FUNCTION LOG`.

Says, a line of JSON each: whose processes there are, once the cell has started its helpers; and what became of the cell.
"""

import json
import os
import sys
from pathlib import Path

from greenray.cell.protocol import AnyMessage, Done, Message
from greenray.processes.forkserver import ForkServer
from greenray.processes.launcher import Launcher, Spawn
from greenray.worker.supervise import supervise
from tests.support.processes import LIGHT


def main() -> None:
    kind, function, log = sys.argv[1:]
    target = f"tests.processes.sample_cells:{function}"
    launcher: Launcher = ForkServer(target=target, preload=LIGHT) if kind == "fork" else Spawn(target=target)
    with launcher:
        process = launcher.start(env={}, log_path=Path(log))

        def handle(message: AnyMessage) -> Message | None:
            assert isinstance(message, Done)
            server = launcher.pid if isinstance(launcher, ForkServer) else None
            helpers = message.settings["pids"]
            print(json.dumps({"mark": launcher.mark, "server": server, "cell": process.pid, "helpers": helpers}), flush=True)
            return None

        outcome = supervise(process, deadline_s=60, memory_limit_bytes=None, handle=handle, exit_s=60)
        print(json.dumps({"status": outcome.status, "error": outcome.error}), flush=True)
        sys.stdin.read()  # the test looks at what is left while the launcher is open


if __name__ == "__main__":
    os.umask(0o077)
    main()
