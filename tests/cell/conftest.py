"""A bench for loads."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.support.loading import Bench, played_device


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Makes benches, one at a time on cuda."""
    with ExitStack() as kept:

        def make(times_s: Iterable[float], **fields: Any) -> Bench:
            made = kept.enter_context(closing(Bench(times_s, **fields)))
            if fields.get("device") == "cuda":
                kept.enter_context(played_device(made))
            return made

        yield make
