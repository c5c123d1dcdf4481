"""What is installed is what is pinned, wherever it is installed; and what goes wrong says why."""

import os
import re
import stat
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
EXTRAS = [
    Requirement(text)
    for texts in PROJECT["project"]["optional-dependencies"].values()
    for text in texts
]
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE
    )
}
BUILD_ONLY = {"editables"}  # hatchling asks for it when it makes an editable wheel
CONDA_NAMES = {"pytorch-cpu": "torch"}
CONDA_ONLY = {"python", "pip", "hatchling"}
PLATFORMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
]


def conda_dependencies(path):
    """The conda packages (name -> version specification) and the pip lines of a file."""
    entries = yaml.safe_load((ROOT / path).read_text())["dependencies"]
    pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    specs = [re.match(r"([\w-]+)(.*)", entry) for entry in entries if isinstance(entry, str)]
    return {CONDA_NAMES.get(found[1], found[1]): found[2] for found in specs}, pip


def admits(conda_spec, version):
    """Whether a conda specification such as ``=2.13.*`` or ``>=6.29,<7|>=7.4`` admits a version."""
    for alternative in conda_spec.split("|"):
        parts = [re.sub(r"^=(?!=)", "==", part) for part in alternative.split(",") if part]
        if SpecifierSet(",".join(parts)).contains(version):
            return True
    return False


def closure(platform):
    """Every package that this project's requirements reach on a platform."""
    todo, seen = [*RUNTIME, *EXTRAS], set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                required = distribution(name).requires or []
            except PackageNotFoundError:  # it belongs to another platform
                continue
            for text in required:
                each = Requirement(text)
                if each.marker is None or each.marker.evaluate({**platform, "extra": extra}):
                    todo.append(each)
    return {name for name, _ in seen}


