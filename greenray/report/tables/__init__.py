"""The tables of a report as files: CSV for machines, LaTeX for papers, from the same analysis as the page.

A table is a file of this folder with one function, `build(analysis)`, which gives a Table; its files are called as its module.
To add one: its file, its line here, and its columns in `columns.csv`, which lies beside the tables wherever they are written. All
are written each time, those without rows too, so that none is from an earlier run.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module, resources
from pathlib import Path

from greenray.analysis.analyse import Analysis
from greenray.report.tables.table import Table
from greenray.report.tables.writers import as_csv, as_latex
from greenray.store.local import write_file

TABLES = (
    ".models",  # each model, and its baseline
    ".effects",  # every measure of a tactic on a model
    ".over_models",  # the same over models
    ".devices",  # the CPU and the CUDA arm of the same tactic
    ".training",  # each training run, by part
    ".learning_rates",  # training by learning rate and batch size
    ".inference",  # each model by batch size
    ".correlations",  # all pairs of what is known of models
    ".profiles",  # errors of short profiles
    ".estimators",  # errors of predicting models that were left out
)
DICTIONARY = "columns.csv"
"""What each column of each table means, and its unit."""
MODELLED = "Energies, or some of them, are estimated from CPU time."


def build(analysis: Analysis, tables: Sequence[str] = TABLES) -> dict[str, Table]:
    """Tables by the name of their files, without ending; each says where its energies were not measured."""
    found = {name.rsplit(".", 1)[-1]: import_module(name, __name__).build(analysis) for name in tables}
    if any(part.modelled for arm in analysis.arms for part in arm.parts):
        found = {name: replace(table, caption=f"{table.caption} {MODELLED}") for name, table in found.items()}
    return found


def write(analysis: Analysis, folder: Path) -> list[Path]:
    """Write NAME.csv and NAME.tex of every table, and what their columns mean, into a folder, which is made; whatever else lies
    there is left alone.

    Each file is replaced as a whole. Raises StoreError where one cannot be written.
    """
    meanings = resources.files(__name__).joinpath(DICTIONARY).read_bytes()
    write_file(folder / DICTIONARY, meanings)
    written = [folder / DICTIONARY]
    for name, table in build(analysis).items():
        for ending, text in ((".csv", as_csv(table)), (".tex", as_latex(table, label=name))):
            file = folder / f"{name}{ending}"
            write_file(file, text.encode())
            written.append(file)
    return written
