"""NVML's calls, as the rest of this folder makes them: a failure is None or a sentence, never an exception."""

import logging
from typing import Any

import pynvml

logger = logging.getLogger(__name__)


def start() -> str | None:
    """Initialises NVML; returns None, or why there is none (a sentence)."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"NVML is not available ({error})"
    return None


def ask(function: str, *arguments: Any) -> Any:
    """One NVML call by name; None when the board or driver does not answer it."""
    try:
        return getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError as error:
        logger.debug("%s: %s", function, error)
        return None


def ask_number(function: str, *arguments: Any, per: int = 1) -> float | None:
    """One NVML call that answers a number, divided by `per`; None when it does not answer."""
    value = ask(function, *arguments)
    return None if value is None else value / per


def ask_text(function: str, *arguments: Any) -> str:
    """One NVML call that answers bytes or text, depending on the version of its Python module; empty when it does not answer."""
    value = ask(function, *arguments) or ""
    return value.decode() if isinstance(value, bytes) else value


def function(name: str) -> Any:
    """NVML's C function itself, for the sampling thread: a tenth of the cost of the checked Python call. None when it is missing.

    The call gives the interpreter's lock away while it runs.
    """
    try:
        return pynvml._nvmlGetFunctionPointer(name)
    except pynvml.NVMLError:
        return None


def sentence(code: int) -> str:
    """What an NVML return code means."""
    try:
        return str(pynvml.NVMLError(code))
    except Exception:  # an unknown code of a newer driver
        return f"NVML error {code}"


def field_values(*wanted: tuple[int, int]) -> Any:
    """An array of NVML field values for (field, scope) pairs, to be filled again and again."""
    values = (pynvml.c_nvmlFieldValue_t * len(wanted))()
    for value, (field_id, scope) in zip(values, wanted, strict=True):
        value.fieldId, value.scopeId = field_id, scope
    return values
