"""Section 6: CUDA and NVML mean the same board, however CUDA_VISIBLE_DEVICES names it."""

from typing import Any

from greenray.errors import MeasurementError
from greenray.gpu import registry
from greenray.gpu.base import Gpu
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.rig import Rig


def run(rig: Rig) -> Finding:
    """Asks CUDA, in a fresh process for each setting, and NVML for the boards of the setting."""
    rows: list[list[Any]] = []
    wrong: list[str] = []
    for setting in settings(rig.gpus):
        environ = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | ({} if setting is None else {"CUDA_VISIBLE_DEVICES": setting})
        expected = registry.visible(environ)[0]
        name = "not set" if setting is None else setting
        try:
            found = rig.load.cuda_uuids(environ)
        except MeasurementError as error:
            wrong.append(f"{name}: {error}")
            rows.append([name, str(error), ", ".join(gpu.uuid for gpu in expected), "no"])
            continue
        agree = len(found) == len(expected) and all(gpu.is_same(uuid) for gpu, uuid in zip(expected, found, strict=True))
        if not agree:
            wrong.append(name)
        rows.append([name, ", ".join(found), ", ".join(gpu.uuid for gpu in expected), "yes" if agree else "no"])
    summary = f"CUDA and NVML agree on the board in all {len(rows)} ways of naming it."
    if wrong:
        summary = f"CUDA and NVML disagree where CUDA_VISIBLE_DEVICES is {'; '.join(wrong)}."
    return Finding(
        verdict="off" if wrong else "ok",
        summary=summary,
        method="`torch.cuda.get_device_properties(i).uuid` in a fresh process with CUDA_DEVICE_ORDER=PCI_BUS_ID against the "
        "boards that `greenray.gpu.registry.visible` chooses.",
        tables=[Table(title="UUIDs", columns=["CUDA_VISIBLE_DEVICES", "CUDA", "NVML", "agree"], rows=rows)],
        data={"settings": len(rows), "wrong": wrong},
    )


def settings(gpus: list[Gpu]) -> list[str | None]:
    """Not set, an index, a full and a shortened UUID; for several boards also their reversed order, by index and by UUID."""
    first = gpus[-1]
    found: list[str | None] = [None, str(first.index), first.uuid, first.uuid[:12]]
    if len(gpus) > 1:
        found.append(",".join(str(gpu.index) for gpu in reversed(gpus)))
        found.append(",".join(gpu.uuid for gpu in reversed(gpus)))
    return found
