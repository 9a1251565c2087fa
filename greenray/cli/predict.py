"""`greenray predict`: what a measurement would say, by those that were made, and how far off such predictions were."""

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenray.errors import ConfigError, GreenRayError, ResourceError, StoreError, UserError, first_line

if TYPE_CHECKING:
    from rich.console import Console

    from greenray.analysis import Analysis
    from greenray.analysis.estimators.points import Group, Point

J_PER_WH = 3600.0
_SAMPLES = 1000


def predict(
    out: Annotated[str, typer.Argument(metavar="OUT", help="The store: the OUT folder of a sweep.")],
    model: Annotated[str | None, typer.Option(help="A model to predict: hub id, folder or e.g. vit-tiny.")] = None,
    dataset: Annotated[str | None, typer.Option(help="With --model: the data it runs on.  [default: as measured most]")] = None,
    tactic: Annotated[str | None, typer.Option(help="With --model: also under this tactic; chains as a+b.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="With --model: samples in a batch.  [default: as measured most]")] = None,
    device: Annotated[str | None, typer.Option(help="With --model: cpu or cuda.  [default: as measured most]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Predict energy by what was measured: a model never run, or how far off short profiles and descriptors are."""
    if model is None and any(given is not None for given in (dataset, tactic, batch_size, device)):
        raise ConfigError("--dataset, --tactic, --batch-size and --device describe the model to predict: give --model too.")

    from greenray.analysis import analyse
    from greenray.cli.console import make_console
    from greenray.store.registry import open_store

    analysis = analyse(open_store(out))
    if not any(arm.ok for arm in analysis.arms):
        raise StoreError(f"{out}: no cell was measured there yet, so there is nothing to predict from; run its sweep first.")
    console = make_console()
    if model is None:
        said = _estimators(analysis, console=None if as_json else console)
    else:
        asked = {"dataset": dataset, "batch_size": batch_size, "device": device}
        said = _one(analysis, model, tactic=tactic, asked=asked, out=out, console=None if as_json else console)
    if as_json:
        typer.echo(json.dumps(_plain(said), indent=2, allow_nan=False))


def _estimators(analysis: "Analysis", *, console: "Console | None") -> dict[str, Any]:
    """The table of estimators; returns what JSON says."""
    from greenray.analysis.estimators.found import find, reference_figures
    from greenray.analysis.papers import predicting
    from greenray.cli.console import table
    from greenray.cli.report import say
    from greenray.report.sections import estimators as shown

    found = find(analysis)
    sentences = predicting.sentences(found)
    if console is not None:
        grids = [shown.profile_table(found.profiles), *map(shown.descriptor_table, found.judged)]
        for grid in (*grids, shown.others_table(found)):
            if grid is not None:
                say(f"\n{grid.heading}:", console)
                console.print(table(*grid.columns, rows=grid.rows, width=console.width), markup=False)
        for judged in found.judged:
            for sentence in (shown.intervals_said(judged), *shown.left_out_said(judged)):
                say(f"\n{judged.group.phase}: {sentence}", console)
        say("\nWhat others report:", console)
        for row in reference_figures():
            about = f"{row['predicts']}: {row['figure']}, from {row['needs']}; comparable {row['comparable']}"
            say(f"- {row['name']} ({row['date']}), {about} ({row['source']})", console)
        say("\nWhat holds here:", console)
        for sentence in (*sentences, *found.notes):
            say(f"- {sentence}", console)
    return {
        "profiles": [dataclasses.asdict(error) for error in found.profiles],
        "descriptors": [
            {
                "group": judged.group._asdict(),
                "left_out": judged.left_out,
                "modelled": judged.modelled,
                "estimators": [_judged(one) for one in judged.rows],
                "with_measured_time": None if judged.with_time is None else _judged(judged.with_time),
                "coverage": None if judged.covered is None else dataclasses.asdict(judged.covered),
            }
            for judged in found.judged
        ],
        "other_groups": [{"group": group._asdict(), "chosen": _judged(judged)} for group, judged in found.others],
        "claims": sentences,
        "notes": found.notes,
        "modelled": found.modelled,
        "reference_figures": reference_figures(),
    }


def _judged(judged: Any) -> dict[str, Any]:
    fields = {name: getattr(judged, name) for name in ("name", "median", "worst", "r2", "rank", "families", "note")}
    return fields | {"models": len(judged.errors), "chosen": dict(judged.chosen)}


def _one(
    analysis: "Analysis", model: str, *, tactic: str | None, asked: Mapping[str, Any], out: str, console: "Console | None"
) -> dict[str, Any]:
    """One model; returns what JSON says. Raises UserError where it, or what it asks for, is not there."""
    from greenray.analysis.effects import NULL_CHECK
    from greenray.analysis.estimators.points import groups
    from greenray.analysis.estimators.predicted import NEEDED, judge_group, predict, under_tactic
    from greenray.analysis.overall import overall_effects

    measured = {group: points for group, points in groups(analysis.arms).items() if group.phase == "inference"}
    if not measured:
        raise StoreError(
            f"{out}: no baseline of inference has known energy there, which predictions rest on; measure some first."
        )
    known = sorted({finding.tactic for finding in analysis.findings} - {NULL_CHECK})
    if tactic is not None and tactic not in known:
        raise ConfigError(f"--tactic: {tactic!r} was not measured in {out}; there are {', '.join(known) or 'none'}.")
    group = _choose(measured, asked)
    judged = judge_group(group, measured[group])
    new = _described(model, group=group, measured=judged.points)
    found = predict(new, judged.points)
    if found is None:
        others = len({point.family for point in judged.points} - {new.family})
        few = f"{others} model families besides that of {model} were measured there, too few to predict it"
        raise StoreError(f"{out}: {few}: {NEEDED} are needed ({group}).")
    of_tactic = None
    if tactic is not None:
        strange = (finding for finding in analysis.findings if finding.effect.subject.model_family != new.family)
        alike = (one for one in overall_effects(strange) if all(getattr(one.group, n) == getattr(group, n) for n in _SHARED))
        of_tactic = under_tactic(tactic, found, [effect for effect in alike if effect.tactic == tactic])
    if console is not None:
        _say_one(console, model, judged, found, of_tactic, unit=analysis.unit)
    return {
        "model": model,
        "family": new.family,
        "group": group._asdict(),
        "descriptors": {name: math.exp(value) for name, value in new.logs.items()},
        "prediction": dataclasses.asdict(found),
        "coverage": None if judged.covered is None else dataclasses.asdict(judged.covered),
        "median_error": judged.chosen.median,
        "tactic": None if of_tactic is None else dataclasses.asdict(of_tactic),
        "modelled": judged.modelled,
    }


_SHARED = ("phase", "task", "device", "hardware", "scope", "batch_size", "stage")


def _choose(measured: Mapping["Group", Sequence["Point"]], asked: Mapping[str, Any]) -> "Group":
    """The largest group that is as asked; raises ConfigError that says what there is."""
    for name, value in asked.items():
        there = sorted({getattr(group, name) for group in measured})
        if value is not None and value not in there:
            option, known = f"--{name.replace('_', '-')}", ", ".join(map(str, there))
            raise ConfigError(f"{option}: nothing was measured with {value}, so it predicts nothing there; there is {known}.")
    fitting = [group for group in measured if all(value in (None, getattr(group, name)) for name, value in asked.items())]
    if not fitting:
        raise ConfigError("dataset, batch size and device were measured, and not together; leave one of the options out.")
    return fitting[0]


def _described(model: str, *, group: "Group", measured: Sequence["Point"]) -> "Point":
    """The model as a point: as it was measured, or by its skeleton, without weights; raises UserError where there is none."""
    from greenray.analysis.estimators.points import Point, descriptor_logs
    from greenray.cli.sweep import one_model
    from greenray.config.matrix import expand

    if (known := next((point for point in measured if point.model == model), None)) is not None:
        return known
    (block, *_) = expand(one_model(model, dataset=group.dataset, tactics="baseline"), auto_device=group.device)
    cell = block.cells[0]
    family, descriptors = _skeleton(cell, task=group.task, batch_size=group.batch_size)
    return Point(model=model, family=family, logs=descriptor_logs(descriptors), log_energy=None)


def _skeleton(cell: Any, *, task: str, batch_size: int) -> tuple[str, dict[str, float | None]]:
    """Family and descriptors of a cell's model, on the meta device: what the cell itself would tell, before it runs."""
    from greenray.cell.descriptors import traffic_per_sample
    from greenray.cell.footprint import operations_per_sample, parameters
    from greenray.config.settings import Trust
    from greenray.tasks.base import Job
    from greenray.tasks.registry import task_class

    dataset = cell.dataset.model_copy(update={"samples": 1})  # one is enough for its shape
    job = Job(model=cell.model, dataset=dataset, batch_size=1, device="cpu", training=False, trust=Trust())
    made = task_class(task)(job)
    trusted = Trust(pickle=(cell.model.id,))  # weights are not looked at, so it does not matter how they are stored
    for noisy in ("torchao", "torch.utils._pytree"):  # what their imports warn of concerns nobody here
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if cell.model.source == "hub":
        made.check_model(cell.model, trust=trusted)
    try:
        made.prepare()
        skeleton, one = made.skeleton()
        macs, _ = operations_per_sample(skeleton, one)
        traffic = traffic_per_sample(skeleton, one, batch_size=batch_size)
    except UserError:
        raise
    except GreenRayError as error:
        made.check_model(cell.model, trust=trusted)  # which may know better why
        raise ResourceError(f"{error}") from error
    except Exception as error:  # any model's own code runs here, and not all of it runs on the meta device
        raise ResourceError(f"model {cell.model.label} cannot be looked at without running it: {first_line(error)}") from error
    activations, moved = traffic
    found = {"parameters": float(parameters(skeleton)), "MACs": macs, "activations": activations, "bytes moved": moved}
    return made.family or cell.model.label, dict(found)


def _say_one(console: "Console", model: str, judged: Any, found: Any, of_tactic: Any, *, unit: str) -> None:
    """The prediction in plain sentences."""
    from greenray.analysis import applied, stats
    from greenray.analysis.estimators.found import MODELLED
    from greenray.analysis.wording import percent_change, plural, relative_error
    from greenray.cli.report import say
    from greenray.report.sections.estimators import intervals_said

    per = f"1,000 {plural(unit)}"
    say(f"{model}, {judged.group}:", console)
    say(f"- baseline, predicted: {_amount(found.energy_j, found.low_j, found.high_j)} per {per}", console)
    if found.note:
        say(f"- no interval: {found.note}", console)
    if found.measured_j is not None:
        off = abs(found.energy_j / found.measured_j - 1)
        say(
            f"- it was measured already: {_amount(found.measured_j)} per {per}; the prediction is {relative_error(off)} off",
            console,
        )
    say(f"- by the {found.form}, fitted to {found.models} models of {found.families} other families", console)
    if judged.chosen.median is not None:
        usual, worst = (relative_error(error) for error in (judged.chosen.median, judged.chosen.worst))
        say(f"- such predictions were {usual} off in the median, {worst} at worst", console)
    say(f"- {intervals_said(judged)}", console)
    for text in found.outside:
        say(f"- extrapolated: {text}", console)
    if of_tactic is not None and of_tactic.ratio is None:
        say(f"- under {of_tactic.tactic}: unknown, {of_tactic.note}", console)
    elif of_tactic is not None:
        ratio = stats.Estimate(ratio=of_tactic.ratio, low=of_tactic.low, high=of_tactic.high, basis="")
        few = f"; {applied.MARK} to {of_tactic.hardly} of {of_tactic.models} models" if of_tactic.hardly else ""
        over = f"over {of_tactic.families} families; 90 % interval for one more{few}"
        say(f"- {of_tactic.tactic}: {percent_change(ratio)} {over}", console)
        amount = _amount(of_tactic.energy_j, of_tactic.low_j, of_tactic.high_j)
        say(f"- under {of_tactic.tactic}, predicted: {amount} per {per}", console)
        if of_tactic.note:
            say(f"- {of_tactic.tactic}: {of_tactic.note}", console)
    if judged.modelled:
        say(f"- {MODELLED}", console)


def _amount(energy_j: float, low_j: float | None = None, high_j: float | None = None) -> str:
    """Joules and watt-hours per 1,000 samples, with the 90 % interval where there is one."""
    from greenray.analysis.wording import quantity

    def span(factor: float, shown: str) -> str:
        if low_j is None or high_j is None:
            return quantity(energy_j * factor, shown)
        ends = f"{quantity(low_j * factor, shown)} to {quantity(high_j * factor, shown)}"
        return f"{quantity(energy_j * factor, shown)} ({ends})"

    return f"{span(_SAMPLES, 'J')} = {span(_SAMPLES / J_PER_WH, 'Wh')}"


def _plain(value: Any) -> Any:
    """What JSON can hold: what is not finite is unknown."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(of) for key, of in value.items()}
    return [_plain(of) for of in value] if isinstance(value, list | tuple) else value
