"""One cell's sensors over time: what a measurement looks like."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import polars as pl

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import Arm
from greenray.report import charts
from greenray.report.document import Chart, Section, section
from greenray.store.schema import WINDOW_KINDS

MAX_POINTS = 1500
DIFFERENCE_S = 0.1
GREY = "#999999"
_COLOURS = ("#56B4E9", "#0072B2", GREY, "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#009E73")
WINDOW_COLOURS = dict(zip(WINDOW_KINDS, _COLOURS, strict=False))

Series = dict[str, tuple[list[float], tuple[float, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerTrace:
    """What the sensors saw of one cell: "power" in watts or "busy CPUs", seconds since the attempt's first window or sample.

    `series` are times and values by sensor, `windows` (kind, start, end) on the same clock.
    """

    label: str
    quantity: str
    series: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    windows: tuple[tuple[str, float, float], ...]


def load(analysis: Analysis) -> PowerTrace | None:
    """The trace of the first inference cell (else any) that is ok and has one; rather a tactic than a baseline."""
    candidates = [arm for arm in analysis.arms if arm.ok]
    candidates.sort(key=lambda arm: (arm.cell["phase"] != "inference", arm.cell["tactic"] == "baseline"))
    return next(filter(None, (_trace(analysis, arm) for arm in candidates)), None)


def show(trace: PowerTrace, analysis: Analysis) -> Section:
    caption = f"{trace.label}. Shaded are the windows whose energy is read off this trace."
    if trace.quantity != "power":
        caption += " This host has no power sensor: what is seen is processor time."
    return section("measurement", "What a measurement looks like", chart(trace, caption))


def chart(trace: PowerTrace, caption: str) -> Chart:
    lines = [
        charts.scatter(name, times, values, mode="lines", line={"color": charts.colour(place), "width": 1.5})
        for place, (name, (times, values)) in enumerate(sorted(trace.series.items()))
    ]
    band = {"type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 0}}
    shapes = [
        band | {"x0": start, "x1": end, "fillcolor": WINDOW_COLOURS.get(kind, GREY), "opacity": 0.22 if place % 2 else 0.15}
        for place, (kind, start, end) in enumerate(trace.windows)
    ]
    layout = {
        "height": 380,
        "shapes": shapes,
        "annotations": _window_names(trace),
        "showlegend": True,
        "margin": {"t": 60, "b": 90},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.24, "x": 0},
        "xaxis": {"title": {"text": "time, s"}, "zeroline": False},
        "yaxis": {"title": {"text": "power, W" if trace.quantity == "power" else "busy CPUs"}, "rangemode": "tozero"},
    }
    return charts.chart("trace", lines, layout, caption)


def _window_names(trace: PowerTrace) -> list[charts.Figure]:
    """One name for each run of windows of a kind, above the plot, where there is room for it."""
    kinds = [list(windows) for _, windows in groupby(trace.windows, key=itemgetter(0))]
    runs = [(windows[0][0], windows[0][1], windows[-1][2]) for windows in kinds]
    whole = max((end for _, _, end in runs), default=0) - min((start for _, start, _ in runs), default=0)
    place = {"y": 1, "xref": "x", "yref": "paper", "yanchor": "bottom", "showarrow": False, "font": {"size": 11}}
    return [
        place
        | {"x": charts.rounded([(start + end) / 2])[0], "text": charts.plain(kind)}
        | {"textangle": -40 if end - start < 0.12 * whole else 0}
        for kind, start, end in runs
        if end - start > 0.01 * whole
    ]


def _trace(analysis: Analysis, arm: Arm) -> PowerTrace | None:
    if (samples := analysis.frames.rows("trace", [arm.cell]).get(arm.cell["run_id"])) is None:
        return None
    samples = samples.sort("sensor", "monotonic_s")
    power, busy = _power(samples), _busy(samples)
    series, quantity = (power, "power") if power else (busy, "busy CPUs")
    if not series:
        return None
    windows = analysis.frames.windows.filter(pl.col("run_id") == arm.cell["run_id"]).sort("window")
    begun = pl.concat([samples["monotonic_s"], windows["start_monotonic_s"]]).min()
    start = begun if isinstance(begun, float) else 0.0
    edges = windows.select("kind", "start_monotonic_s", "end_monotonic_s")
    return PowerTrace(
        label=f"{analysis.labels[arm.key]}: {arm.cell['tactic']}",
        quantity=quantity,
        series={name: (tuple(round(t - start, 3) for t in times), values) for name, (times, values) in series.items()},
        windows=tuple((kind, round(low - start, 3), round(high - start, 3)) for kind, low, high in edges.iter_rows()),
    )


def _power(samples: pl.DataFrame) -> Series:
    """Instant power where a sensor gives it, else the slope of its energy counter."""
    found: Series = {}
    for (sensor,), rows in samples.group_by("sensor", maintain_order=True):
        known = rows.drop_nulls("power_w")
        if known.height > 1:
            found[str(sensor)] = _thin(known["monotonic_s"].to_list(), known["power_w"].to_list())
        elif rows["counter_j"].drop_nulls().len() > 1:
            found[str(sensor)] = _slope(rows, "counter_j")
    return {name: values for name, values in found.items() if values[0]}


def _busy(samples: pl.DataFrame) -> Series:
    groups = samples.drop_nulls("cpu_seconds").group_by("sensor", maintain_order=True)
    return {str(sensor): _slope(rows, "cpu_seconds") for (sensor,), rows in groups if rows.height > 1}


def _slope(rows: pl.DataFrame, column: str) -> tuple[list[float], tuple[float, ...]]:
    """Differences over at least DIFFERENCE_S: counters move in steps, and shorter differences would show the steps."""
    times, values = [], []
    before: tuple[float, float] | None = None
    for moment, value in rows.drop_nulls(column).select("monotonic_s", column).iter_rows():
        if before is not None and moment - before[0] >= DIFFERENCE_S and value >= before[1]:
            times.append((moment + before[0]) / 2)
            values.append((value - before[1]) / (moment - before[0]))
        if before is None or moment - before[0] >= DIFFERENCE_S:
            before = (moment, value)
    return _thin(times, values)


def _thin(times: list[float], values: list[float]) -> tuple[list[float], tuple[float, ...]]:
    step = -(-len(times) // MAX_POINTS) or 1
    return times[::step], tuple(round(value, 2) for value in values[::step])
