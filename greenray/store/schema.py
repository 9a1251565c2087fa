"""The one place that says which tables, columns, types and units the store holds.

Columns are added, never retyped; a reader passes these schemas, so that old files and new ones scan together.
`sweep` and `tactic` are path keys only (in path and file both, pandas and pyarrow refuse to read).
"""

from typing import NamedTuple

import pyarrow as pa

SCHEMA_VERSION = 1
PARTITION_KEYS = ("sweep", "tactic")
STATUSES = ("ok", "not_applied", "unsupported", "oom", "timeout", "crashed", "failed")
WINDOW_KINDS = ("data", "load", "idle", "optimize", "warmup", "steady", "evaluate", "epoch")

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TEXTS = pa.list_(pa.string())
_TIME = pa.timestamp("us", tz="UTC")


class Column(NamedTuple):
    """One column of the data dictionary; `unit` is '' where there is none."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str


_KEYS = (
    Column("cell_id", _TEXT, "", "identity of the cell: c1- and 16 hex digits of a hash over what it declares"),
    Column("run_id", _TEXT, "", "uuid of this attempt's process; tables join on it"),
    Column("attempt", _INT, "", "attempts of a cell count from 1"),
)

CELLS = (
    *_KEYS,
    Column("block_id", _TEXT, "", "the cells to be compared with each other: one model, dataset, batch size, device and round"),
    Column("visit", _INT, "", "number of the uninterrupted pass over the block in which the attempt ran; NULL for plain cells"),
    Column("bracket", _TEXT, "", "open or close for the two baselines of a visit, else NULL"),
    Column("order_in_visit", _INT, "", "position within the visit, from 0; NULL for plain cells"),
    Column("round", _INT, "", "repetition of the whole block, from 1"),
    Column("status", _TEXT, "", "one of " + ", ".join(STATUSES)),
    Column("error", _TEXT, "", "what went wrong, in a sentence; NULL when ok"),
    Column("error_kind", _TEXT, "", "dependency, refused, exception, signal, deadline, memory, worker, or NULL when ok"),
    Column("experiment", _TEXT, "", "name of the experiment that declared the cell"),
    Column("phase", _TEXT, "", "training or inference"),
    Column("task", _TEXT, "", "for example image-classification"),
    Column("model", _TEXT, "", "hub id, folder, architecture-preset, or for a trained checkpoint the model that was trained"),
    Column("model_source", _TEXT, "", "hub, folder, config, or from:<training cell id>"),
    Column("model_revision", _TEXT, "", "declared revision; NULL when none was"),
    Column("model_family", _TEXT, "", "model_type of the configuration: near-duplicate checkpoints share it"),
    Column("dataset", _TEXT, "", "dataset id or folder"),
    Column("dataset_split", _TEXT, "", "split that was measured and evaluated"),
    Column("batch_size", _INT, "", "samples in a batch"),
    Column("hyperparameters", _TEXT, "", "JSON of what training was told (epochs, learning rate, ...); NULL for inference"),
    Column("device", _TEXT, "", "cpu or cuda"),
    Column("dtype", _TEXT, "", "type of the model's floating-point parameters when it ran"),
    Column("attention", _TEXT, "", "attention implementation; NULL for models without attention"),
    Column("num_threads", _INT, "", "intra-op threads of the cell's process"),
    Column("settings", _TEXT, "", "JSON of the switches that were set (TF32, cudnn.benchmark, inference_mode, ...)"),
    Column("tactic_params", _TEXT, "", "JSON of the tactic chain with every parameter"),
    Column("evidence", _TEXT, "", "JSON of what shows that the tactic was applied"),
    Column("host", _TEXT, "", "name of the host"),
    Column("cpu_name", _TEXT, "", "processor model"),
    Column("gpu_uuid", _TEXT, "", "UUID of the worker's board; NULL on a host without one"),
    Column("gpu_name", _TEXT, "", "name of that board"),
    Column("power_limit_w", _FLOAT, "W", "enforced power limit of that board"),
    Column("driver_version", _TEXT, "", "NVIDIA driver"),
    Column("python_version", _TEXT, "", "Python"),
    Column("torch_version", _TEXT, "", "torch"),
    Column("transformers_version", _TEXT, "", "transformers"),
    Column("greenray_version", _TEXT, "", "GreenRay"),
    Column("started_at", _TIME, "UTC", "wall clock at the start of the attempt"),
    Column("finished_at", _TIME, "UTC", "wall clock at its end"),
    Column("duration_s", _FLOAT, "s", "length of the attempt by the monotonic clock"),
    Column("energy_j", _FLOAT, "J", "energy of the whole attempt in energy_scope, also when it failed"),
    Column("energy_scope", _TEXT, "", "what energy_j counts: gpu, cpu, dram joined by +"),
    Column("modelled_energy_j", _FLOAT, "J", "part of energy_j that a model made up"),
    Column("load_s", _FLOAT, "s", "time to load the model"),
    Column("load_energy_j", _FLOAT, "J", "energy to load the model, same scope"),
    Column("optimize_s", _FLOAT, "s", "time to apply the tactic, first calls included"),
    Column("optimize_energy_j", _FLOAT, "J", "energy to apply the tactic, same scope"),
    Column("accuracy", _FLOAT, "0-1", "share of evaluated samples classified right"),
    Column("accuracy_low", _FLOAT, "0-1", "lower end of its 95 % Wilson interval"),
    Column("accuracy_high", _FLOAT, "0-1", "upper end of its 95 % Wilson interval"),
    Column("samples_evaluated", _INT, "", "samples behind accuracy"),
    Column("parameters", _INT, "", "parameters of the baseline model"),
    Column(
        "nonzero_parameters",
        _INT,
        "",
        "parameters that are not zero after the tactic; NULL where packed weights cannot be counted",
    ),
    Column("size_bytes", _INT, "B", "bytes of the serialised state after the tactic, packed parameters included"),
    Column("macs_per_sample", _FLOAT, "MAC", "multiply-accumulates of the baseline model for one sample"),
    Column("flops_per_sample", _FLOAT, "FLOP", "floating-point operations of the baseline model for one sample"),
    Column("peak_gpu_memory_bytes", _INT, "B", "highest memory allocated by torch on the board; NULL on cpu"),
    Column("peak_host_memory_bytes", _INT, "B", "most private memory of the cell's processes, on top of their start"),
    Column("seed", _INT, "", "seed of the sweep"),
    Column("grade", _TEXT, "", "worst grade among the steady (or epoch) windows: A, B, C or D; NULL where nothing was measured"),
    Column("unit", _TEXT, "", "what a sample is, by the task: for example image"),
    Column("quality_measure", _TEXT, "", "the task's measure of quality, of which accuracy, accuracy_low and accuracy_high are"),
)

WINDOWS = (
    *_KEYS,
    Column("window", _INT, "", "number of the window within the attempt, from 0"),
    Column("kind", _TEXT, "", "one of " + ", ".join(WINDOW_KINDS)),
    Column("start_monotonic_s", _FLOAT, "s", "start, CLOCK_MONOTONIC of the host"),
    Column("end_monotonic_s", _FLOAT, "s", "end, CLOCK_MONOTONIC of the host"),
    Column("started_at", _TIME, "UTC", "wall clock at the start"),
    Column("duration_s", _FLOAT, "s", "end - start"),
    Column("samples", _INT, "", "samples processed; 0 where the window does no work"),
    Column("iterations", _INT, "", "batches processed"),
    Column("rejected", _TEXT, "", "why the window must not be used (a recompile inside it, ...); NULL when it may"),
    Column("gpu_uuid", _TEXT, "", "board whose energy is given"),
    Column("gpu_energy_j", _FLOAT, "J", "energy of the board; NULL when unknown"),
    Column("gpu_energy_source", _TEXT, "", "counter or power; NULL when unknown"),
    Column("gpu_energy_error_j", _FLOAT, "J", "half-width that covers the true energy in 95 % of windows"),
    Column("gpu_power_energy_j", _FLOAT, "J", "integral of the instant power over the window, beside the counter"),
    Column("gpu_idle_w", _FLOAT, "W", "board power of this attempt's idle window"),
    Column(
        "gpu_idle_settled",
        _BOOL,
        "",
        "whether the board's power was steady when that idle window began (within 5 % for 1 s); "
        "false after 10 s of waiting, or where the board does not tell its power",
    ),
    Column("gpu_active_energy_j", _FLOAT, "J", "gpu_energy_j less idle power x duration"),
    Column("gpu_counter_updates", _INT, "", "updates of the energy counter inside the window"),
    Column("cpu_energy_j", _FLOAT, "J", "the cell's share of the host's processor energy"),
    Column("cpu_energy_source", _TEXT, "", "rapl or modelled; NULL when unknown"),
    Column(
        "cpu_energy_error_j",
        _FLOAT,
        "J",
        "half-width of cpu_energy_j by the meter; NULL for modelled energy, whose error is unknown",
    ),
    Column("cpu_idle_w", _FLOAT, "W", "the host's idle power used by the sharing rule"),
    Column("cpu_active_energy_j", _FLOAT, "J", "cpu_energy_j less the cell's even part of the host's idle power x duration"),
    Column("cpu_apportioned", _BOOL, "", "whether the host was shared between workers"),
    Column("dram_energy_j", _FLOAT, "J", "the cell's share of the host's memory energy; NULL without a DRAM domain"),
    Column("host_cpu_energy_j", _FLOAT, "J", "energy of the host's processors, everybody's work included"),
    Column("host_dram_energy_j", _FLOAT, "J", "energy of the host's memory, everybody's work included; NULL without a meter"),
    Column("wall_energy_j", _FLOAT, "J", "energy at the plug; NULL without a wall meter, or where its readings do not reach"),
    Column("wall_energy_error_j", _FLOAT, "J", "half-width of wall_energy_j by its readings; the meter's own error is not in it"),
    Column("wall_parts", _TEXT, "", "metered parts of the host that wall_parts_energy_j adds up: this worker's gpu, cpu, dram"),
    Column("wall_parts_energy_j", _FLOAT, "J", "their energy, to be held against wall_energy_j"),
    Column(
        "wall_check",
        _BOOL,
        "",
        "whether the parts fit into what the plug delivered, within the errors; NULL when unknown (see grade_reasons)",
    ),
    Column("total_energy_j", _FLOAT, "J", "sum of the parts named in energy_scope; NULL when one of them is unknown"),
    Column("energy_scope", _TEXT, "", "parts of the total: gpu, cpu, dram joined by +"),
    Column("modelled_energy_j", _FLOAT, "J", "part of total_energy_j that a model made up"),
    Column("active_energy_j", _FLOAT, "J", "total_energy_j less the idle power x duration of every part in energy_scope"),
    Column("gpu_utilization", _FLOAT, "0-1", "mean share of time in which a kernel ran"),
    Column("gpu_power_w", _FLOAT, "W", "mean board power"),
    Column("gpu_power_max_w", _FLOAT, "W", "highest sampled instant power"),
    Column("gpu_temperature_start_c", _FLOAT, "C", "board temperature at the start"),
    Column("gpu_temperature_end_c", _FLOAT, "C", "board temperature at the end"),
    Column("sm_clock_mhz", _FLOAT, "MHz", "mean SM clock"),
    Column("sm_clock_min_mhz", _FLOAT, "MHz", "lowest sampled SM clock"),
    Column("sm_clock_max_mhz", _FLOAT, "MHz", "highest sampled SM clock"),
    Column(
        "clock_change",
        _TEXT,
        "",
        "lasting change of the SM clock inside the window, in words; rejects a steady window on cuda unless too few are left",
    ),
    Column("throttle_reasons", _TEXTS, "", "clock event reasons seen in the window"),
    Column("foreign_processes", _INT, "", "other processes on the board; NULL when that cannot be told"),
    Column("neighbours_busy", _FLOAT, "CPUs", "mean number of processors kept busy by others on the host"),
    Column("cpu_seconds", _FLOAT, "s", "processor time of the cell's process tree"),
    Column("latency_p50_s", _FLOAT, "s", "median wall time of an iteration"),
    Column("latency_p95_s", _FLOAT, "s", "95th percentile"),
    Column("latency_p99_s", _FLOAT, "s", "99th percentile"),
    Column("grade", _TEXT, "", "how far the cell's main meter can be trusted: A, B, C, D; NULL when unknown"),
    Column("grade_reasons", _TEXTS, "", "what was missed, and why a figure is NULL"),
    Column("epoch", _INT, "", "epoch of a training window, from 1"),
    Column("loss", _FLOAT, "nat", "mean training loss of the epoch"),
    Column("train_accuracy", _FLOAT, "0-1", "share of training samples classified right during the epoch"),
    Column("stage", _TEXT, "", "kind of steady load, by the task: for example forward; NULL where the window is of none"),
)

TRACE = (
    *_KEYS,
    Column("monotonic_s", _FLOAT, "s", "when the sample was taken, CLOCK_MONOTONIC of the host"),
    Column("sensor", _TEXT, "", "gpu:<uuid>, rapl:<domain>, cpu:host, cpu:cell or wall:<meter>"),
    Column("counter_j", _FLOAT, "J", "energy counter"),
    Column("power_w", _FLOAT, "W", "instant power"),
    Column("utilization", _FLOAT, "0-1", "share of time busy"),
    Column("temperature_c", _FLOAT, "C", "temperature"),
    Column("clock_mhz", _FLOAT, "MHz", "SM clock"),
    Column("cpu_seconds", _FLOAT, "s", "processor time used so far, by the host or by the cell's process tree"),
)

PREDICTIONS = (
    *_KEYS,
    Column("sample", _INT, "", "position of the sample in the evaluated split"),
    Column("label", _INT, "", "true class"),
    Column("prediction", _INT, "", "predicted class"),
)

COMPARISONS = (
    Column("sweep", _TEXT, "", "name of the sweep"),
    Column("block_id", _TEXT, "", "the block that was visited"),
    Column("visit", _INT, "", "number of the visit; arms of different visits are never compared"),
    Column("model", _TEXT, "", "as in cells"),
    Column("tactic", _TEXT, "", "slug of the tactic chain"),
    Column("batch_size", _INT, "", "samples in a batch"),
    Column("device", _TEXT, "", "cpu or cuda"),
    Column("hardware", _TEXT, "", "board of a cuda cell, processor of a cpu cell"),
    Column("energy_scope", _TEXT, "", "what the energies count"),
    Column("run_id", _TEXT, "", "the tactic's attempt"),
    Column("open_run_id", _TEXT, "", "the attempt of the visit's opening baseline; NULL where it cannot be compared"),
    Column("close_run_id", _TEXT, "", "that of its closing baseline; NULL where there is none or it cannot be compared"),
    Column("tactic_j", _FLOAT, "J", "energy per sample under the tactic"),
    Column("open_j", _FLOAT, "J", "energy per sample of the opening baseline"),
    Column("close_j", _FLOAT, "J", "energy per sample of the closing baseline"),
    Column("energy_ratio", _FLOAT, "", "tactic_j over the mean of the baselines; 0.7 is 30 % less"),
    Column(
        "energy_low",
        _FLOAT,
        "",
        "lower end of its 95 % interval within the visit; NULL where drift or the noise of a window is unknown",
    ),
    Column("energy_high", _FLOAT, "", "upper end"),
    Column("active_ratio", _FLOAT, "", "the same of the energies above idle power"),
    Column("time_ratio", _FLOAT, "", "the same of the times per sample"),
    Column("drift", _FLOAT, "", "by how much the higher baseline exceeds the lower one; NULL unless the energy of both is known"),
    Column("drifted", _BOOL, "", "whether drift is over 3 %"),
    Column("idle_spread_w", _FLOAT, "W", "largest less smallest idle power of the board among the visit's cells"),
    Column("idle_drifted", _BOOL, "", "whether that is over 5 % and over 2 W"),
    Column("flags", _TEXTS, "", "what a reader must know about this comparison"),
)

TABLES: dict[str, tuple[Column, ...]] = {"cells": CELLS, "windows": WINDOWS, "trace": TRACE, "predictions": PREDICTIONS}
DERIVED = {"comparisons": COMPARISONS}
"""Tables that the analysis writes, one file each; they can be made again from the others at any time."""


def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of one table, its version and units in the metadata."""
    fields = [pa.field(c.name, c.type, metadata={"unit": c.unit, "meaning": c.meaning}) for c in (TABLES | DERIVED)[table]]
    return pa.schema(fields, metadata={"greenray_schema_version": str(SCHEMA_VERSION)})


def dictionary() -> list[dict[str, str]]:
    """The data dictionary, one entry a column, partition keys included."""
    keys = [
        {"column": "sweep", "type": "string", "unit": "", "meaning": "name of the sweep; a key of the path"},
        {"column": "tactic", "type": "string", "unit": "", "meaning": "slug of the tactic chain; a key of the path"},
    ]
    rows = []
    for table, columns in TABLES.items():
        rows += [{"table": table, **key} for key in keys]
        rows += [_entry(table, column) for column in columns]
    return rows + [_entry(table, column) for table, columns in DERIVED.items() for column in columns]


def _entry(table: str, column: Column) -> dict[str, str]:
    return {
        "table": table,
        "column": column.name,
        "type": str(column.type),
        "unit": column.unit,
        "meaning": column.meaning,
    }
