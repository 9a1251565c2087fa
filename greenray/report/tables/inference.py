"""What inference of each model costs at each batch size, by part."""

from greenray.analysis.analyse import Analysis
from greenray.report.tables.baselines import baselines, mean, modelled_share, of_cell, why_no_energy
from greenray.report.tables.table import IDENTITY, Table, figure, identity, table, text

MEASURED = (
    *("energy_j", "active_j", "gpu_energy_j", "cpu_energy_j", "dram_energy_j", "gpu_power_w", "cpu_power_w", "dram_power_w"),
    *("gpu_utilization", "time_s", "latency_p50_s", "latency_p95_s"),
)
CELL = ("peak_gpu_memory_bytes", "peak_host_memory_bytes", "accuracy")
COLUMNS = (*IDENTITY, "stage", *MEASURED, "samples_per_s", *CELL, "modelled_share", "grade", "cells", "reason")


def build(analysis: Analysis) -> Table:
    rows = []
    for arms in baselines(analysis):
        measured = {column: mean(arms, column) for column in MEASURED}
        rows.append(
            identity(arms[0], analysis.labels[arms[0].key])
            | measured
            | of_cell(arms, *CELL)
            | {
                "stage": arms[0].stage or None,
                "samples_per_s": 1 / measured["time_s"] if measured["time_s"] else None,
                "modelled_share": modelled_share(arms),
                "grade": max((arm.grade for arm in arms if arm.grade), default=None),
                "cells": len(arms),
                "reason": why_no_energy(arms),
            }
        )
    return table(
        rows,
        columns=COLUMNS,
        caption="Inference by batch size, without tactics: energy and time per sample.",
        printed={
            "model": text("model"),
            "device": text("device"),
            "batch": text("batch_size"),
            "energy, mJ": figure("energy_j", factor=1e3),
            "GPU, mJ": figure("gpu_energy_j", factor=1e3),
            "CPU, mJ": figure("cpu_energy_j", factor=1e3),
            "DRAM, mJ": figure("dram_energy_j", factor=1e3),
            "time, ms": figure("time_s", factor=1e3),
            "samples/s": figure("samples_per_s"),
            "grade": text("grade"),
        },
        text=("model", "device", "grade"),
    )