def make(*arguments, **environment):
    """Run make in the root, apart from a make that runs these tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={**inherited, "MAKEFLAGS": "", **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def sentences(done):
    """What make's recipe wrote, without make's own line on the status."""
    lines = done.stderr.splitlines()
    return [line for line in lines if not line.startswith("make: ***")]


# Versions


def test_binder_starts_from_the_python_that_conda_has_and_nothing_else():
    ours, pip = conda_dependencies("environment.yml")
    binders, binders_pip = conda_dependencies("binder/environment.yml")
    assert binders == {name: ours[name] for name in ("python", "pip")}
    assert (pip, binders_pip) == (["-e ."], [])


def test_binder_installs_the_pinned_versions_and_the_cpu_build(tmp_path):
    """``postBuild`` is run with a python that only writes down what it is asked."""
    script(tmp_path / "python", 'echo "$* [$PIP_CONSTRAINT $PIP_BUILD_CONSTRAINT]" >>"$HOME/asked"')
    subprocess.run(
        ["bash", ROOT / "binder" / "postBuild"],
        cwd=ROOT,
        env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}",
             "PIP_CONSTRAINT": "", "PIP_BUILD_CONSTRAINT": ""},
        check=True,
    )  # fmt: skip
    torch, rest, *_ = (tmp_path / "asked").read_text().splitlines()
    index = re.search("^cpu_index=(.*)$", (ROOT / "tools" / "install.sh").read_text(), re.MULTILINE)
    assert f"--no-deps --extra-index-url {index[1]} torch=={PINS['torch']}+cpu [ ]" in torch
    assert re.search(r" install .* \. .*\[constraints.txt constraints.txt\]$", rest)
    assert "--extra-index-url" not in rest
    assert (tmp_path / ".jupyter" / "jupyter_server_config.json").is_file()


def test_conda_gets_every_runtime_dependency_so_that_pip_fetches_none():
    specs, _ = conda_dependencies("environment.yml")
    assert set(specs) - CONDA_ONLY == {canonicalize_name(each.name) for each in RUNTIME}


def test_conda_and_pip_admit_the_pinned_versions():
    specs, _ = conda_dependencies("environment.yml")
    for name, spec in specs.items():
        if name not in {"python", "pip"}:
            assert admits(spec, PINS[name]), (name, spec, PINS[name])
    for requirement in [*RUNTIME, *EXTRAS]:
        version = PINS[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (str(requirement), version)


def test_one_oldest_python_is_named_everywhere():
    requires = PROJECT["project"]["requires-python"]
    assert requires == ">=3.11"
    assert "\noldest_minor=11 " in (ROOT / "tools" / "install.sh").read_text()
    assert SpecifierSet(requires).contains(conda_dependencies("environment.yml")[0]["python"][1:])


def test_pre_commit_uses_the_pinned_versions():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for repository in hooks:
        name = repository["repo"].rpartition("/")[2].removesuffix("-pre-commit")
        assert repository["rev"].removeprefix("v") == PINS[name]


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform["sys_platform"])
def test_every_package_that_is_needed_is_pinned(platform):
    assert closure(platform) - set(PINS) == set()


def test_nothing_is_pinned_that_is_not_needed():
    needed = set.union(*map(closure, PLATFORMS))
    assert set(PINS) - needed == BUILD_ONLY


def test_the_installed_versions_are_the_pinned_ones():
    wrong = {}
    for name, pinned in PINS.items():
        try:
            installed = distribution(name).version
        except PackageNotFoundError:  # of another platform, or for building only
            continue
        if installed.partition("+")[0] != pinned:
            wrong[name] = f"{installed}, pinned {pinned}"
    assert wrong == {}


@pytest.mark.skipif(sys.platform == "darwin", reason="there is no CUDA build for macOS")
def test_pytorch_is_the_cpu_build():
    assert distribution("torch").version == f"{PINS['torch']}+cpu"


# What is in the package


def test_the_wheel_holds_the_package_with_its_data_and_the_template(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "insitu_widgets").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package - held == set()
    assert [name for name in held if name.endswith("templates/insitu/index.html.j2")]


def test_the_installed_template_is_this_checkouts():
    template = Path("share") / "jupyter" / "voila" / "templates" / "insitu"
    for path in (ROOT / template).iterdir():
        assert (Path(sys.prefix) / template / path.name).read_text() == path.read_text()


@pytest.mark.parametrize("path", ["binder/postBuild", "binder/start", ".ci/run"])
def test_scripts_are_executable_and_stop_at_the_first_error(path):
    text = (ROOT / path).read_text()
    assert (ROOT / path).stat().st_mode & stat.S_IXUSR
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", path], cwd=ROOT, check=True)


def test_repo2docker_accepts_the_binder_folder():
    done = subprocess.run(
        [sys.executable, "-m", "repo2docker", "--no-build", "."],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    dockerfile = done.stdout + done.stderr
    assert "python=3.11" in dockerfile
    assert "binder/environment.yml" in dockerfile
    assert "./binder/postBuild" in dockerfile


# What goes wrong


def test_an_old_python_is_refused_in_one_sentence(tmp_path):
    old = script(tmp_path / "python", "echo 3.9")
    done = make("dashboard", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    (sentence,) = sentences(done)
    assert done.returncode != 0
    assert "is Python 3.9, but the explorer needs Python 3.11 or newer" in sentence
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_refused_in_one_sentence(tmp_path):
    done = make("dashboard", f"PYTHON={tmp_path}/none", f"VENV={tmp_path}/venv")
    (sentence,) = sentences(done)
    assert done.returncode != 0
    assert f"PYTHON={tmp_path}/none cannot be run" in sentence


def test_a_python_that_prints_no_version_is_refused_in_one_sentence(tmp_path):
    silent = script(tmp_path / "python", "exit 0")
    done = make("dashboard", f"PYTHON={silent}", f"VENV={tmp_path}/venv")
    (sentence,) = sentences(done)
    assert f"PYTHON={silent} cannot be run" in sentence


def test_the_lab_takes_the_port_and_lets_root_in_only_if_it_is_root(tmp_path):
    script(tmp_path / "id", "echo $WHO")
    for who, given, options in (("0", [], "8888' --allow-root "), ("7", ["PORT=9001"], "9001'  n")):
        (tmp_path / "venv").mkdir(exist_ok=True)
        done = make(
            *("-n", "lab", f"VENV={tmp_path}/venv", *given),
            PATH=f"{tmp_path}:{os.environ['PATH']}",
            WHO=who,
        )
        assert f"jupyterlab --port='{options}" in done.stdout


def test_a_python_without_venv_is_refused_in_one_sentence(tmp_path):
    bare = script(
        tmp_path / "python", 'case "$2" in *version_info*) echo 3.12 ;; *) exit 1 ;; esac'
    )
    done = make("dashboard", f"PYTHON={bare}", f"VENV={tmp_path}/venv")
    (sentence,) = sentences(done)
    assert "no module venv" in sentence
    assert "apt-get install python3.12-venv" in sentence


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    done = make("dashboard", f"PYTHON={sys.executable}", f"VENV={tmp_path}")
    (sentence,) = sentences(done)
    assert "is not a virtual environment" in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_a_network_one_sentence_says_so_and_nothing_looks_installed(tmp_path):
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / ".installing").touch()  # as an installation leaves it that was cut short
    (venv / "half").touch()
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    done = make("dashboard", f"PYTHON={sys.executable}", f"VENV={venv}", **nowhere, **alone)
    (sentence,) = sentences(done)
    assert done.returncode != 0
    assert "is this machine on the internet?" in sentence
    assert f"pip's log is {venv}/pip.log" in sentence
    assert "cut short: starting afresh" in done.stdout
    assert not (venv / "half").exists()
    assert (venv / "pip.log").is_file()
    assert not (venv / ".installed").exists()
