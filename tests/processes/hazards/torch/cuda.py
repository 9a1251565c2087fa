import os

initialised = False
called_by: int | None = None


def is_initialized() -> bool:
    return initialised


def _is_in_bad_fork() -> bool:
    return called_by is not None and called_by != os.getpid()
