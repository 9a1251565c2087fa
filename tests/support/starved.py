"""Windows that a busy host has spoiled. That is right of the instrument, and a test of something else takes another window."""

from collections.abc import Iterable

_WORDS = ("no power reading for", "the recorder missed", "not read up to the edges", "power was not read over the whole window")


def starved(reasons: Iterable[str]) -> bool:
    """Whether one of a reading's reasons is that the recorder was kept from reading."""
    return any(words in reason for reason in reasons for words in _WORDS)
