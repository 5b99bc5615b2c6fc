"""environment.yml, pyproject.toml and requirements/ say the same, and none names a package index."""

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LOCKS = ("default", "wheel", "dev", "lower", "rehearsal", "build", "uv")
# Put together from halves, so that this file does not name what it forbids.
HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "download." + "pytorch.org",
    "conda." + "anaconda.org",
    "repo." + "anaconda.com",
    "pypi." + "nvidia.com",
    "pypi." + "ngc",
]
# An index can also be named by an option, whatever its host.
INDEX_OPTION = re.compile(
    r"--(?:extra-)?index-url[ =]|--find-links[ =]|^\s*-[if] +\S+:|(?:default-)?index ?= ?[\"']http", re.M
)


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    loaded = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(loaded["project"])


def lock_entries(text: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Requirement and hashes by normalised name. Raises AssertionError for a package locked twice."""
    entries: dict[str, tuple[Requirement, list[str]]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line.split(" --hash=")[0])
            name = canonicalize_name(requirement.name)
            assert name not in entries, f"{name} is locked twice"
            entries[name] = (requirement, re.findall(r"--hash=(\S+)", line))
    return entries


def read_lock(repository: Path, name: str) -> dict[str, tuple[Requirement, list[str]]]:
    return lock_entries((repository / f"requirements/{name}.txt").read_text(encoding="utf-8"))


def version_of(entry: tuple[Requirement, list[str]]) -> Version:
    (pin,) = entry[0].specifier
    assert pin.operator == "==", entry[0]
    return Version(pin.version)


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_and_hashed(repository: Path, name: str) -> None:
    entries = read_lock(repository, name)
    assert entries
    for entry in entries.values():
        version_of(entry)
        assert entry[1], f"{entry[0]} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", hashed) for hashed in entry[1])


@pytest.mark.parametrize(
    ("name", "extras"),
    [("wheel", ()), ("default", ("ffcv",)), ("dev", ("dev",)), ("lower", ("dev",)), ("rehearsal", ("dev",))],
)
def test_locks_satisfy_pyproject(
    repository: Path, project: dict[str, Any], name: str, extras: tuple[str, ...]
) -> None:
    entries = read_lock(repository, name)
    optional = [text for extra in extras for text in project["optional-dependencies"][extra]]
    for wanted in map(Requirement, [*project["dependencies"], *optional]):
        if wanted.name == project["name"]:
            # An extra that is made of others.
            others = {text for extra in wanted.extras for text in project["optional-dependencies"][extra]}
            assert {canonicalize_name(Requirement(text).name) for text in others} <= entries.keys()
            continue
        entry = entries[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version_of(entry)), f"{name}.txt: {entry[0]} is not {wanted}"


def test_dev_lock_contains_default_lock(repository: Path) -> None:
    default, dev = read_lock(repository, "default"), read_lock(repository, "dev")
    assert {name: version_of(entry) for name, entry in default.items()} == {
        name: version_of(entry) for name, entry in dev.items() if name in default
    }
    assert {"pytest", "ruff", "mypy"} <= dev.keys() - default.keys()


def test_lower_lock_pins_lowest_torch(repository: Path, project: dict[str, Any]) -> None:
    lower = read_lock(repository, "lower")
    for name in ("torch", "torchvision"):
        (text,) = [text for text in project["dependencies"] if re.match(rf"{name}\b", text)]
        (bound,) = [part for part in Requirement(text).specifier if part.operator == ">="]
        locked = version_of(lower[name])
        assert locked.release[:2] == Version(bound.version).release[:2]


def test_ffcv_build_and_runtime_setuptools_agree(repository: Path) -> None:
    build, default = read_lock(repository, "build"), read_lock(repository, "default")
    assert version_of(build["setuptools"]) == version_of(default["setuptools"])


def test_conda_environment_matches_lock(repository: Path, project: dict[str, Any]) -> None:
    environment = yaml.safe_load((repository / "environment.yml").read_text(encoding="utf-8"))
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if not isinstance(entry, str)]
    # The lock itself, so that no version can differ; conda's own packages are none of its Python packages.
    assert pip == ["-r requirements/wheel.txt"]
    names = {re.split(r"[<>= ]", entry)[0] for entry in plain}
    assert names.isdisjoint(read_lock(repository, "wheel"))
    assert {"pip", "c-compiler", "pkg-config", "libjpeg-turbo"} <= names
    assert f"python{project['requires-python']}" in plain
    assert environment["name"] == project["name"]


def test_wheel_lock_is_default_lock_without_ffcv(repository: Path) -> None:
    default, wheel = read_lock(repository, "default"), read_lock(repository, "wheel")
    assert {name: version_of(entry) for name, entry in wheel.items()} == {
        name: version_of(default[name]) for name in wheel
    }
    assert default.keys() - wheel.keys() == {"ffcv", "assertpy", "opencv-python", "pytorch-pfn-extras"}


def test_wheel_lock_holds_all_that_its_packages_ask_for(repository: Path) -> None:
    """conda calls pip with hashes: pip then refuses a file in which one package has none. Nothing is downloaded."""
    wheel, looked_at = read_lock(repository, "wheel"), set()
    for name, entry in wheel.items():
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(found.version) != version_of(entry):
            continue
        looked_at.add(name)
        for needed in map(Requirement, found.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in wheel, f"{name} asks for {needed}"
    assert {"numba", "pillow"} <= looked_at or not looked_at


@pytest.mark.slow
def test_conda_environments_pip_part_can_be_solved(repository: Path, tmp_path: Path) -> None:
    """By uv, for each Python that conda may choose. What conda itself brings can't be solved without its channels."""
    uv = subprocess.run([repository / "scripts/find_uv.sh"], capture_output=True, text=True, check=True)
    for python in ("3.11", "3.13"):
        done = subprocess.run(
            [
                *(uv.stdout.strip(), "pip", "compile", "--quiet", "--no-config", "--generate-hashes"),
                *("--python-platform", "linux", "--python-version", python),
                *("--output-file", str(tmp_path / "solved.txt"), str(repository / "requirements/wheel.txt")),
            ],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if re.search("dns error|failed to fetch|connection|timed out", done.stderr, re.I):
            pytest.skip("no package index can be reached here")
        assert done.returncode == 0, done.stderr
        solved, locked = lock_entries((tmp_path / "solved.txt").read_text()), read_lock(repository, "wheel")
        # Nothing is asked for that the lock lacks, at no other version.
        assert solved.keys() <= locked.keys()
        assert all(version_of(solved[name]) == version_of(locked[name]) for name in solved)


def test_python_range_is_the_same_everywhere(repository: Path, project: dict[str, Any]) -> None:
    assert project["requires-python"] == ">=3.11,<3.14"
    setup = (repository / "scripts/setup.sh").read_text(encoding="utf-8")
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in setup
    lock = (repository / "scripts/lock.sh").read_text(encoding="utf-8")
    assert "\npython=3.11\n" in lock and '--python-version "$python" ' in lock


def offences(text: str, home: str) -> list[str]:
    """What must not be in a file: an index's host, an option that names one, this checkout's own path."""
    found = [host for host in HOSTS if host in text]
    found += INDEX_OPTION.findall(text)
    # A checkout at / or /repo is too short a name to tell from other text.
    if home.count("/") > 1:
        found += re.findall(rf"(?<![\w./-]){re.escape(home)}(?![\w-])", text)
    return found


def files_of(repository: Path) -> list[str]:
    """What git tracks; where git is missing, every file outside hidden folders, caches and results."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    try:
        listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        paths = [file.relative_to(repository) for file in repository.rglob("*") if file.is_file()]
        results = {"runs", "build", "dist", "data"}
        return [
            path.as_posix()
            for path in paths
            if path.parts[0] not in results
            and not any(part.startswith(".") or part == "__pycache__" for part in path.parts[:-1])
        ]
    return [name for name in listed.stdout.split("\0") if name]


def test_no_file_names_package_index_or_machine(repository: Path) -> None:
    names = files_of(repository)
    assert "Makefile" in names
    assert "uv.lock" not in names
    for name in names:
        file = repository / name
        if not file.is_file():
            continue
        found = offences(file.read_bytes().decode("utf-8", errors="replace"), str(repository))
        assert not found, f"{name}: {found}"


@pytest.mark.parametrize(
    "text",
    [
        f"see https://{HOSTS[0]}/simple",
        "--index-" + "url https://mirror.example/simple",
        "--extra-index-" + "url=https://mirror.example/simple",
        "-" + "i https://mirror.example/simple",
        "--find-" + "links /opt/wheels",
        "cd /somewhere/checkout && make",
    ],
)
def test_index_search_finds_examples(text: str) -> None:
    assert offences(text, "/somewhere/checkout")
    assert not offences(
        "torch==2.7.1 --hash=sha256:00 # -if it is so: pip install -r requirements/default.txt", "/x/y"
    )


def test_package_locked_twice_is_reported() -> None:
    with pytest.raises(AssertionError, match="locked twice"):
        lock_entries("a==1 ; python_version < '3.12' --hash=x\na==2 --hash=y")
