"""One piece of work on the board: `python -m tests.gpu_check.jobs NAME '{"seconds": 2}'`; see JOBS.

It writes one JSON row a line to standard output, as soon as the row is known, so that what was measured before it fails or is
stopped is kept. The last row is {"end": true}, or {"error": "..."} with the reason why there are no more.
"""

import importlib
import json
import sys

JOBS = {
    "serve": "tests.gpu_check.jobs.serve",
    "train": "tests.gpu_check.jobs.train",
    "fill": "tests.gpu_check.jobs.memory",
    "hold": "tests.gpu_check.jobs.memory",
    "touch": "tests.gpu_check.jobs.memory",
}
"""The module of each; its function of the same name yields rows."""


def main(name: str, params: str) -> int:
    """Runs the job to its end."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer

    def tell(row: object) -> None:
        answers.write(json.dumps(row) + "\n")
        answers.flush()

    try:
        for row in getattr(importlib.import_module(JOBS[name]), name)(**json.loads(params)):
            tell(row)
    except Exception as error:  # whoever started it tells the reader
        tell({"error": told(error)})
        return 1
    tell({"end": True})
    return 0


def told(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300] or 'no reason was given'}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
