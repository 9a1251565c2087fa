"""Predicting instead of measuring: short profiles and descriptors, each with the error that it made here."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from greenray.analysis.analyse import Analysis
from greenray.analysis.estimators import found, profiles
from greenray.analysis.estimators.found import Found
from greenray.analysis.estimators.intervals import LEVEL
from greenray.analysis.estimators.nested import Judged
from greenray.analysis.estimators.predicted import GroupJudged
from greenray.analysis.estimators.profiles import ProfileError
from greenray.analysis.papers import predicting
from greenray.analysis.papers.figures import MAVROMATIS
from greenray.analysis.wording import coefficient, relative_error
from greenray.report import charts
from greenray.report.document import Block, Bullets, Chart, Grid, Notes, Section, Text, grid, section, without_empty


def load(analysis: Analysis) -> Found | None:
    return found.find(analysis) if any(arm.ok for arm in analysis.arms) else None


def show(estimators: Found, analysis: Analysis) -> Section:
    explained = Text(
        "How far off a cheaper look would have been on these measurements. Errors are relative and absolute, of models: "
        "neither epochs nor windows count as cases. Families are left out whole, and no form is chosen by the error shown. "
        "R² and rank correlation are of log energy, predicted and measured."
    )
    blocks: list[Block | None] = [
        explained,
        Notes(items=tuple(estimators.notes)),
        Bullets(heading="What holds here", items=tuple(predicting.sentences(estimators))),
        Text(f"Held against {MAVROMATIS.cited}"),
        profile_table(estimators.profiles),
        profile_chart(estimators.profiles),
    ]
    for judged in estimators.judged:
        blocks += [
            descriptor_table(judged),
            Notes(items=left_out_said(judged)),
            Text(intervals_said(judged)),
            scatter(judged, analysis.unit),
        ]
    blocks += [others_table(estimators), reference_table()]
    return section("estimators", "Predicting instead of measuring", *blocks)


def profile_rows(errors: Sequence[ProfileError]) -> list[list[ProfileError]]:
    """The ways of each length, by phase and length."""
    rows: dict[tuple[str, str, int], list[ProfileError]] = {}
    for error in errors:
        rows.setdefault((error.phase, error.unit, error.first), []).append(error)
    return list(rows.values())


def profile_table(errors: Sequence[ProfileError]) -> Grid | None:
    if not errors:
        return None

    def of(way: str, row: Sequence[ProfileError]) -> str:
        return next((f"{relative_error(e.median)} ({relative_error(e.worst)})" for e in row if e.way == way), "")

    ways = dict.fromkeys(way for of_phase in profiles.WAYS.values() for way in of_phase)
    columns: dict[str, Callable[[list[ProfileError]], str]] = {
        "phase": lambda row: row[0].phase,
        "profile": lambda row: row[0].beginning.removeprefix("the "),
        "part of the whole": lambda row: f"{row[0].share * 100:.0f} %",
        **{f"by {way}": partial(of, way) for way in ways},
        "models": lambda row: str(row[0].models),
        "runs": lambda row: str(row[0].runs),
    }
    heading = "Short profiles: median (worst) error"
    return without_empty(grid(profile_rows(errors), columns, heading=heading, text=("phase", "profile")))


def profile_chart(errors: Sequence[ProfileError]) -> Chart | None:
    traces: list[charts.Figure] = []
    for phase, unit in (("training", "epoch"), ("inference", "window")):
        for way in profiles.WAYS[phase]:
            line = [e for e in errors if (e.phase, e.unit, e.way) == (phase, unit, way)]
            if line:
                place = len(traces)
                drawn = {"color": charts.colour(place)}
                marker = drawn | {"symbol": charts.shape(place), "size": 8}
                x, y = [float(e.first) for e in line], charts.rounded(e.median * 100 for e in line)
                name = f"{phase}, by {way}"
                traces.append(charts.scatter(name, x, y, mode="lines+markers", marker=marker, line=drawn))
    if not traces:
        return None
    layout = {
        "height": 380,
        "xaxis": {"title": {"text": "length of the profile, epochs or windows"}, "type": "log"},
        "yaxis": {"title": {"text": "median error, %"}, "rangemode": "tozero"},
    }
    return charts.chart("profiles", traces, layout, "How fast a prediction from the beginning of a run comes near the whole.")


def judged_columns() -> dict[str, Callable[[Judged], str]]:
    return {
        "estimator": lambda j: j.name,
        "median error": lambda j: relative_error(j.median) if j.errors else "",
        "worst error": lambda j: relative_error(j.worst) if j.errors else "",
        "R²": lambda j: coefficient(j.r2) if j.errors else "",
        "rank correlation": lambda j: coefficient(j.rank) if j.rank is not None else "",
        "models": lambda j: str(len(j.errors)) if j.errors else "",
        "chosen": chosen,
        "remark": lambda j: j.note,
    }


def chosen(judged: Judged) -> str:
    """How often each form was chosen, where there was a choice."""
    if len(judged.chosen) == 1 and judged.name in judged.chosen:
        return ""
    return ", ".join(f"{name} {times}×" for name, times in judged.chosen.most_common())


def descriptor_table(judged: GroupJudged) -> Grid:
    rows = [*judged.rows, *([judged.with_time] if judged.with_time is not None else [])]
    table = grid(rows, judged_columns(), heading=f"Descriptors: {judged.group}", text=("estimator", "chosen", "remark"))
    return without_empty(table)


def left_out_said(judged: GroupJudged) -> tuple[str, ...]:
    """Which models nothing is predicted of, or from; nothing where there are none."""
    if not judged.left_out:
        return ()
    return (f"Left out, for they lack descriptors that most models have: {', '.join(judged.left_out)}.",)


def intervals_said(judged: GroupJudged) -> str:
    """What the 90 % interval of an unmeasured model is worth here."""
    if judged.covered is None:
        why = next((found.note for found in judged.intervals.values() if found.note), judged.chosen.note)
        return f"No {LEVEL * 100:.0f} % interval for a model that was never measured: {why or 'too few model families'}."
    covered = judged.covered
    return (
        f"The {LEVEL * 100:.0f} % interval for a model that was never measured, made without its family, "
        f"held {covered.inside} of {covered.models} models ({covered.share * 100:.0f} %)."
    )


def scatter(judged: GroupJudged, unit: str) -> Chart | None:
    """Predicted against measured, out of fold, with intervals where there are any."""
    by_model = {point.model: point for point in judged.points}
    known = [(by_model[model], value) for model, value in judged.chosen.log_predicted.items()]
    if not known:
        return None
    traces = []
    for place, family in enumerate(sorted({point.family for point, _ in known})):
        members = [(point, value) for point, value in known if point.family == family]
        ends = [judged.intervals[point.model] for point, _ in members]
        sure = all(end.low is not None and end.high is not None for end in ends)
        trace = charts.scatter(
            family,
            charts.rounded(math.exp(point.log_energy or 0.0) for point, _ in members),
            charts.rounded(math.exp(value) for _, value in members),
            marker={"color": charts.colour(place), "symbol": charts.shape(place), "size": 9},
            text=[
                charts.plain(f"{point.model}: {relative_error(judged.chosen.errors[point.model])} off") for point, _ in members
            ],
            hoverinfo="text",
        )
        if sure:
            high = [math.exp(end.high or 0.0) - math.exp(value) for end, (_, value) in zip(ends, members, strict=True)]
            low = [math.exp(value) - math.exp(end.low or 0.0) for end, (_, value) in zip(ends, members, strict=True)]
            bars = {"array": charts.rounded(max(0.0, x) for x in high), "arrayminus": charts.rounded(max(0.0, x) for x in low)}
            trace["error_y"] = {"type": "data", "symmetric": False, "thickness": 1, "width": 3, **bars}
        traces.append(trace)
    ends_j = [math.exp(edge(point.log_energy or 0.0 for point, _ in known)) for edge in (min, max)]
    traces.append(
        charts.scatter(
            "as measured", charts.rounded(ends_j), charts.rounded(ends_j), mode="lines", line={"color": charts.BASELINE_COLOUR}
        )
    )
    axis = {"type": "log", "exponentformat": "power"}
    layout = {
        "height": 480,
        "xaxis": axis | {"title": {"text": f"measured, J per {unit}"}},
        "yaxis": axis | {"title": {"text": f"predicted without its family, J per {unit}"}},
    }
    caption = (
        f"Energy per {unit} in {judged.group.phase}, by descriptors; bars are 90 % intervals, where there are enough families."
    )
    return charts.chart(f"predicted-{judged.group.phase}", traces, layout, caption)


def others_table(estimators: Found) -> Grid | None:
    if not estimators.others:
        return None
    columns = {
        "group": lambda row: str(row[0]),
        "median error": lambda row: relative_error(row[1].median) if row[1].errors else "",
        "worst error": lambda row: relative_error(row[1].worst) if row[1].errors else "",
        "R²": lambda row: coefficient(row[1].r2) if row[1].errors else "",
        "models": lambda row: str(len(row[1].errors)) if row[1].errors else "",
        "remark": lambda row: row[1].note,
    }
    table = grid(estimators.others, columns, heading="Descriptors in the other groups", text=("group", "remark"), folded=True)
    return without_empty(table)


def reference_table() -> Grid:
    columns = {
        "reported by": lambda row: f"{row['name']} ({row['date']})",
        "predicts": lambda row: row["predicts"],
        "error": lambda row: row["figure"],
        "needs": lambda row: row["needs"],
        "comparable": lambda row: row["comparable"],
        "source": lambda row: row["source"],
    }
    return grid(found.reference_figures(), columns, heading="What others report", text=tuple(columns), folded=True)
