"""What the charts of the sections share: plain Plotly figures, whose colours of text and background are the page's."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from greenray.report.document import Chart

Figure = dict[str, Any]

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#999933", "#44AA99", "#AA4499")
"""Okabe and Ito's colours first: told apart by colour-blind readers, on light and dark."""
SHAPES = ("circle", "square", "diamond", "triangle-up")
BASELINE_COLOUR = "#888888"


def chart(id: str, traces: Sequence[Figure], layout: Figure, caption: str) -> Chart:
    return Chart(id=id, figure={"data": traces, "layout": layout}, caption=caption)


def scatter(name: str, x: Sequence[float | None], y: Sequence[float | None], *, mode: str = "markers", **style: Any) -> Figure:
    return {"type": "scatter", "mode": mode, "name": plain(name), "x": list(x), "y": list(y), **style}


def legend_only(names: Sequence[str], **style: Sequence[Any]) -> list[Figure]:
    """Entries of the legend that explain shapes (`symbol`) or line styles (`dash`), which come round again."""
    (kind, choices), grey = next(iter(style.items())), {"color": BASELINE_COLOUR}
    mode, part = ("markers", "marker") if kind == "symbol" else ("lines", "line")
    return [
        scatter(name, [None], [None], mode=mode, hoverinfo="skip", **{part: grey | {kind: choices[place % len(choices)]}})
        for place, name in enumerate(names)
    ]


def plain(text: str) -> str:
    """Plotly reads a little HTML in its labels; text from outside must not become any. A % would start a template."""
    return html.escape(text, quote=False).replace("%{", "% {")


def colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def shape(index: int) -> str:
    """A shape that tells those apart whose colour has come round again."""
    return SHAPES[index // len(PALETTE) % len(SHAPES)]


def rounded(values: Iterable[float]) -> list[float]:
    """Six significant digits: enough for a picture, and the same on every machine."""
    return [value if value == 0 or not math.isfinite(value) else float(f"{value:.6g}") for value in values]
