"""What the deployment files say, read by the tools that will read them."""

import functools
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT

BASE, CPU = ROOT / "k8s/base", ROOT / "k8s/overlays/cpu"


@functools.cache
def render(folder: Path) -> str:
    """The manifests of a kustomization; skips the test where kubectl is absent."""
    if shutil.which("kubectl") is None:
        pytest.skip("rendering the Kubernetes manifests needs kubectl, which is not installed here")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(folder: Path) -> dict[str, dict[str, Any]]:
    """The rendered documents, by kind; each kind occurs once."""
    found = list(yaml.safe_load_all(render(folder)))
    assert len({document["kind"] for document in found}) == len(found)
    return {document["kind"]: document for document in found}


def cluster(folder: Path) -> dict[str, Any]:
    spec: dict[str, Any] = documents(folder)["RayJob"]["spec"]["rayClusterSpec"]
    return spec


def head(folder: Path) -> dict[str, Any]:
    """Pod spec of the head."""
    spec: dict[str, Any] = cluster(folder)["headGroupSpec"]["template"]["spec"]
    return spec


def worker(folder: Path) -> dict[str, Any]:
    """Pod spec of the one group of workers."""
    (group,) = cluster(folder)["workerGroupSpecs"]
    spec: dict[str, Any] = group["template"]["spec"]
    return spec


def pods(folder: Path) -> list[dict[str, Any]]:
    submitter = documents(folder)["RayJob"]["spec"]["submitterPodTemplate"]["spec"]
    return [head(folder), worker(folder), submitter]


def environment(pod: Mapping[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}


def dockerfile() -> list[str]:
    """The instructions of the Dockerfile, continued lines joined, comments left out."""
    text = (ROOT / "docker/Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [line for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines() if line]


def instruction(name: str) -> list[str]:
    """The arguments of every use of an instruction, in order."""
    return [rest for word, _, rest in (line.partition(" ") for line in dockerfile()) if word == name]
