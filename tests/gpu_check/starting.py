"""Section 9: does everything import, and do forked processes get the board? With the seconds that each of it takes."""

import json
import os
import subprocess
import sys
import time
from typing import Any

from greenray.cell.preload import CELL_TARGET
from greenray.processes.forkserver import ForkServer
from greenray.processes.launcher import Launcher, LaunchError, Spawn
from greenray.worker.worker import cell_preload
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.fresh import Probed, probe
from tests.gpu_check.load import ROOT
from tests.gpu_check.rig import Rig

FULL = 0.2
"""From this scale on the section is not a short form."""
_FORKS = 4
_SHOWN = 8
_IMPORTS = """
import importlib, json, sys, time
found = {}
for name in json.loads(sys.argv[1]):
    start_s = time.perf_counter()
    try:
        importlib.import_module(name)
        found[name] = [time.perf_counter() - start_s, None]
    except Exception as error:
        found[name] = [time.perf_counter() - start_s, f"{type(error).__name__}: {error}"[:300]]
print(json.dumps(found))
"""


def run(rig: Rig) -> Finding:
    """Imports one by one, then the fork server, forks of it, and a process that is spawned."""
    imports = imported() if rig.scale >= FULL else {}
    broken = {name: error for name, (_, error) in imports.items() if error is not None}
    notes = [f"{name} cannot be imported: {error}" for name, error in broken.items()]
    if not imports:
        notes.append("In this short form modules were imported by the fork server only, and nothing was spawned.")
    rows: list[list[Any]] = []
    data: dict[str, Any] = {"imports": imports}
    start_s = time.monotonic()
    server, why = None, None
    try:
        server = ForkServer(target=CELL_TARGET, preload=cell_preload())
        data["server_s"] = time.monotonic() - start_s
        rows.append(
            ["fork server", data["server_s"], None, "ready" if not server.failed else f"lacks {', '.join(server.failed)}"]
        )
        data["forks"] = _probes(server, rig, rows, "fork", _FORKS)
    except LaunchError as error:
        why = str(error)
        notes.append(f"There is no fork server: {why}")
    finally:
        if server is not None:
            server.close()
    if rig.scale >= FULL:
        with Spawn(target=CELL_TARGET) as spawner:
            data["spawned"] = _probes(spawner, rig, rows, "spawn", 1)
    problems = sorted(
        {f"{kind}: {one['problem']}" for kind in ("forks", "spawned") for one in data.get(kind, []) if one["problem"]}
    )
    seconds = sum(taken_s for taken_s, _ in imports.values())
    told = f"{len(imports) - len(broken)} of {len(imports)} modules import, in {seconds:.1f} s"
    if not imports:
        told = "The fork server is ready" if server is not None and not server.failed else "The fork server is not ready"
    forks = [one["answer_s"] for one in data.get("forks", []) if one["answer_s"] is not None]
    answers = f"{forks[0]:.2f} s for the first fork, {min(forks[1:]):.2f} s later" if len(forks) > 1 else "no answer from forks"
    slow = sorted(imports.items(), key=lambda item: -item[1][0])[:_SHOWN]
    return Finding(
        verdict="off" if broken or why or problems or server is None or server.failed else "ok",
        summary=f"{told}; until a process has used the board: {answers}.",
        method="The modules that a fork server preloads, imported one by one in a fresh process that sees no board; then the "
        "server as a worker opens it, and processes that make a context, multiply and tell their board's UUID.",
        tables=[
            Table(title="Processes", columns=["what", "s until it answers", "s until it has ended", "says"], rows=rows),
            Table(
                title=f"The {len(slow)} slowest imports", columns=["module", "s"], rows=[[name, taken[0]] for name, taken in slow]
            ),
        ],
        notes=[*notes, *(f"Of a process that was started: {problem}." for problem in problems)],
        data=data,
    )


def imported() -> dict[str, list[Any]]:
    """[seconds, error or None] of each module that cells need, in the order in which the server imports them."""
    preload = cell_preload()
    environ = {**os.environ, **preload.environment}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    kept = {name: value for name, value in environ.items() if value is not None}
    command = [sys.executable, "-c", _IMPORTS, json.dumps(preload.modules)]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=180, check=True)
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _probes(launcher: Launcher, rig: Rig, rows: list[list[Any]], kind: str, count: int) -> list[dict[str, Any]]:
    found: list[Probed] = []
    for number in range(1, count + 1):
        found.append(one := probe(launcher, rig))
        rows.append([f"{kind} {number}", one.answer_s, one.end_s, one.problem or "the right board"])
    return [{"answer_s": one.answer_s, "end_s": one.end_s, "problem": one.problem} for one in found]
