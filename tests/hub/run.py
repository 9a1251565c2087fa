"""configs/gonzalez-2024.yaml against the hub on loopback, unchanged: `python -m tests.hub.run [--config FILE] [--out DIR]`.

Starts the hub and a cache of its own, rehearses the sweep, and looks at the store: every model of the config has rows, all is ok
that can be, and each refusal is one sentence that says what to do. Prints how each model ended; exit 1 if something is amiss.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from greenray.config.load import load
from greenray.store import reader
from tests.hub import serve
from tests.hub.models import MODELS
from tests.support import ROOT

# By the manner of a model's repository, what the sentence in its rows must say.
SENTENCES = {
    "pickled": "trust: {{pickle: [{id}]}}",
    "code": "trust: {{remote_code: [{id}]}}",
    "gated": "model {id} is gated: accept its terms on the hub and set HF_TOKEN",
    "adapter": "merge it into its base model",
    "openvino": "only those for other programs (openvino_model.xml)",
    "fake-quantised": "name the model that it was made from",
    "vanishing": "went away while it was fetched; try again later",
}
_SETTLED = ("ok", "unsupported", "not_applied")


def environment(hub: serve.Hub, home: Path, *, token: bool = True) -> dict[str, str]:
    """Of a process that takes this hub for the hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ours = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return {**kept, **ours, **({"HF_TOKEN": serve.TOKEN} if token else {})}


def problems(rows: pl.DataFrame, *, wanted: set[str]) -> list[str]:
    """What is not as it should be, in sentences."""
    found = [f"{model} has no rows" for model in sorted(wanted - set(rows["model"]))]
    for row in rows.sort("model", "tactic").iter_rows(named=True):
        model, error, what = row["model"], row["error"] or "", f"{row['model']} under {row['tactic']}: {row['status']}"
        if serve.TOKEN in error or serve.SIGNATURE in error:
            found.append(f"{what} shows a secret")
        sentence = SENTENCES.get(MODELS[model].manner, "").format(id=model)
        if not sentence and row["status"] not in _SETTLED:
            found.append(f"{what} ({error})")
        if sentence and (row["status"] == "ok" or sentence not in error or "\n" in error):
            found.append(f"{what}, where the sentence is to say {sentence!r}: {error}")
    return found


def table(rows: pl.DataFrame) -> str:
    """A line a model: how its cells ended, and what they say."""
    lines = []
    for (model,), own in rows.group_by("model", maintain_order=True):
        ends: Mapping[str, int] = dict(own["status"].value_counts().sort("status").iter_rows())
        said = next((error for error in own["error"] if error), "") if "ok" not in ends else ""
        lines.append(f"{model:62} {', '.join(f'{status} {count}' for status, count in ends.items()):40} {said}".rstrip())
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "gonzalez-2024.yaml")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    serve.warm()
    with serve.serving() as hub, tempfile.TemporaryDirectory(prefix="greenray-hub-") as folder:
        out = asked.out or Path(folder, "out")
        command = [sys.executable, "-m", "greenray.cli.app", "sweep", str(asked.config), "--rehearse", "--out", str(out)]
        begin_s = time.monotonic()
        code = subprocess.run(command, env=environment(hub, Path(folder, "home")), check=False).returncode
        took_s = time.monotonic() - begin_s
        rows = reader.scan(out, table="cells").sort("model", "tactic").collect()
    wanted = {model.id or "" for experiment in load(asked.config).experiments for model in experiment.models}
    amiss = problems(rows, wanted=wanted)
    print(table(rows))
    print(f"{len(wanted)} models, {rows.height} rows, {took_s:.0f} s, exit {code}, {len(hub.asked)} requests")
    print("\n".join(amiss) or "all as it should be")
    return 1 if amiss or code not in (0, 1) else 0


if __name__ == "__main__":
    sys.exit(main())
