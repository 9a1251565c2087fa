"""Holds a power limit on the first board until its standard input closes; says `held` with what is in force, or the sentence."""

import json
import sys
from dataclasses import asdict

from greenray.errors import CellError
from greenray.gpu import power_limit, registry


def main() -> None:
    watts = float(sys.argv[1])
    (gpu, *_) = registry.gpus()
    try:
        with power_limit.held(gpu, lambda *, default_w: watts) as held:
            print(json.dumps({"held": asdict(held), "drawn_w": drawn_w()}), flush=True)
            sys.stdin.read()
    except CellError as error:
        print(json.dumps({"status": error.status, "error": str(error)}), flush=True)


def drawn_w() -> float:
    """What the board's meter tells just now."""
    meter = registry.gpus()[0].meter()
    power_w = meter.sample()[1]
    meter.close()
    return power_w


if __name__ == "__main__":
    main()
