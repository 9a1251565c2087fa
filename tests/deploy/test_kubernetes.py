"""The RayJob: rendered, held against KubeRay's schema, and against what GreenRay's measurements rely on."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from greenray.config.load import load
from greenray.driver.cluster import _LOCAL_ENVIRONMENT
from greenray.power.rapl import ROOT_VARIABLE, powercap_root, survey
from tests.deploy import rendering
from tests.deploy.rendering import BASE, CPU, ROOT, cluster, documents, environment, head, pods, render, worker

SCHEMA_CHECK = ROOT.parent / "shared/kuberay/check_manifest.py"
FOLDERS = pytest.mark.parametrize("folder", [BASE, CPU], ids=["base", "cpu"])


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The overlay that the README shows, and a suffix to its names; it lies elsewhere, so its paths lead here."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "k8s/README.md").read_text(), re.MULTILINE | re.DOTALL)
    overlay = yaml.safe_load(block)
    folder = tmp_path_factory.mktemp("mine")
    for key in ("resources", "components"):
        targets = [(ROOT / "k8s/overlays/mine" / path).resolve() for path in overlay[key]]
        overlay[key] = [os.path.relpath(target, folder.resolve()) for target in targets]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay | {"nameSuffix": "-mine"}))
    return folder


@pytest.mark.parametrize("name", ["base", "cpu", "mine"])
def test_kuberay_knows_every_field(name: str, mine: Path, tmp_path: Path) -> None:
    if not SCHEMA_CHECK.exists():
        pytest.skip("KubeRay's resource definitions do not lie beside this repository, so fields are not held against them")
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(render({"base": BASE, "cpu": CPU, "mine": mine}[name]))
    done = subprocess.run([sys.executable, str(SCHEMA_CHECK), str(rendered)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@FOLDERS
def test_is_guarded_by_a_token_and_reachable_from_inside_only(folder: Path) -> None:
    assert cluster(folder)["authOptions"] == {"mode": "token"}
    assert cluster(folder)["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert not cluster(folder)["headGroupSpec"]["enableIngress"]
    for pod in pods(folder):
        names = [variable["name"] for variable in pod["containers"][0].get("env", [])]
        assert not [name for name in names if "TOKEN" in name or name == "RAY_AUTH_MODE"]


@FOLDERS
def test_gives_the_gpus_back(folder: Path) -> None:
    job = documents(folder)["RayJob"]["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert 0 <= job["ttlSecondsAfterFinished"] <= 300
    assert job["activeDeadlineSeconds"] > 0
    assert job["backoffLimit"] == 0


@FOLDERS
def test_nothing_is_measured_on_the_head(folder: Path) -> None:
    lent = cluster(folder)["headGroupSpec"]["rayStartParams"]
    assert (lent["num-cpus"], lent["num-gpus"]) == ("0", "0")
    assert "nvidia.com/gpu" not in head(folder)["containers"][0]["resources"]["limits"]


@FOLDERS
def test_a_node_has_one_worker_at_most(folder: Path) -> None:
    (group,) = cluster(folder)["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    (term,) = group["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["namespaceSelector"] == {}
    assert term["labelSelector"]["matchLabels"].items() <= group["template"]["metadata"]["labels"].items()
    head_labels = cluster(folder)["headGroupSpec"]["template"]["metadata"]["labels"]
    assert not term["labelSelector"]["matchLabels"].items() <= head_labels.items()


def test_gpus_are_asked_for_in_the_base_only() -> None:
    base, cpu = (worker(folder)["containers"][0]["resources"] for folder in (BASE, CPU))
    assert base["requests"]["nvidia.com/gpu"] == base["limits"]["nvidia.com/gpu"] >= 1
    assert "nvidia.com/gpu" not in cpu["requests"] | cpu["limits"]
    assert "tolerations" in worker(BASE)
    assert "tolerations" not in worker(CPU)


@FOLDERS
def test_processor_time_is_never_throttled(folder: Path) -> None:
    assert "cpu" not in worker(folder)["containers"][0]["resources"]["limits"]
    assert int(worker(folder)["containers"][0]["resources"]["requests"]["cpu"]) >= 1


@FOLDERS
def test_workers_have_what_a_local_ray_is_given(folder: Path) -> None:
    found = environment(worker(folder))
    for name in ("RAY_worker_niceness", "RAY_memory_monitor_refresh_ms", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        assert found[name] == _LOCAL_ENVIRONMENT[name]


@FOLDERS
def test_lost_nodes_are_noticed_in_seconds(folder: Path) -> None:
    watching = environment(head(folder))
    period_ms, failures = (int(watching[f"RAY_health_check_{name}"]) for name in ("period_ms", "failure_threshold"))
    assert period_ms * failures <= 5000
    assert int(environment(worker(folder))["RAY_gcs_rpc_server_reconnect_timeout_s"]) <= 10


@FOLDERS
def test_head_and_workers_share_store_and_config(folder: Path) -> None:
    claim, config = (documents(folder)[kind] for kind in ("PersistentVolumeClaim", "ConfigMap"))
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in (head(folder), worker(folder)):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts["/results"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert mounts["/config"]["configMap"]["name"] == config["metadata"]["name"]
        assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"


@FOLDERS
def test_the_command_names_a_config_that_loads_and_a_store_that_is_shared(folder: Path, tmp_path: Path) -> None:
    words = shlex.split(documents(folder)["RayJob"]["spec"]["entrypoint"])
    assert words[:2] == ["greenray", "sweep"]
    assert words[words.index("--address") + 1] == "auto"
    assert words[words.index("--out") + 1].startswith("/results/")
    path = Path(words[2])
    assert path.parent == Path("/config")
    mapped = tmp_path / path.name
    mapped.write_text(documents(folder)["ConfigMap"]["data"][path.name])
    assert load(mapped).name == path.stem


def test_the_config_is_the_quickstart() -> None:
    assert (BASE / "quickstart.yaml").read_bytes() == (ROOT / "configs/quickstart.yaml").read_bytes()


@FOLDERS
def test_nobody_is_root(folder: Path) -> None:
    (uid,) = [argument.partition("=")[2] for argument in rendering.instruction("ARG") if argument.startswith("UID=")]
    for pod in pods(folder):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == int(uid)
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@FOLDERS
def test_images_are_those_that_the_docker_readme_builds(folder: Path) -> None:
    built = set(re.findall(r"-t (\S+)", (ROOT / "docker/README.md").read_text()))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    used = {container["image"] for pod in pods(folder) for container in pod["containers"]}
    assert used == {f"greenray:{version}-{'cuda' if folder == BASE else 'cpu'}"}
    assert used <= built


def test_ray_is_the_version_that_is_installed() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert cluster(BASE)["rayVersion"] == pins["ray"]


def gibibytes(folder: Path) -> int:
    """Memory of a worker pod."""
    return int(worker(folder)["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi"))


def test_an_overlay_of_ones_own_reaches_the_job(mine: Path) -> None:
    images = {container["image"] for pod in pods(mine) for container in pod["containers"]}
    assert images == {"registry.example.org/greenray:0.1.0-cuda"}
    (group,) = cluster(mine)["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] == group["maxReplicas"] == 4
    resources = worker(mine)["containers"][0]["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 8
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert gibibytes(mine) / 8 >= gibibytes(BASE)  # the cells of 8 GPUs share it
    names = {volume["name"]: volume for volume in worker(mine)["volumes"]}
    assert names["results"]["persistentVolumeClaim"]["claimName"] == "greenray-results-mine"
    assert names["config"]["configMap"]["name"] == documents(mine)["ConfigMap"]["metadata"]["name"]


def test_the_powercap_mount_is_where_the_instrument_looks(mine: Path, tmp_path: Path) -> None:
    pod = worker(mine)
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "powercap"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "powercap"]
    assert powercap_root(environment(pod)) == Path(mount["mountPath"])
    assert ROOT_VARIABLE not in environment(worker(BASE))
    assert mount["readOnly"] is True
    assert volume["hostPath"]["path"] == "/sys/devices/virtual/powercap"
    zone = tmp_path / "intel-rapl" / "intel-rapl:0"  # the kernel's layout at that path
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "1"), ("max_energy_range_uj", "262143328850")):
        (zone / name).write_text(f"{text}\n")
    found = survey(tmp_path)
    assert found.problem is None
    assert [zone.domain for zone in found.zones] == ["package-0"]
