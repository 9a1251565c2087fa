"""The models that were measured, and what each costs without any tactic."""

from greenray.analysis.analyse import Analysis
from greenray.report.tables.baselines import baselines, mean, modelled_share, of_cell, why_no_energy
from greenray.report.tables.table import IDENTITY, Table, figure, identity, table, text, with_interval

DESCRIPTORS = (
    *("parameters", "macs_per_sample", "flops_per_sample", "activations_per_sample", "bytes_moved_per_sample", "size_bytes"),
    *("dataset_split", "quality_measure", "accuracy", "accuracy_low", "accuracy_high", "samples_evaluated"),
)
COLUMNS = (*IDENTITY, "stage", *DESCRIPTORS, "energy_j", "time_s", "modelled_share", "cells", "reason")


def build(analysis: Analysis) -> Table:
    rows = [
        identity(arms[0], analysis.labels[arms[0].key])
        | of_cell(arms, *DESCRIPTORS)
        | {
            "stage": arms[0].stage or None,
            "energy_j": mean(arms, "energy_j"),
            "time_s": mean(arms, "time_s"),
            "modelled_share": modelled_share(arms),
            "cells": len(arms),
            "reason": why_no_energy(arms),
        }
        for arms in baselines(analysis)
    ]
    return table(
        rows,
        columns=COLUMNS,
        caption="The models and their baselines: means over rounds, energy and time per sample.",
        printed={
            "model": text("label"),
            "family": text("model_family"),
            "dataset": text("dataset"),
            "parameters, M": figure("parameters", factor=1e-6),
            "MACs, M": figure("macs_per_sample", factor=1e-6),
            "size, MB": figure("size_bytes", factor=1e-6),
            analysis.measure: with_interval("accuracy"),
            "energy, mJ": figure("energy_j", factor=1e3),
            "time, ms": figure("time_s", factor=1e3),
        },
        text=("model", "family", "dataset"),
    )
