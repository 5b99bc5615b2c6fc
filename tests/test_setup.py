"""scripts/setup.sh on made-up machines: what it says where something is missing, and what it picks.

Each test runs a copy of the scripts with a PATH of its own that holds the plain tools and what the test
adds; nothing is installed and no network is asked.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.data.native.compile import library_path

TOOLS = [
    *("awk", "bash", "cat", "cut", "dirname", "env", "flock", "grep", "id", "mkdir"),
    *("rm", "sed", "sh", "sha256sum", "sort", "tail", "touch", "uname"),
]
NATIVE = "engine/data/native"


class Machine:
    """A copy of the scripts and requirements, and the commands its user has."""

    def __init__(self, root: Path, repository: Path) -> None:
        self.root, self.bin = root / "checkout", root / "bin"
        self.bin.mkdir(parents=True)
        for folder in ("scripts", "requirements"):
            shutil.copytree(repository / folder, self.root / folder)
        shutil.copytree(repository / NATIVE, self.root / NATIVE, ignore=shutil.ignore_patterns("*.so", ".*"))
        self.library = self.root / NATIVE / library_path().name
        for tool in TOOLS:
            path = shutil.which(tool)
            assert path, tool
            (self.bin / tool).symlink_to(path)

    def command(self, name: str, script: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def setup(self, *arguments: str, home: str | None = "") -> subprocess.CompletedProcess[str]:
        """Run it; HOME is the machine's folder, `home`, or unset (None)."""
        return subprocess.run(
            [str(self.root / "scripts/setup.sh"), *arguments],
            env={"PATH": str(self.bin)} | ({} if home is None else {"HOME": home or str(self.root)}),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def function(self, call: str) -> str:
        """What one of the script's functions prints; the rest of the script is not run."""
        text = (self.root / "scripts/setup.sh").read_text(encoding="utf-8")
        functions = text.partition('\nif [ "$purpose" = setup ]')[0].replace('cd "$(dirname "$0")/.."', "")
        done = subprocess.run(
            ["bash", "-c", f"{functions}\n{call}"],
            cwd=self.root,
            env={"PATH": str(self.bin)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def pretend_installed(self, name: str, built: bool = True) -> None:
        """Leave what an installation of that set leaves, as far as set-up looks, with the C decoders or without."""
        if built:
            self.library.touch()
        python = self.root / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.symlink_to(self.bin / "sh")
        (self.root / ".venv/.engine-setup").write_text(f"{name} {self.function(f'hash_of {name}')}\n")

    def uv_script(self) -> str:
        """A uv that installs nothing: the requirements end in `installed`, and its Python can import and build."""
        python = self.root / ".venv/bin/python"
        builds = f'case "$*" in *"engine build"*) : > "{self.library}";; esac'
        return f"""case $1 in
            --version) echo uv 0.13.9;;
            venv) mkdir -p {python.parent}; rm -f {python}; echo '#!/bin/sh\n{builds}' >{python}
                {shutil.which("chmod")} +x {python};;
            pip) for file; do :; done; cat $file >{self.root}/installed; echo "$UV_CACHE_DIR" >{self.root}/cache;;
            esac"""

    @property
    def installed(self) -> set[str]:
        """What uv was asked to install."""
        text = (self.root / "installed").read_text(encoding="utf-8")
        return set(re.findall(r"^([a-z][\w-]*)==", text, re.M))

    def is_ordinary_user(self) -> None:
        """No root and no sudo, but an apt-get."""
        self.command("apt-get", "echo called >&2; exit 1")
        (self.bin / "id").unlink()
        self.command("id", "echo 1000")

    def python(self, script: str) -> None:
        """Put this shell script in the place of the environment's Python."""
        file = self.root / ".venv/bin/python"
        file.unlink()
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, repository: Path) -> Machine:
    return Machine(tmp_path, repository)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


PACKAGES = "g++ pkg-config libturbojpeg0-dev libopencv-dev libjpeg-dev"


def test_no_apt_names_missing_packages_and_does_the_rest(machine: Machine) -> None:
    machine.command("uv", machine.uv_script())
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    first = done.stderr.splitlines()[0]
    assert first.startswith("setup: no apt-get on this system (") and first.endswith(
        f" are missing: {PACKAGES}"
    )
    assert f"An administrator can install the equivalents of Debian's {PACKAGES}" in done.stderr
    assert "ready" in done.stdout and "torch" in machine.installed


@pytest.mark.skipif(os.getuid() != 0, reason="as root, set-up calls apt-get itself")
def test_failing_apt_is_quoted(machine: Machine) -> None:
    machine.command(
        "apt-get", 'case "$*" in *install*) echo "E: Unable to locate package g++"; exit 100;; esac'
    )
    done = machine.setup("speedrun")
    assert done.returncode == 1
    assert "E: Unable to locate package g++" in done.stderr
    assert "apt-get could not install: g++" in last_line(done)


def test_ordinary_user_is_told_the_loss_and_gets_the_rest(machine: Machine) -> None:
    machine.command("uv", machine.uv_script())
    machine.is_ordinary_user()
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    whole, decoders, ffcv, way_out = done.stderr.splitlines()
    assert whole.startswith("setup: no root here") and whole.endswith(PACKAGES)
    assert "JPEGs are decoded by Pillow" in decoders and "libjpeg-dev" in decoders
    assert "no ffcv, which comparisons" in ffcv and "libopencv-dev" in ffcv
    assert f"An administrator can type: apt-get install {PACKAGES};" in way_out
    assert {"torch", "numba", "opencv-python-headless", "pytest"} <= machine.installed
    assert "ffcv" not in machine.installed
    again = machine.setup("lint")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_ffcv_is_made_up_for_once_it_can_be_built(machine: Machine) -> None:
    machine.command("uv", machine.uv_script())
    machine.is_ordinary_user()
    machine.setup()
    for tool in ("g++", "pkg-config"):
        machine.command(tool, "exit 0")
    done = machine.setup()
    assert (done.returncode, done.stderr) == (0, "")
    assert "ffcv" in machine.installed
    assert machine.setup().stdout == ""


def test_user_without_uv_and_venv_is_told_a_way(machine: Machine) -> None:
    machine.is_ordinary_user()
    (machine.root / "scripts/find_uv.sh").write_text("#!/bin/sh\nexit 1\n")
    done = machine.setup()
    assert done.returncode == 1
    assert "python3-venv" in done.stderr and "install uv for yourself" in last_line(done)


@pytest.mark.parametrize("home", [None, "/proc/none"])
def test_home_unset_or_read_only_keeps_uvs_files_here(machine: Machine, home: str | None) -> None:
    machine.command("uv", machine.uv_script())
    machine.is_ordinary_user()
    done = machine.setup(home=home)
    assert done.returncode == 0, done.stderr
    assert "setup: no home folder that can be written" in done.stdout
    assert (machine.root / "cache").read_text() == f"{machine.root}/.tools/uv-cache\n"
    assert machine.setup("lint", home=home).stderr == ""


@pytest.mark.parametrize("arguments", [("speedrunn",), ("test", "lowest")])
def test_unknown_argument_is_one_line_error(machine: Machine, arguments: tuple[str, ...]) -> None:
    done = machine.setup(*arguments)
    assert done.returncode == 2
    assert f"'{arguments[-1]}'" in done.stderr


@pytest.mark.parametrize(
    ("installed", "arguments"),
    [
        ("default", ("bench",)),
        ("dev", ("bench",)),
        ("dev", ("lint",)),
        ("dev", ("setup",)),
        ("lower", ("gpu",)),
        ("lower", ("setup", "lower")),
    ],
)
def test_complete_setup_prints_nothing(machine: Machine, installed: str, arguments: tuple[str, ...]) -> None:
    machine.pretend_installed(installed)
    done = machine.setup(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("installed", "arguments"),
    [("default", ("lint",)), ("dev", ("setup", "lower")), ("lower", ("setup", "dev"))],
)
def test_other_set_wanted_reinstalls(machine: Machine, installed: str, arguments: tuple[str, ...]) -> None:
    machine.pretend_installed(installed)
    machine.command("uv", machine.uv_script())
    assert "setup: installing the locked environment" in machine.setup(*arguments).stdout


def test_changed_lock_reinstalls(machine: Machine) -> None:
    machine.pretend_installed("dev")
    with (machine.root / "requirements/dev.txt").open("a") as lock:
        lock.write("more==1\n")
    machine.command("uv", machine.uv_script())
    assert "setup: installing the locked environment" in machine.setup("lint").stdout


@pytest.mark.parametrize(
    ("driver", "capability", "expected"),
    [
        ("580.65.06", "9.0\n10.0", "dev"),
        ("590.1\n590.1", "10.0\n7.0", "lower"),
        ("535.1", "8.0", "lower"),
        ("470.1", 'Field "compute_cap" is not a valid field to query.', "lower"),
        ("NVIDIA-SMI has failed", "NVIDIA-SMI has failed", "dev"),
    ],
)
def test_old_gpu_or_driver_gets_lower_set(
    machine: Machine, driver: str, capability: str, expected: str
) -> None:
    machine.command("nvidia-smi", f"case \"$*\" in *driver*) echo '{driver}';; *) echo '{capability}';; esac")
    assert machine.function("choose_set 2>/dev/null") == expected


def test_no_gpu_gets_newest_set(machine: Machine) -> None:
    assert machine.function("choose_set") == "dev"


@pytest.mark.parametrize(("installed", "expected"), [("lower", "lower"), ("dev", "dev"), ("default", "dev")])
def test_chosen_set_is_kept_when_renewed(machine: Machine, installed: str, expected: str) -> None:
    machine.pretend_installed(installed)
    assert machine.function("choose_set") == expected


def test_engine_is_found_from_any_folder(machine: Machine) -> None:
    machine.pretend_installed("dev")
    packages = machine.root / ".venv/lib/python3.12/site-packages"
    packages.mkdir(parents=True)
    for _ in range(2):
        done = machine.setup("setup")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert (packages / "engine.pth").read_text() == f"{machine.root}\n"


def test_missing_decoders_are_built(machine: Machine) -> None:
    machine.pretend_installed("dev", built=False)
    for tool in ("g++", "pkg-config"):
        machine.command(tool, "exit 0")
    machine.python(f'[ "$*" != "-m engine build" ] || : > "{machine.library}"')
    done = machine.setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "setup: building the C decoders\n", "")
    assert machine.library.exists()
    assert machine.setup().stdout == ""


def test_changed_c_sources_rebuild_decoders(machine: Machine) -> None:
    machine.pretend_installed("dev")
    assert machine.function("decoders_built && echo built") == "built"
    with (machine.root / NATIVE / "resize.c").open("a") as file:
        file.write("\n")
    assert machine.function("decoders_built && echo built") == ""


def test_no_compiler_still_sets_up(machine: Machine) -> None:
    machine.pretend_installed("dev", built=False)
    machine.python("echo 'error: no C compiler: install gcc' >&2; exit 2")
    done = machine.setup()
    assert done.returncode == 0
    assert "no apt-get" in done.stderr and "libjpeg-dev" in done.stderr
    assert "could not build them: numba decodes instead, slower" in done.stdout
    assert "(error: no C compiler: install gcc)" in done.stdout


class Mac:
    """The machine as macOS shows itself: Apple's and Homebrew's commands, no sha256sum, no flock, no apt."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.brewed = machine.root / "brewed"
        sha256sum = shutil.which("sha256sum")
        for tool in ("uname", "sha256sum", "flock"):
            (machine.bin / tool).unlink()
        machine.command("uname", f"case $1 in -s) echo Darwin;; -m) echo {os.uname().machine};; esac")
        machine.command("shasum", f'[ "$*" = "-a 256" ] && exec {sha256sum}')
        machine.command("xcode-select", "exit 0")

    def homebrew(self) -> None:
        """`brew`, which brings pkg-config, with libjpeg where Homebrew has it, and a uv that installs nothing."""
        bin, prefix = self.machine.bin, "/opt/homebrew/opt/jpeg-turbo"
        known = f'case "$PKG_CONFIG_PATH $*" in "{prefix}/lib/pkgconfig --exists libjpeg") exit 0;; *) exit 1;; esac'
        for name, script in (("pkg-config", known), ("uv", self.machine.uv_script())):
            self.machine.command(f"new-{name}", script)
        moved = "; ".join(
            f"{shutil.which('cp')} {bin}/new-{name} {bin}/{name}" for name in ("pkg-config", "uv")
        )
        self.machine.command(
            "brew", f'case $1 in --prefix) echo {prefix};; install) echo "$*" >>{self.brewed}; {moved};; esac'
        )


@pytest.fixture
def mac(machine: Machine) -> Mac:
    return Mac(machine)


def test_macos_installs_from_homebrew_without_ffcv(mac: Mac) -> None:
    mac.homebrew()
    done = mac.machine.setup()
    assert done.returncode == 0, done.stderr
    assert mac.brewed.read_text() == "install jpeg-turbo pkg-config uv\n"
    assert "setup: installing from Homebrew: jpeg-turbo pkg-config uv" in done.stdout
    assert "building the C decoders" in done.stdout and mac.machine.library.exists()
    installed = mac.machine.installed
    assert {"torch", "numba"} <= installed and "ffcv" not in installed
    assert not any(name.startswith("nvidia-") for name in installed)
    again = mac.machine.setup()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_macos_without_homebrew_names_it(mac: Mac) -> None:
    done = mac.machine.setup()
    assert done.returncode == 1
    assert last_line(done) == (
        "setup: no Homebrew (https://brew.sh): install it, or jpeg-turbo pkg-config uv in another way, then try again"
    )


def test_macos_without_compiler_names_xcode_select(mac: Mac) -> None:
    mac.homebrew()
    mac.machine.command("xcode-select", "exit 2")
    done = mac.machine.setup()
    assert done.returncode == 1
    assert last_line(done) == "setup: no C compiler: run xcode-select --install, then try again"


# What bash 3.2, macOS's, does not know; an empty array is unset to it.
_NEWER = re.compile(
    r"declare -[AgnlU]|local -[An]|\$\{\w+(,,|\^\^|@\w)|mapfile|readarray|coproc|wait -n|\|&|&>>|;;&|;&"
    r"|\[\[ -v |\$\{\w+: -\d|printf '%\(|(?<!\+)\"\$\{packages\[@\]\}\"|(?<!\+)\"\$\{sudo\[@\]\}\""
)


@pytest.mark.parametrize("script", ["setup.sh", "setup_macos.sh", "find_uv.sh"])
def test_setup_scripts_need_no_newer_bash(repository: Path, script: str) -> None:
    assert _NEWER.search("declare -A found") and _NEWER.search('for one in "${packages[@]}"')
    lines = (repository / "scripts" / script).read_text().splitlines()
    assert [line for line in lines if _NEWER.search(line)] == []
