"""The `greenray` command: what there is, and how errors reach the user.

Commands import what they need when they run, so that `--help`, `plan` and `report` never pay for torch or Ray.
"""

import logging
import os
import sys

import typer

from greenray.cli.explore import schema, status, tactics
from greenray.cli.instrument import MEASURE, doctor, measure
from greenray.cli.predict import predict
from greenray.cli.report import report
from greenray.cli.sweep import plan, sweep
from greenray.errors import UserError

app = typer.Typer(
    name="greenray",
    help="Which optimisation makes your model, on your hardware, cheaper and greener, by how much, and how sure is that?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (sweep, plan, report, predict, measure, doctor, status, schema, tactics):
    app.command(**(MEASURE if command is measure else {}))(command)


def main() -> None:
    """Entry point: an error that the user can mend ends in one sentence on stderr and exit code 2."""
    try:
        logging.basicConfig(level=_log_level(), format="%(name)s: %(message)s", stream=sys.stderr)
        app()
    except UserError as error:
        print(f"greenray: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `greenray schema | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)


def _log_level() -> str:
    level = os.environ.get("GREENRAY_LOG", "").upper() or "WARNING"
    if level not in logging.getLevelNamesMapping():
        raise UserError(f"GREENRAY_LOG is {level.lower()!r}; it takes debug, info, warning, error or critical")
    return level


if __name__ == "__main__":
    main()
