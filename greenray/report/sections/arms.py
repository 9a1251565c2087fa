"""Which saving is real: a tactic on the CPU, on CUDA and by the GPU's meter alone; sizes and zeros that promise too much."""

from collections.abc import Sequence
from dataclasses import dataclass

from greenray.analysis import applied, artefacts, devices, devices_told
from greenray.analysis.analyse import Analysis
from greenray.analysis.artefacts import Size, Zeros
from greenray.analysis.devices import GpuOnly, Side, SideBySide
from greenray.analysis.papers import tactics
from greenray.analysis.papers.claim import Held
from greenray.analysis.papers.figures import GONZALEZ
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import UNKNOWN, count, percent_change, quantity, signed
from greenray.report.document import Block, Bullets, Grid, Section, Text, grid, section, without_empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    rows: Sequence[SideBySide]
    sizes: Sequence[Size]
    zeros: Sequence[Zeros]
    held: Sequence[Held]


def load(analysis: Analysis) -> Shown | None:
    if not analysis.findings:
        return None
    effects = [finding.effect for finding in analysis.findings]
    rows = devices.side_by_side(analysis.arms, effects)
    sizes = artefacts.sizes(analysis.arms)
    held = tactics.hold(GONZALEZ.claims, analysis.overall, analysis.findings, rows)
    return Shown(rows=rows, sizes=sizes, zeros=artefacts.zeros(analysis.findings), held=held)


def show(shown: Shown, analysis: Analysis) -> Section:
    rows = shown.rows
    modelled = any(side.effect.modelled for row in rows for side in row.sides)
    said = (
        *devices_told.gpu_only_sentences(rows),
        *devices_told.across_sentences(rows),
        *devices_told.missing_sentences(rows, analysis.arms),
    )
    return section(
        "arms",
        "Arms and artefacts",
        Text(_what_there_is(rows) + (" Energies, or some of them, are estimated from CPU time." if modelled else "")),
        Bullets(items=said),
        *_side_by_side(rows),
        Bullets(heading="Size", items=tuple(artefacts.size_sentences(shown.sizes))),
        _sizes(shown.sizes),
        Bullets(heading="Pruning", items=tuple(artefacts.zero_sentences(shown.zeros))),
        _zeros(shown.zeros),
        *_claims(shown.held),
    )


def _what_there_is(rows: Sequence[SideBySide]) -> str:
    on_cpu, on_cuda = any(row.cpu for row in rows), any(row.cuda for row in rows)
    boards = any(side.gpu.energy is not None for row in rows for side in row.sides)
    if any(row.cpu and (row.cuda or row.across) for row in rows):
        both = any(row.cpu and row.cuda for row in rows)
        which = "The same tactic on both devices" if both else "A tactic on the CPU beside the baseline on CUDA"
        return (
            f"{which}. What is paid for is the whole scope. The GPU's meter alone counts an idle board for as long as the CPU "
            "works beside it, so work that leaves the board, or ends sooner, looks like a saving."
        )
    if on_cpu and on_cuda:
        return "No tactic was measured on the CPU and on CUDA with the same model: there is nothing to put side by side."
    if not rows:
        return "No tactic was compared with its baseline, so there are no arms to put side by side."
    there, missing = ("CPU", "CUDA") if on_cpu else ("CUDA", "CPU")
    meter = "" if boards else ", and no board whose meter could be taken for the whole"
    return f"Only the {there} arm was measured; its energies stand above. There is no {missing} arm to put beside it{meter}."


