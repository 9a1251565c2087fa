"""The image: what it is built from, and what it must not hold. Building it is done by hand; see docker/README.md."""

import json
import re
import shlex
import tomllib

from tests.deploy.rendering import ROOT, dockerfile, instruction


def test_runs_as_a_numbered_user_that_is_not_root():
    defaults = dict(argument.split("=", 1) for argument in instruction("ARG"))
    assert instruction("USER")[-1] == "${UID}:${UID}"
    assert int(defaults["UID"]) >= 1000


def test_holds_what_torch_compile_and_kuberay_need_at_run_time():
    (install,) = [line for line in instruction("RUN") if "apt-get install" in line]
    assert {"gcc", "g++", "python3-dev", "wget", "tini"} <= set(shlex.split(install))


def test_shows_cuda_and_nvml_and_leaves_the_choice_of_boards_to_the_start():
    environment = " ".join(instruction("ENV"))
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in environment
    assert "NVIDIA_VISIBLE_DEVICES" not in environment


def test_every_installation_is_pinned_or_of_the_project_alone():
    installations = [line for line in instruction("RUN") if "pip install" in line]
    assert len(installations) == 2
    for line in installations:
        assert "--constraint constraints.txt" in line or "--no-deps" in line
        assert "--mount=type=secret,id=pip," in line


def test_dependencies_come_before_the_code():
    lines = dockerfile()
    dependencies = next(number for number, line in enumerate(lines) if "--constraint constraints.txt" in line)
    code = next(number for number, line in enumerate(lines) if line.startswith("COPY greenray"))
    assert dependencies < code


def test_the_build_context_has_every_file_that_is_copied_and_little_else():
    ignore = (ROOT / "docker/Dockerfile.dockerignore").read_text().splitlines()
    admitted = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {source for line in instruction("COPY") for source in shlex.split(line)[:-1]}
    assert "*" in ignore
    assert admitted == copied
    assert all((ROOT / name).exists() for name in admitted)


def test_holds_what_the_package_is_built_from():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copied = {source for line in instruction("COPY") for source in shlex.split(line)[:-1]}
    assert {project["readme"], *project["license-files"]} <= copied


def test_starts_the_command_line():
    assert json.loads(instruction("ENTRYPOINT")[-1])[-1] == "greenray"
    assert json.loads(instruction("CMD")[-1]) == ["--help"]


def test_the_readme_explains_every_build_argument():
    readme = (ROOT / "docker/README.md").read_text()
    for argument in instruction("ARG"):
        name, _, default = argument.partition("=")
        row = re.search(rf"^\| `{name}` \| (.*?) \|", readme, re.MULTILINE)
        assert row is not None, name
        assert default in row[1] or name == "TORCH_INDEX"
