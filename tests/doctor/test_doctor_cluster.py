"""`doctor --address` on a real Ray cluster: every host by itself, and one that does not answer in time."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenray.processes import tree as processes
from tests.simnvml import Board, environment
from tests.support import ROOT
from tests.support.powercap import INTEL, make_tree
from tests.support.running import greenray, wait_until

RAY = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--num-gpus=0", "--disable-usage-stats")


class Cluster:
    """Hosts of one Ray cluster on this machine, each with an environment of its own; all that is started is found by its mark."""

    def __init__(self, folder: Path) -> None:
        self._mark = processes.new_mark()
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def add(self, name: str, env: dict[str, str]) -> None:
        head = not self._started
        port = self.address.rpartition(":")[2]
        role = ["--head", f"--port={port}", "--include-dashboard=false"] if head else [f"--address={self.address}"]
        options = [*role, "--node-ip-address=127.0.0.1", f"--node-name={name}", "--object-store-memory=80000000"]
        if head:
            options.append(f"--temp-dir={self._folder}")
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **env, processes.MARK: self._mark, "RAY_worker_niceness": "0"}
        environ |= {"SPT_NOENV": "1"}  # Ray's agents set their title over their environment, and with it over the mark
        log = (self._folder / f"{name}.log").open("wb")
        self._started.append(subprocess.Popen([*RAY, *options], env=environ, stdout=log, stderr=log, start_new_session=True))
        log.close()
        wait_until(lambda: b"Ray runtime started" in (self._folder / f"{name}.log").read_bytes(), timeout_s=90, what=name)

    def close(self) -> None:
        processes.kill_marked(self._mark, timeout_s=10)
        for process in self._started:
            process.wait(10)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # Ray's sockets lie in the folder, and their paths may have 107 characters.
    made = Cluster(tmp_path_factory.mktemp("ray"))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.alone  # two nodes with one address have no ports left for a third Ray
@pytest.mark.timeout(240)
def test_every_host_is_listed_and_one_that_is_stuck_is_said_so(cluster, simnvml, tmp_path):
    cluster.add("first", environment(simnvml, boards=[Board(counter_ms=50), Board(more={"persistence": 0})]))
    # A meter that hangs, as a mount whose server is gone: whoever reads it waits for ever.
    stuck = make_tree(tmp_path, INTEL)
    (stuck / "intel-rapl:0" / "name").unlink()
    os.mkfifo(stuck / "intel-rapl:0" / "name")
    cluster.add("second", {"GREENRAY_POWERCAP_ROOT": str(stuck)})

    ended = greenray("doctor", "--address", cluster.address, "--json", "--timeout", "20")
    assert ended.code == 1, ended.err  # a host that did not answer costs the exit code
    found = json.loads(ended.out)
    assert len(found) == 2
    healthy = next(report for report in found if not report["error"])
    silent = next(report for report in found if report["error"])
    assert silent["error"] == "did not answer within 20 s"
    assert silent["host"]["hostname"]
    assert silent["node_id"] != healthy["node_id"]
    assert [gpu["best_grade"] for gpu in healthy["gpus"]] == ["A", "A"]
    assert healthy["gpus"][0]["counter_period_s"] == pytest.approx(0.05, rel=0.05)
    (persistence,) = [problem for problem in healthy["problems"] if problem["part"] == "GPU 1"]
    assert "sudo nvidia-smi -i 1 -pm 1" in persistence["commands"]