def _side_by_side(rows: Sequence[SideBySide]) -> list[Block]:
    """The tables, where there is more to see than the energies of one device."""
    if not any(side.gpu.energy for row in rows for side in row.sides) and not any(row.cpu and row.cuda for row in rows):
        return []
    names = {"model": lambda r: r.label, "tactic": lambda r: applied.marked(r.tactic, hardly=r.hardly)}
    within = grid(
        rows,
        {
            **names,
            "CPU, whole": lambda r: _whole(r.cpu),
            "CPU, GPU alone": lambda r: _gpu(r.cpu),
            "board's power meanwhile": lambda r: "" if r.cpu is None else _power(r.cpu.gpu),
            "CUDA, whole": lambda r: _whole(r.cuda),
            "CUDA, GPU alone": lambda r: _gpu(r.cuda),
        },
        heading="Energy on the CPU and on CUDA, of the whole and of the GPU alone",
    )
    note = Text(
        "Against the baseline of the same device, within visits. GPU alone is what the board's meter says of the same arm."
    )
    blocks: list[Block] = [without_empty(within), note]
    if alone := [row for row in rows if row.cuda is None and (row.across or row.across_gpu)]:
        across = grid(
            alone,
            {**names, "whole": lambda r: _change(r.across), "GPU alone": lambda r: _change(r.across_gpu)},
            heading="Tactics without an arm on CUDA: on the CPU against the baseline on CUDA",
        )
        blocks += [without_empty(across), Text("Round by round; the whole only where both count the same parts.")]
    return blocks


def _whole(side: Side | None) -> str:
    return "" if side is None else percent_change(side.effect.energy)


def _gpu(side: Side | None) -> str:
    return "" if side is None else _change(side.gpu.energy)


def _change(estimate: Estimate | None) -> str:
    return "" if estimate is None else percent_change(estimate)


def _power(gpu: GpuOnly) -> str:
    if gpu.power_w is None:
        return ""
    return quantity(gpu.power_w, "W") + ("" if gpu.idle_w is None else f", {quantity(gpu.idle_w, 'W')} idle")


def _sizes(sizes: Sequence[Size]) -> Grid | None:
    if not sizes:
        return None
    table = grid(
        sizes,
        {
            "model": lambda s: s.label,
            "tactic": lambda s: applied.marked(s.tactic, hardly=s.hardly),
            "baseline": lambda s: quantity(s.baseline_bytes, "B"),
            "serialised": lambda s: quantity(s.tactic_bytes, "B"),
            "change": lambda s: f"{signed(100 * s.change, decimals=1)} %",
            "by parameters() alone": lambda s: _share(s.naive_change),
            "at most, by bits": lambda s: "" if s.most is None else _share(-s.most),
        },
        heading="Size, serialised and by parameters() alone",
    )
    return without_empty(table)


def _share(change: float | None) -> str:
    return UNKNOWN if change is None else f"{signed(100 * change, decimals=1)} %"


def _zeros(zeros: Sequence[Zeros]) -> Grid | None:
    if not zeros:
        return None
    return grid(
        zeros,
        {
            "model": lambda z: z.label,
            "tactic": lambda z: applied.named(z.effect),
            "weights that are zero": lambda z: "" if z.zeros is None else f"{100 * z.zeros:.1f} %",
            "kernels": lambda z: z.kernel,
            "time": lambda z: percent_change(z.effect.time),
            "energy": lambda z: percent_change(z.effect.energy),
        },
        text=("model", "tactic", "kernels"),
        heading="Zeros, kernels and what they change",
    )


def _claims(held: Sequence[Held]) -> list[Block]:
    if not held:
        return []
    table = grid(
        held,
        {
            "tactic": lambda h: h.claim.subject,
            "what": lambda h: tactics.LABELS[h.claim.measure],
            "the paper": lambda h: h.claim.words,
            "these data": lambda h: percent_change(h.ratio),
            "over": lambda h: f"{count(h.families, 'family')}, {h.where}" if h.families else h.where,
            "the claim": lambda h: h.told,
        },
        text=("tactic", "what", "the paper", "over", "the claim"),
        heading="What the paper found, and what these data say",
    )
    note = Text(
        f"{GONZALEZ.cited} A figure is taken to hold between half and "
        'twice as large (by logarithms), a direction from the first difference on, and "not less" where under 5 % is saved. A '
        "claim holds where the whole 95 % interval says so, it does not hold where none of it does, else it cannot be told."
    )
    return [table, note]
