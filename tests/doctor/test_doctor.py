"""`doctor`: every defect has its sentence and a mend that can be run, mounted or set."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from greenray.doctor.advice import Surroundings, problems_of
from greenray.gpu.base import Problem, VendorReport
from greenray.gpu.nvidia.vendor import on_bus
from greenray.gpu.nvidia.vendor import problems as nvidia_problems
from greenray.power.host import HostInfo, clock_limit, container, sees_all_processes
from greenray.power.rapl import Survey
from tests.support import ROOT

NO_TREE = Survey(problem="no RAPL package under /sys/class/powercap")
REFUSED = Survey(problem="RAPL cannot be read: no permission for intel-rapl:0")
HOST = HostInfo(
    hostname="h",
    cpu_name="c",
    logical_cores=8,
    physical_cores=4,
    usable_cores=4,
    memory_bytes=2**34,
    boot_id="",
    virtual_machine=False,
    on_battery=False,
)
GOOD = {
    "index": 3,
    "power_limit_w": 700,
    "counter_missing": None,
    "counter_period_s": 0.1,
    "instant_power": "gpu",
    "clocks_limited_by": ["gpu_idle"],
    "processes": [],
    "mig": False,
    "persistence": True,
    "default_power_limit_w": 700.0,
}


def problems(
    around: Surroundings | None = None, *, rapl: Survey | None = None, root: str = "/sys/class/powercap"
) -> list[Problem]:
    return problems_of(around or Surroundings(host=HOST), rapl=rapl or Survey(), root=Path(root))


def of_gpus(
    *gpus: Mapping[str, object], container: str | None = None, sees_all_processes: bool = True, **found: object
) -> list[Problem]:
    return list(nvidia_problems(VendorReport(gpus=gpus, **found), container=container, sees_all_processes=sees_all_processes))


def test_where_all_is_well_there_is_nothing_to_mend():
    assert problems() == of_gpus(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "said", "mend"),
    [
        ({"mig": True, "source": None}, "MIG mode", "sudo nvidia-smi -i 3 -mig 0"),
        ({"counter_missing": "no permission to read it"}, "keeps its energy counter to itself", "sudo greenray doctor"),
        ({"counter_missing": "it has none"}, "no readable energy counter", "nvidia-smi -i 3 --query-gpu=name,driver_version"),
        ({"counter_period_s": None}, "did not move", "sudo nvidia-smi -i 3 --gpu-reset"),
        ({"instant_power": None}, "instant power", "nvidia-smi -i 3 -q -d POWER"),
        ({"persistence": False}, "persistence mode off", "sudo nvidia-smi -i 3 -pm 1"),
        ({"processes": [77, 78]}, "other processes (77, 78)", "nvidia-smi -i 3 --query-compute-apps"),
        ({"power_limit_w": 400}, "limited to 400 W, 700 W is its default", "sudo nvidia-smi -i 3 -pl 700"),
        ({"clocks_limited_by": ["applications_clocks_setting"]}, "clocks held by a setting", "--reset-gpu-clocks"),
        ({"clocks_limited_by": ["hw_thermal_slowdown"]}, "slowed down just now (hw_thermal_slowdown)", "-d PERFORMANCE"),
    ],
)
def test_a_defect_of_a_board_has_its_sentence_and_its_mend(changes, said, mend):
    (found,) = of_gpus({**GOOD, **changes})
    assert found.part == "GPU 3"
    assert said in found.what
    assert any(mend in command for command in found.commands)


@pytest.mark.parametrize(
    ("changes", "said", "mend"),
    [
        ({"silent": 1, "on_bus": 2}, "do not answer: 1", "nvidia-smi --gpu-reset"),
        ({"problem": "no NVML"}, "no NVIDIA board on the PCI bus", "lspci -d 10de:"),
        ({"problem": "no NVML", "on_bus": 2}, "2 NVIDIA board(s) on the PCI bus", "sudo modprobe nvidia"),
        ({"problem": "no NVML", "on_bus": 2, "container": "docker"}, "No GPU", "docker run --gpus all --env NVIDIA_"),
        ({"problem": "no NVML", "on_bus": 2, "container": "podman"}, "No GPU", "podman run --device nvidia.com/gpu"),
        ({"problem": "no NVML", "on_bus": 2, "container": "kubernetes"}, "No GPU", "NVIDIA_DRIVER_CAPABILITIES"),
    ],
)
def test_a_defect_of_the_driver_has_its_sentence_and_its_mend(changes, said, mend):
    (found,) = of_gpus(**changes)
    assert said in found.what
    assert any(mend in command for command in found.commands)


@pytest.mark.parametrize(
    ("changes", "said", "mend"),
    [
        ({"busy_cores": 3.0}, "3.0 of 8 processors busy", "ps -eo"),
        ({"clock_limit_mhz": (2000.0, 3500.0)}, "2000 of 3500 MHz", "sudo cpupower frequency-set --max 3500MHz"),
        ({"niceness": 15}, "niceness 15", "export RAY_worker_niceness=0"),
        ({"host": replace(HOST, on_battery=True)}, "battery", "power_supply"),
        ({"host": replace(HOST, virtual_machine=True)}, "virtual machine", "rounds: {min: 5, max: 12}"),
        ({"host": replace(HOST, usable_cores=2), "container": "docker"}, "Only 2 of 4 cores", "without --cpus"),
        ({"host": replace(HOST, usable_cores=2), "container": "kubernetes"}, "Only 2 of 4 cores", "cpu: null"),
        ({"host": replace(HOST, usable_cores=2)}, "Only 2 of 4 cores", "taskset"),
    ],
)
def test_a_defect_of_the_host_has_its_sentence_and_its_mend(changes, said, mend):
    (found,) = problems(Surroundings(**{"host": HOST, **changes}))
    assert said in found.what
    assert any(mend in command for command in found.commands)


@pytest.mark.parametrize(
    ("place", "virtual", "rapl", "root", "mend"),
    [
        (None, False, NO_TREE, "/sys/class/powercap", "sudo modprobe intel_rapl_msr"),
        (None, True, NO_TREE, "/sys/class/powercap", "rapl=true"),
        (None, False, REFUSED, "/sys/class/powercap", "sudo chmod -R a+r /sys/devices/virtual/powercap"),
        (None, False, REFUSED, "/my/tree", "sudo chmod -R a+r /my/tree"),
        ("docker", False, REFUSED, "/host/powercap", "sudo chmod -R a+r /sys/devices/virtual/powercap"),
        ("docker", False, NO_TREE, "/sys/class/powercap", "--env GREENRAY_POWERCAP_ROOT=/host/powercap"),
        ("podman", False, NO_TREE, "/sys/class/powercap", "podman run --volume /sys/devices/virtual/powercap:/host/powercap:ro"),
        ("kubernetes", False, NO_TREE, "/sys/class/powercap", "components: [../../components/rapl]"),
    ],
)
def test_missing_rapl_is_mended_where_one_is(place, virtual, rapl, root, mend):
    around = Surroundings(host=replace(HOST, virtual_machine=virtual), container=place)
    found = next(problem for problem in problems(around, rapl=rapl, root=root) if problem.part == "CPU")
    assert "grade D" in found.what
    assert any(mend in command for command in found.commands)


def test_the_mounts_are_those_of_the_deployment():
    """What doctor tells to mount is what docker/README.md and the Kubernetes component mount."""
    commands = [
        command
        for place in ("docker", "kubernetes")
        for problem in problems(Surroundings(host=HOST, container=place), rapl=NO_TREE)
        for command in problem.commands
    ]
    mount = next(command for command in commands if "--volume" in command).split(" run ")[1].removesuffix(" ...")
    assert mount in " ".join((ROOT / "docker/README.md").read_text().split())
    component = (ROOT / "k8s/components/rapl/kustomization.yaml").read_text()
    assert "path: /sys/devices/virtual/powercap" in component
    assert "value: /host/powercap" in component
    assert commands.count("components: [../../components/rapl]") == 1
    assert "components: [../../components/rapl]" in (ROOT / "k8s/README.md").read_text()


def test_a_container_that_cannot_see_other_processes_says_so():
    for place, mend in (
        ("docker", "docker run --pid host"),
        ("podman", "podman run --pid host"),
        ("kubernetes", "hostPID: true"),
    ):
        (found,) = of_gpus(GOOD, container=place, sees_all_processes=False)
        assert "cannot see" in found.what
        assert mend in found.commands[0]


def test_every_problem_can_be_acted_on():
    """Everything wrong at once: each problem is two sentences and something to run, mount or set."""
    worst = {**GOOD, "counter_missing": "it has none", "persistence": False, "processes": [1]}
    worst |= {"power_limit_w": 1, "clocks_limited_by": ["hw_slowdown"]}
    for place in (None, "docker", "podman", "kubernetes", "container"):
        around = Surroundings(
            host=replace(HOST, on_battery=True, virtual_machine=True, usable_cores=1),
            container=place,
            busy_cores=8,
            clock_limit_mhz=(1.0, 2.0),
            niceness=1,
        )
        frozen = {**worst, "counter_missing": None, "counter_period_s": None}
        found = of_gpus(worst, frozen, container=place, problem="no NVML", silent=1) + problems(around, rapl=REFUSED)
        assert len(found) >= 12
        for problem in found:
            assert problem.what.endswith(".")
            assert problem.what[0].isupper()
            assert problem.mend.endswith(".")
            assert problem.commands
            assert all(command.strip() for command in problem.commands)


@pytest.mark.parametrize(
    ("files", "environ", "expected"),
    [
        ({}, {}, None),
        ({"proc/1/cgroup": "0::/init.scope"}, {}, None),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": ""}, {}, "podman"),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"proc/1/cgroup": "0::/kubepods/besteffort/pod1/x"}, {}, "kubernetes"),
        ({"proc/1/cgroup": "12:cpu:/docker/abc"}, {}, "docker"),
        ({"proc/1/cgroup": "12:cpu:/lxc/abc"}, {}, "container"),
        ({"run/systemd/container": "systemd-nspawn"}, {}, "container"),
    ],
)
def test_a_container_is_known(tmp_path, files, environ, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert container(environ, root=tmp_path) == expected


def test_boards_on_the_bus_are_counted_without_a_driver(tmp_path):
    devices = {"0": ("0x10de", "0x030200"), "1": ("0x10de", "0x030000"), "2": ("0x10de", "0x040300"), "3": ("0x8086", "0x030000")}
    for name, (vendor, kind) in devices.items():
        folder = tmp_path / "sys/bus/pci/devices" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")
    assert on_bus(root=tmp_path) == 2  # neither a board's sound device nor another maker's board
    assert on_bus(root=tmp_path / "nothing") == 0


def test_a_limit_on_the_clock_is_seen(tmp_path):
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    (folder / "cpuinfo_max_freq").write_text("3500000\n")
    (folder / "scaling_max_freq").write_text("3500000\n")
    assert clock_limit(root=tmp_path) is None
    (folder / "scaling_max_freq").write_text("2000000\n")
    assert clock_limit(root=tmp_path) == (2000.0, 3500.0)
    assert clock_limit(root=tmp_path / "nothing") is None


def test_a_pid_namespace_is_told_from_the_machines_own(tmp_path):
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    assert not sees_all_processes(root=tmp_path)
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    assert sees_all_processes(root=tmp_path)
