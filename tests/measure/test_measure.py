"""`greenray measure` on real commands: what is counted, by what, and what is said where nothing is."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenray.cli.instrument import JsonFile
from greenray.errors import ConfigError
from tests.simnvml import Board, environment, true_energy_j, uuid_of
from tests.support import ROOT
from tests.support.powercap import INTEL, LiveTree, make_tree
from tests.support.running import COMMAND
from tests.support.starved import starved

CONTRACT = {
    "": {"start_monotonic_s", "end_monotonic_s", "duration_s", "exit_code", "gpus", "cpu", "dram"},
    "gpus": {"uuid", "name", "energy_j", "source", "error_j", "power_energy_j", "idle_w", "grade", "reasons"},
    "cpu": {"energy_j", "host_energy_j", "source"},
    "dram": {"energy_j", "source"},
}


def greenray(*options: str, env: dict[str, str] | None = None, cwd: Path | None = None, **settings: object):
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environ |= {"PYTHONPATH": str(ROOT), **(env or {})}
    command = [*COMMAND, "measure", *options]
    run = subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **settings)
    assert "Traceback" not in run.stderr, run.stderr
    return run


def measure(folder: Path, *argv: str, idle_s: float | None = None, env: dict[str, str] | None = None):
    """The ended process and its figures."""
    out = folder / "measured.json"
    idle = () if idle_s is None else ("--idle", str(idle_s))
    run = greenray("--json", str(out), *idle, "--", *argv, env=env)
    return run, json.loads(out.read_text())


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["no-such-command"], 127),
        ([""], 127),
        ([str(ROOT)], 126),
    ],
)
def test_exit_codes_are_a_shells(tmp_path, argv, code):
    run, found = measure(tmp_path, *argv)
    assert (run.returncode, found["exit_code"]) == (code, code)
    assert (found["error"] is not None) == (code in (126, 127))
    assert run.stdout == ""
    for part, names in CONTRACT.items():
        entries = [found] if not part else found[part] if part == "gpus" else [found[part]]
        assert all(names <= set(entry) for entry in entries)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["measured.json"]
    if code in (126, 127):
        # What did not run has cost nothing that could be told: unknown, not 0.
        assert found["error"] in run.stderr
        assert (found["cpu"]["energy_j"], found["total_energy_j"]) == (None, None)
        assert found["cpu"]["reasons"] == ["the command did not run"]


def test_children_count_and_standard_streams_are_the_commands(tmp_path):
    burn = "python3 -c 'import time\nwhile time.process_time() < 0.3: pass'"
    run, found = measure(tmp_path, "sh", "-c", f"echo out; echo err >&2; {burn}; {burn}; exit 5")
    assert (run.stdout, run.stderr.splitlines()[0]) == ("out\n", "err")
    cpu = found["cpu"]
    assert (found["exit_code"], cpu["source"], cpu["grade"]) == (5, "modelled", "D")
    assert 0.6 <= cpu["cpu_seconds"] < 1.5
    # The model is linear, so the share can be told exactly: idle power of the host, and 4.5 W more for each busy processor.
    expected_j = 1.5 * cpu["modelled_cores"] * found["duration_s"] + 4.5 * cpu["cpu_seconds"]
    assert cpu["energy_j"] == pytest.approx(expected_j, rel=1e-6)
    assert cpu["energy_j"] <= cpu["host_energy_j"] * (1 + 1e-9)
    assert found["duration_s"] == found["end_monotonic_s"] - found["start_monotonic_s"]
    assert (found["dram"]["energy_j"], found["dram"]["source"]) == (None, None)
    assert found["total_energy_j"] == found["modelled_energy_j"] == cpu["energy_j"]
    assert found["energy_scope"] == "cpu"


@pytest.mark.parametrize("options", [("--",), ()])
def test_everything_after_the_command_is_the_commands(options):
    run = greenray(*options, "echo", "--json", "x", "--", "-h")
    assert run.stdout == "--json x -- -h\n"


def test_standard_input_is_the_commands():
    assert greenray("--", "cat", input="typed").stdout == "typed"


def test_a_command_shorter_than_a_sampling_period(tmp_path, simnvml):
    """Nothing is 0: the energy is known with an error that covers the truth, or it is unknown with a reason."""
    board = Board(wave="square", low_w=90, high_w=400, period_s=0.04)
    env = environment(simnvml, boards=[board, Board(more={"no_counter": 1})])
    _, found = measure(tmp_path, "sleep", "0.01", env=env)
    assert found["duration_s"] < 0.9  # fewer updates than a grade A takes
    for gpu, simulated in zip(found["gpus"], [board, Board()], strict=True):
        if gpu["energy_j"] is None:
            assert gpu["reasons"]
            continue
        truth_j = true_energy_j(simulated, found["start_monotonic_s"], found["end_monotonic_s"])
        assert gpu["energy_j"] > 0
        assert gpu["error_j"] > 0
        assert abs(gpu["energy_j"] - truth_j) <= 3 * gpu["error_j"]
        assert gpu["grade"] in ("B", "C")
    assert found["cpu"]["energy_j"] > 0


def test_boards_are_read_and_chosen_by_cuda_visible_devices(tmp_path, simnvml):
    boards = [Board(high_w=200), Board(wave="sine", low_w=90, high_w=400, period_s=0.3), Board(high_w=100)]
    env = {**environment(simnvml, boards=boards), "CUDA_VISIBLE_DEVICES": f"{uuid_of(1)},{uuid_of(0)[:12]}"}
    for _ in range(4):
        run, found = measure(tmp_path, "sleep", "1.5", idle_s=0.5, env=env)
        if not any(starved(gpu["reasons"]) for gpu in found["gpus"]):
            break
    assert [gpu["uuid"] for gpu in found["gpus"]] == [uuid_of(1), uuid_of(0)]
    assert all(CONTRACT["gpus"] <= set(gpu) for gpu in found["gpus"])
    sine, steady = found["gpus"]
    truth = true_energy_j(boards[1], found["start_monotonic_s"], found["end_monotonic_s"])
    assert sine["energy_j"] == pytest.approx(truth, rel=0.02)
    assert steady["idle_w"] == pytest.approx(200, rel=0.02)
    assert (steady["source"], steady["grade"]) == ("counter", "A")
    assert steady["active_energy_j"] == pytest.approx(0, abs=0.02 * steady["energy_j"])
    assert found["total_energy_j"] == pytest.approx(sum(part["energy_j"] for part in (sine, steady, found["cpu"])))
    assert found["energy_scope"] == "gpu+cpu"
    assert "boards count whole" in run.stderr


@pytest.mark.parametrize(
    ("visible", "indices", "said"),
    [
        (None, [0, 1, 2], "GPU 2, unknown: the board is in MIG mode"),
        ("", [], "CUDA_VISIBLE_DEVICES='' leaves none"),
        ("MIG-0", [], "MIG-0 is a MIG instance"),
        ("2", [], "in MIG mode"),
    ],
)
def test_no_board_keeps_the_command_from_running(tmp_path, simnvml, visible, indices, said):
    boards = [Board(), Board(more={"processes": "77:1"}), Board(more={"mig": 1})]
    env = environment(simnvml, boards=boards) | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    run, found = measure(tmp_path, "echo", "ran", env=env)
    assert run.stdout == "ran\n"
    assert [gpu["index"] for gpu in found["gpus"]] == indices
    for gpu in found["gpus"]:
        assert gpu["idle_w"] is None
        assert (gpu["energy_j"] is None) == (gpu["index"] == 2)
        assert any("other process" in reason for reason in gpu["reasons"]) == (gpu["index"] == 1)
    assert said in " ".join(run.stderr.split())
    if 2 in indices:
        assert found["total_energy_j"] is None  # a part of it is unknown


def test_rapl_is_read_where_there_is_a_tree(tmp_path):
    root = make_tree(tmp_path, INTEL)
    env = {"GREENRAY_POWERCAP_ROOT": str(root)}
    with LiveTree(root, idle_w=30, active_w=20) as tree:
        run, found = measure(tmp_path, "sleep", "0.5", idle_s=0.2, env=env)
    assert found["cpu"]["source"] == found["dram"]["source"] == "rapl"
    assert 0 < found["cpu"]["energy_j"] <= found["cpu"]["host_energy_j"]
    assert found["cpu"]["host_energy_j"] >= tree.true_j(duration_s=found["duration_s"], busy_s=0) * 0.97
    # Two domains, each a tenth of a package beside it.
    assert found["dram"]["energy_j"] == pytest.approx(found["cpu"]["energy_j"] / 10, rel=0.1)
    assert found["cpu"]["idle_w"] is not None
    assert found["energy_scope"] == "cpu+dram"
    assert "left out: memory" not in run.stderr
    assert any(line.startswith("total CPU + DRAM") for line in run.stderr.splitlines())


def test_a_meter_without_a_word_about_idle_gives_the_command_what_the_host_drew(tmp_path):
    env = {"GREENRAY_POWERCAP_ROOT": str(make_tree(tmp_path, INTEL))}
    with LiveTree(Path(env["GREENRAY_POWERCAP_ROOT"]), idle_w=70, active_w=0):
        _, found = measure(tmp_path, "sleep", "1", env=env)
    cpu = found["cpu"]
    assert cpu["energy_j"] == pytest.approx(70 * found["duration_s"], rel=0.03)
    assert found["dram"]["energy_j"] == pytest.approx(cpu["energy_j"] / 10, rel=0.03)
    assert cpu["idle_w"] is None
    assert cpu["grade"] != "A"
    assert any("--idle S" in reason for reason in cpu["reasons"])


def test_the_table_fits_the_terminal_and_has_no_colour_elsewhere(simnvml):
    env = {**environment(simnvml, boards=2), "FORCE_COLOR": ""}
    with ThreadPoolExecutor() as pool:
        shown = pool.map(lambda columns: (columns, greenray("--", "true", env={**env, "COLUMNS": str(columns)})), (60, 80))
    for columns, run in shown:
        lines = run.stderr.splitlines()
        assert max(map(len, lines)) <= columns
        assert not any("\x1b" in line for line in lines)
        header = next(line for line in lines if "energy" in line and "source" in line)
        row = next(line for line in lines if line.startswith("GPU 0"))
        # Right-aligned figures end where their headings end.
        assert row.index(" J ") + 2 == header.index("energy") + len("energy")
        assert "…" not in row


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hz", "nan"], "--hz nan: must be between 1 and 1000 samples a second."),
        (["--idle", "0"], "--idle 0: must be between 0.1 and 3600 seconds."),
        (["--json", "no/such/folder.json"], "there is no folder no/such"),
    ],
)
def test_what_cannot_work_is_said_before_the_command_runs(tmp_path, options, said):
    run = greenray(*options, "--", "touch", "ran", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert said in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [("/", "is a folder"), ("-", "standard output is the command's own"), ("/proc/none.json", "cannot be written")],
)
def test_a_path_that_cannot_be_written_is_one_sentence(path, said):
    with pytest.raises(ConfigError, match=said):
        JsonFile(Path(path))


def test_a_link_to_itself_is_one_sentence(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(ConfigError, match="Too many levels of symbolic links"):
        JsonFile(tmp_path / "link")


def test_no_command_is_one_sentence():
    run = greenray()
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)


def test_json_replaces_a_file_at_once_and_keeps_its_permissions(tmp_path):
    out, link = tmp_path / "out.json", tmp_path / "link.json"
    out.write_text("old")
    out.chmod(0o640)
    link.symlink_to(out)
    # While the command runs the old figures are still whole.
    run = greenray("--json", str(link), "--", "sh", "-c", f"cat {out}; kill -KILL $$")
    assert (run.stdout, run.returncode) == ("old", 137)
    assert json.loads(out.read_text())["exit_code"] == 137
    assert link.is_symlink()
    assert out.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "out.json"]


@pytest.mark.parametrize(
    ("target", "shell"),
    [
        ("/dev/fd/3", '"$@" 3>>log >&3'),
        ("/dev/fd/3", '"$@" 3>&1 | cat >>log'),
        ("/dev/stdout", '"$@" >>log'),
    ],
)
def test_json_to_a_descriptor_goes_on_after_what_is_there(tmp_path, target, shell):
    log = tmp_path / "log"
    log.write_text("before\n")
    command = ["sh", "-c", shell, "sh", *COMMAND, "measure", "--json", target, "--", "echo", "out"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environ, cwd=tmp_path, stderr=subprocess.DEVNULL, timeout=60, check=True)
    before, out, figures = log.read_text().split("\n", 2)
    assert (before, out) == ("before", "out")
    assert json.loads(figures)["exit_code"] == 0


def test_json_over_a_file_in_a_folder_that_takes_no_new_ones_leaves_nothing_of_the_old(tmp_path):
    out = tmp_path / ("x" * 250)  # what would replace it has too long a name, whoever runs this
    out.write_text("old " * 10_000)
    JsonFile(out).write({"exit_code": 0})
    assert json.loads(out.read_text()) == {"exit_code": 0}


def test_a_pipe_without_a_reader_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        JsonFile(tmp_path / "pipe").write({})


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("options", [(), ("--json", "/dev/full")])
def test_where_nobody_reads_the_table_the_exit_code_is_owed_all_the_same(closed, options):
    reader, writer = os.pipe()
    os.close(reader)
    shell = f'exec "$@" {"2>&-" if closed else ""}'
    command = ["sh", "-c", shell, "sh", *COMMAND, "measure", *options, "--", "sh", "-c", "exit 6"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=writer, timeout=60, check=False)
    os.close(writer)
    assert (run.returncode, run.stdout) == (6, b"")
