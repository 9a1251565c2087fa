"""`greenray sweep` and `greenray plan`."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenray.errors import ConfigError

if TYPE_CHECKING:
    from greenray.config.spec import SweepConfig


def sweep(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", help="The config file; or use --model.")] = None,
    out: Annotated[str | None, typer.Option(help="The store to write or resume.  [default: results/NAME]")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to use, e.g. auto.  [default: a local Ray]")] = None,
    extend: Annotated[bool, typer.Option("--extend", help="Take over cells measured otherwise or elsewhere.")] = False,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Once through everything, as short as it goes.")] = False,
    model: Annotated[str | None, typer.Option(help="Sweep one model without a file: hub id, folder or e.g. vit-tiny.")] = None,
    dataset: Annotated[str | None, typer.Option(help="With --model: digits, hub id, folder or file.  [default: digits]")] = None,
    tactics: Annotated[str | None, typer.Option(help="With --model: a,b,c; chains as a+b.  [default: the device's]")] = None,
) -> None:
    """Run the matrix of a config, or go on with it; ends with the headline and the report."""
    from greenray.config.load import load

    if (config is None) == (model is None):
        raise ConfigError("give either a config file or --model; `greenray sweep --help` shows both.")
    loaded = load(config) if config is not None else one_model(model or "", dataset=dataset, tactics=tactics)
    if rehearse:
        from greenray.config.rehearsal import rehearsal

        loaded = rehearsal(loaded)

    from greenray.analysis import analyse
    from greenray.cli.progress import terminal_kept, watching
    from greenray.cli.report import present
    from greenray.driver.sweep import run_sweep
    from greenray.store import tables
    from greenray.store.registry import open_store

    store = open_store(out or f"results/{loaded.name}")
    tables.require_writable(store)  # before anything is written there, the log included
    with store.log_file(tables.DRIVER_LOG) as log, terminal_kept(log) as console:
        with watching(console, limits=loaded.limits) as watcher:
            failed = run_sweep(loaded, store=store, address=address, extend=extend, watcher=watcher)
        if tables.entries(store, table="cells"):
            present(analyse(store), console=console)
        else:
            console.print("nothing was measured, so there is no report", highlight=False)
        if failed is None:
            console.print("stopped; the same command goes on where it was", highlight=False)
        elif failed:
            many = "s" if failed > 1 else ""
            console.print(f"{failed} cell{many} failed; `greenray status {store.out}` lists them", highlight=False)
    sys.exit(130 if failed is None else int(failed > 0))


def plan(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The config file.")],
    out: Annotated[str | None, typer.Option(help="The store it would use.  [default: results/NAME]")] = None,
) -> None:
    """Show the cells of a config, what is done, and what the rest is expected to take; runs nothing."""
    from greenray.cli.console import make_console
    from greenray.cli.plan import print_plan
    from greenray.config.load import load
    from greenray.store.registry import open_store

    loaded = load(config)
    print_plan(loaded, store=open_store(out or f"results/{loaded.name}"), console=make_console())


def one_model(model: str, *, dataset: str | None, tactics: str | None) -> "SweepConfig":
    """The config that `--model` stands for: the default tactics of the device, or those named, on one model."""
    from greenray.config.load import build
    from greenray.tasks.registry import DEFAULT, task_class

    task = task_class(DEFAULT)
    named = {f"{architecture}-{preset}": (architecture, preset) for architecture, preset in task.presets}  # both may hold dashes
    fresh = named.get(model)
    spec: dict[str, Any] = {"id": model} if fresh is None else {"architecture": fresh[0], "preset": fresh[1]}
    names = [name.strip() for name in (tactics or "default").split(",")]
    chains = [name.split("+") if "+" in name else name for name in names]
    slug = re.sub(r"[^a-z0-9._-]+", "-", model.lower()).strip("-._") or "model"
    experiment = {"models": [spec], "datasets": [dataset or task.datasets[0]], "tactics": chains}
    experiment |= {"name": "serve", "phase": "inference"}
    name = slug if slug[0].isalpha() else f"m-{slug}"
    return build({"name": name[:64], "experiments": [experiment], "folder": str(Path.cwd())})
