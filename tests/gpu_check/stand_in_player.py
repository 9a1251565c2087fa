"""Answers as the player of a real board does, without a board; some requests go wrong on purpose."""

import json
import os
import sys

for line in sys.stdin:
    kind = json.loads(line)["do"]
    if kind == "steady":
        raise SystemExit("out of memory on the board")
    if kind == "model":
        continue  # no answer
    answers = {
        "context": {"uuid": os.environ["STAND_IN_UUID"]},
        "bursts": {"error": "RuntimeError: no kernel image"},
        "gpu-bound": {"rate": 12.5},
    }
    print(json.dumps(answers[kind]), flush=True)
