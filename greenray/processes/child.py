"""Where every cell process ends up, forked, or spawned: `python -m greenray.processes.child SOCKET_FD PARENT_PID TARGET`."""

import faulthandler
import os
import pkgutil
import socket
import sys
import traceback
from typing import NoReturn

from greenray.processes.tree import die_with_parent, restore_scheduling, set_name

CELL_OOM_SCORE = 1000
"""A host that runs out of memory shall end the cell, which costs one cell, before the worker, which costs a visit."""


def run_target(target: str, socket_fd: int) -> NoReturn:
    """Call `module:function` with the connected socket of a descriptor and end this process with what it returns.

    Ends by `os._exit`: a forked process must not run its server's exit handlers, and a library's that hang at exit must not
    hold up a cell that has said its last word.
    """
    set_name("greenray-cell")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # else a killed cell's last words are lost
    faulthandler.enable()
    os.set_inheritable(socket_fd, False)
    code = 1
    try:
        code = int(pkgutil.resolve_name(target)(socket.socket(fileno=socket_fd)))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def main() -> NoReturn:
    socket_fd, parent_pid, target = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    die_with_parent(parent_pid)
    restore_scheduling(oom_score=CELL_OOM_SCORE)
    run_target(target, socket_fd)


if __name__ == "__main__":
    main()
