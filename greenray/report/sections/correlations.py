"""Which measurements and descriptors of models go together: a picture of all pairs, and those that matter with intervals."""

from collections.abc import Callable, Sequence

from greenray.analysis.analyse import Analysis
from greenray.analysis.association import MIN_UNITS_FOR_TEST, Correlation
from greenray.analysis.correlations import DESCRIPTORS, ENERGY, TRAINING_ENERGY, Matrix, Pair, matrices
from greenray.analysis.papers import correlating
from greenray.analysis.papers.figures import MAVROMATIS
from greenray.analysis.wording import UNKNOWN, coefficient, count, p_value
from greenray.report import charts
from greenray.report.document import Bullets, Chart, Notes, Section, Text, grid, section, without_empty

STRONGEST = 10
SCALE = ((0.0, "#B2182B"), (0.5, "#F7F7F7"), (1.0, "#2166AC"))
UNCLEAR = "#BDBDBD"


def load(analysis: Analysis) -> list[Matrix] | None:
    return matrices(analysis.arms, analysis.training) or None


def show(found: list[Matrix], analysis: Analysis) -> Section:
    matrix = found[0]
    place = f"{matrix.hardware} ({matrix.device}), counting {matrix.scope}"
    batch = f", batch {matrix.batch_size}" if matrix.batch_size else ""
    said = (
        f"The units are models, baselines on {place}{batch}{f', stage {matrix.stage}' if matrix.stage else ''}: "
        f"{count(matrix.models, 'model')} of {count(len(matrix.units), 'family')}, and a family counts once (n). Quantities are "
        "compared by their logarithms, shares as they are. Energy and time are per sample."
    )
    if matrix.training:
        said += f" Training is with batches of {matrix.training_batch}, {matrix.training}."
    if matrix.modelled:
        said += " Energies, or some of them, are estimated from CPU time: they follow time by how they were made."
    if len(found) > 1:
        said += f" Other groups of baselines (hardware, batch sizes) are in the tables, {len(found) - 1} of them (--tables)."
    columns = {
        "quantities": lambda p: f"{p.x.label}, {p.y.label}",
        "n": lambda p: str(p.found["Pearson"].n),
        "Pearson r (95 % interval)": lambda p: told(p.found["Pearson"]),
        "Spearman r (95 % interval)": lambda p: told(p.found["Spearman"]),
        "p of Pearson (Holm)": lambda p: p_value(p.found["Pearson"].p_holm),
        "p of Spearman (Holm)": lambda p: p_value(p.found["Spearman"].p_holm),
    }
    rows = [*_predictors(matrix), *strongest(matrix)]
    table = without_empty(grid(rows, columns, text=("quantities",), heading="Descriptors and energy, then the strongest others"))
    held = tuple(correlating.sentence(one, MAVROMATIS) for one in correlating.hold(MAVROMATIS.claims, matrix))
    against = (Bullets(heading="Held against the paper", items=held), Text(MAVROMATIS.cited)) if held else ()
    tested = f"p is adjusted over all {len(matrix.pairs)} pairs of the matrix, from {MIN_UNITS_FOR_TEST} families on."
    pooled = Notes(items=pooling(matrix))
    return section("correlations", "What goes together", Text(said), pooled, *against, chart(matrix), table, Text(tested))


def told(found: Correlation) -> str:
    """0.81 (0.46 to 0.94)"""
    if found.r is None:
        return f"{UNKNOWN}: {found.why}"
    ends = "no interval" if found.low is None or found.high is None else f"{coefficient(found.low)} to {coefficient(found.high)}"
    return f"{coefficient(found.r)} ({ends})"


def pooling(matrix: Matrix) -> tuple[str, ...]:
    """What becomes of the interval when rows of epochs are taken for independent."""
    if (pooled := matrix.pooled) is None:
        return ()
    return (
        f"Epochs are not models: {pooled.rows:,} epochs taken for independent would have claimed r {told(pooled.claimed)} of "
        f"MACs and training energy; over models it is {told(pooled.models)}, n = {pooled.models.n}.",
    )


def strongest(matrix: Matrix) -> list[Pair]:
    """Pairs that are clear, surest first, without those of descriptors and energy; what follows from its definition too."""
    shown = _predictors(matrix)
    clear = [p for p in matrix.pairs if p.found["Pearson"].clear and p not in shown]
    return sorted(clear, key=lambda p: -_surely(p.found["Pearson"]))[:STRONGEST]


def _surely(found: Correlation) -> float:
    """The least that it is, by its interval."""
    return 1.0 if found.low is None or found.high is None else min(abs(found.low), abs(found.high))


def _predictors(matrix: Matrix) -> list[Pair]:
    energies = (ENERGY, TRAINING_ENERGY)
    return [pair for energy in energies for name in DESCRIPTORS if (pair := matrix.pair(energy, name)) is not None]


def chart(matrix: Matrix) -> Chart:
    """Pearson below the diagonal, Spearman above; grey where the interval holds 0 or there is none."""
    known = [pair for pair in matrix.pairs if any(one.r is not None for one in pair.found.values())]
    shown = [one for one in matrix.quantities if any(one in (pair.x, pair.y) for pair in known)]  # others never vary
    labels, places = [quantity.label for quantity in shown], {quantity.name: place for place, quantity in enumerate(shown)}
    cells: dict[tuple[int, int], Correlation] = {}
    for pair in known:
        first, second = sorted((places[pair.x.name], places[pair.y.name]))
        cells[second, first], cells[first, second] = pair.found["Pearson"], pair.found["Spearman"]
    clear = {place for place, found in cells.items() if found.clear}
    unclear = {place for place, found in cells.items() if found.r is not None} - clear
    traces = [
        _heat(cells, unclear, labels, colorscale=[[0, UNCLEAR], [1, UNCLEAR]], showscale=False),
        _heat(
            cells, clear, labels, colorscale=[list(stop) for stop in SCALE], colorbar={"title": {"text": "r"}, "thickness": 14}
        ),
    ]
    layout = {
        "height": 140 + 38 * len(labels),
        "xaxis": {"type": "category", "categoryarray": labels, "tickangle": -45, "showgrid": False},
        "yaxis": {"type": "category", "categoryarray": labels, "autorange": "reversed", "showgrid": False},
    }
    caption = (
        "Correlations over families of models: Pearson below the diagonal, Spearman above it. Grey cells are not clear: their "
        "95 % interval holds 0, or they have neither interval nor test."
    )
    return charts.chart("correlations", traces, layout, caption)


def _heat(
    cells: dict[tuple[int, int], Correlation], shown: set[tuple[int, int]], labels: Sequence[str], **style: object
) -> charts.Figure:
    size = range(len(labels))

    def table(say: Callable[[Correlation], object]) -> list[list[object]]:
        return [[say(cells[row, column]) if (row, column) in shown else None for column in size] for row in size]

    return {
        "type": "heatmap",
        "x": list(labels),
        "y": list(labels),
        "z": table(lambda found: charts.rounded([found.r or 0.0])[0]),
        "text": [[said or "" for said in row] for row in table(lambda found: coefficient(found.r or 0.0))],
        "customdata": table(lambda found: f"{found.method} r {told(found)}, n = {found.n}"),
        "texttemplate": "%{text}",
        "textfont": {"size": 11},
        "hovertemplate": "%{y}, %{x}<br>%{customdata}<extra></extra>",
        "hoverongaps": False,
        "zmin": -1,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        **style,
    }
