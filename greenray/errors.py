"""The errors that GreenRay raises on purpose."""

from collections.abc import Mapping
from typing import Any


class GreenRayError(Exception):
    """Base of every error that GreenRay raises on purpose."""


class UserError(GreenRayError):
    """The user can mend it; the message is one plain sentence that says how: no traceback, exit 2."""


class ConfigError(UserError):
    """The config file, or an option of a command, is wrong; names the place, the value and what would be right."""


class StoreError(UserError):
    """The store cannot be used: not a store, not writable, in use by another sweep, or no space left."""


class ResourceError(UserError):
    """A model, dataset or device does not exist or cannot be reached."""


class MeasurementError(GreenRayError):
    """The instrument refuses: a board that cannot be identified, a sensor that vanished."""


class CellError(GreenRayError):
    """One cell ended without a result: the sweep goes on and the cell's row says what happened, in the message's sentence.

    `evidence` is what the tactic had found out by then; it is stored with the row.
    """

    status = "failed"

    def __init__(self, message: str, *, evidence: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.evidence: dict[str, Any] = dict(evidence or {})


class Refused(CellError):
    """The cell can never succeed as it was declared, so it is not tried again; the message says what to change."""


class NotApplied(CellError):
    """The tactic ran and changed nothing, so its figures would be the baseline's under another name."""

    status = "not_applied"


class Unsupported(CellError):
    """The tactic cannot run on this device or model; the message names what can."""

    status = "unsupported"


NOT_TRIED = "not tried: an earlier round ended so"
"""How the error of a cell begins that was given up for the end of an earlier round, which follows in brackets."""


def first_line(said: object, *, longest: int = 200, otherwise: str | None = None) -> str:
    """What an error of somebody else's says, fit for a clause of a sentence: its first line with words in it.

    `otherwise` is what stands for one that says nothing; by default the name of its class.
    """
    lines = (line.strip() for line in str(said).splitlines())
    return next((line for line in lines if line), type(said).__name__ if otherwise is None else otherwise)[:longest]
