"""The signals of a process that runs another one in its own place: held back, and handed on one by one.

A handler cannot tell who sent a signal; whoever waits for it can, so the terminal's are told from those of other processes.
"""

import signal
from typing import Self

_FORWARDED = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}


class Interrupted(Exception):
    """A signal asked this process to end before the command was started."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Signals:
    """The signals that are meant for the command, held back inside. Every thread that exists by then must hold them too."""

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the kernel would throw away how the command ended
        self.before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        # What is ignored (nohup, a shell's `&`) stays ignored, for the command too.
        held = {number for number in _FORWARDED if signal.getsignal(number) is not signal.SIG_IGN}
        self.ending = held - self.before
        self.held = self.ending | {signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, self.held)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)

    def pause(self, seconds: float) -> None:
        """Waits; raises `Interrupted` as soon as somebody wants this process to end."""
        found = signal.sigtimedwait(self.ending, seconds)
        # Stopped (Ctrl-Z) and continued after the time was over, CPython returns what nobody has filled in.
        if found is not None and found.si_signo in self.ending:
            raise Interrupted(found.si_signo)

    def forget(self) -> None:
        """Drops what has come since: the command has ended, and this process is about to."""
        while signal.sigtimedwait(self.held, 0) is not None:
            pass
