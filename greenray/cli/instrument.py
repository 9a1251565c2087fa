"""`greenray measure` and `greenray doctor`: the instrument without a sweep."""

import contextlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from greenray.errors import ConfigError
from greenray.measure.signals import Interrupted, Signals
from greenray.store.local import beside, replace_file

_DESCRIPTORS = ("/dev/fd/", "/dev/std", "/proc/")


# The first word that is no option begins the command: from there on everything is its own, `--json` too.
MEASURE: dict[str, Any] = {"context_settings": {"allow_interspersed_args": False}, "options_metavar": "[OPTIONS] --"}


def measure(
    command: Annotated[list[str] | None, typer.Argument(metavar="CMD", help="The command and its arguments.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="F", help="Write the figures to this file.")] = None,
    hz: Annotated[float, typer.Option(metavar="N", help="Samples a second, 1 to 1000.")] = 50.0,
    idle: Annotated[
        float | None, typer.Option(metavar="S", help="Measure S seconds of idle first, 0.1 to 3600: tells idle power.")
    ] = None,
) -> None:
    """Energy of any command, like `time`: a table on stderr, the command's own exit code.

    \b
    greenray measure -- python train.py --epochs 3
    greenray measure --json run.json --idle 5 -- ./serve.sh

    It measures whole boards (those of CUDA_VISIBLE_DEVICES, else all), and of processors and memory the command's share.
    Counted is everything that the command starts, up to the moment at which the command itself ends. Nothing of the
    command's is changed: input, output, environment, signals, Ctrl-C and Ctrl-Z are its own. The exit code is 126 or 127 if it
    cannot be run, and 128 + n if signal n ends it. What cannot be measured here is left out, and the table says why;
    `greenray doctor` says how to mend it.
    """
    # Before anything that may start threads (numpy does): a thread without the mask would take the command's signals.
    with Signals() as signals:
        from greenray.cli.console import make_console
        from greenray.cli.tables import show_measurement
        from greenray.measure.command import measure_command

        if not command:
            raise ConfigError("measure: no command; try: greenray measure -- python train.py")
        _require_between("--hz", hz, (1.0, 1000.0), "samples a second")
        if idle is not None:
            _require_between("--idle", idle, (0.1, 3600.0), "seconds")
        file = None if json_file is None else JsonFile(json_file)
        try:
            measurement = measure_command(command, signals=signals, hz=hz, idle_s=idle)
        except Interrupted as interrupted:
            _say("stopped before the command was started")
            signals.forget()
            sys.exit(128 + interrupted.number)
        if file is not None:
            try:
                file.write(measurement)
            except OSError as error:
                _say(f"--json {json_file}: cannot be written ({error.strerror}).")
        # Whoever read our stderr may be gone (rich would exit then); the command's exit code is owed all the same.
        with contextlib.suppress(OSError, SystemExit):
            if sys.stderr is not None:
                show_measurement(measurement, console=make_console(stderr=True))
        signals.forget()
        sys.exit(measurement["exit_code"])


def _say(sentence: str) -> None:
    """One line on stderr, if anybody still reads it: the exit code is owed all the same."""
    if sys.stderr is not None:  # print would go to stdout then, which is the command's
        with contextlib.suppress(OSError):
            print(f"greenray: {sentence}", file=sys.stderr)  # noqa: T201


def _require_between(option: str, value: float, limits: tuple[float, float], unit: str) -> None:
    low, high = limits
    if not low <= value <= high:
        raise ConfigError(f"{option} {value:g}: must be between {low:g} and {high:g} {unit}.")


def doctor(
    address: Annotated[str | None, typer.Option(help="Look at every host of this Ray cluster: auto or host:port.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain data on stdout.")] = False,
    timeout: Annotated[float, typer.Option(metavar="S", help="How long to wait for the cluster's hosts.")] = 60.0,
) -> None:
    """What each host can measure, by what source, how well at best, and the command or mount that would improve it.

    \b
    greenray doctor
    greenray doctor --address auto --json

    Changes nothing. The exit code is 0 if every host answered and everything on it can be measured (a processor without
    a meter counts: it is modelled, grade D), 1 if a host did not answer or a board cannot be measured, 2 if there is no
    such cluster.
    """
    from greenray.cli.console import make_console
    from greenray.cli.tables import show_host
    from greenray.doctor.examine import examine

    _require_between("--timeout", timeout, (1.0, 3600.0), "seconds")
    reports = [{"error": None, **examine()}] if address is None else _cluster_reports(address, timeout_s=timeout)
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    else:
        console = make_console()
        for report in reports:
            show_host(report, console=console)
    if not all(report["error"] is None and report["able"] for report in reports):
        sys.exit(1)


def _cluster_reports(address: str, *, timeout_s: float) -> list[dict[str, Any]]:
    from greenray.cli.progress import terminal_kept
    from greenray.doctor.examine import examine
    from greenray.driver.cluster import ask_every_host, connected

    with terminal_kept(Path("/dev/null")), connected(address) as ray:
        answers = ask_every_host(ray, examine, timeout_s=timeout_s)
    return [
        {"error": answer.problem, **(answer.value or {"host": {"hostname": answer.hostname}})} | {"node_id": answer.node_id}
        for answer in answers
    ]


class JsonFile:
    """A file that is written whole or not at all, and tried before anything is measured.

    A device, a pipe or `/dev/fd/3` is written on from where it is. A file in a folder that takes no new ones is written over.

    Raises `ConfigError` when nothing can be written there; the sentence says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if str(path) == "-":
            raise ConfigError("--json -: standard output is the command's own; name a file, or /dev/fd/3 with 3>&1.")
        try:
            self._in_place = self._prepare()
        except OSError as error:
            raise ConfigError(f"--json {path}: cannot be written ({error.strerror}).") from None

    def write(self, data: dict[str, Any]) -> None:
        """Writes the figures; OSError when that fails now."""
        text = json.dumps(data, indent=2) + "\n"
        if self._in_place is None:
            replace_file(self._path.resolve(), text.encode())
            return
        # A pipe that nobody reads would hold us for ever: it is an error.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | self._in_place)
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def _prepare(self) -> int | None:
        """How the target itself is opened, where it is written to; None where a new file is to replace it."""
        try:
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            if not self._path.resolve().parent.is_dir():
                raise ConfigError(f"--json {self._path}: there is no folder {self._path.parent}.") from None
            _try(self._path)
            return None
        if stat.S_ISDIR(mode):
            raise ConfigError(f"--json {self._path}: is a folder.")
        if not os.access(self._path, os.W_OK):
            raise ConfigError(f"--json {self._path}: cannot be written (Permission denied).")
        if not stat.S_ISREG(mode) or str(self._path).startswith(_DESCRIPTORS):
            return os.O_APPEND  # what the command wrote there is not ours to overwrite
        try:
            _try(self._path)
        except OSError:
            return os.O_TRUNC
        return None


def _try(path: Path) -> None:
    partial = beside(path.resolve())
    partial.touch(exist_ok=False)
    partial.unlink()
