"""What all tests share: the `gpu` marker's rule, and the real images that lie beside a checkout, unpacked once."""

import argparse
import signal
import tarfile
from pathlib import Path

import pytest

from engine.train.ranks.process import limit_spinning

ROOT = Path(__file__).resolve().parents[1]


def _why_no_gpu() -> str:
    """Empty where a GPU test can run, else the reason it can't."""
    import warnings

    import torch

    with warnings.catch_warnings(record=True) as caught:
        # An old driver is told by a warning, which is an error in these tests: here it is the reason.
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        return ""
    return str(caught[0].message).splitlines()[0] if caught else "torch sees no CUDA device"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--part=K/N`: every N-th of the selected tests, beginning with the K-th."""
    parser.addoption("--part", type=_part, help="K/N: run every N-th of the selected tests, from the K-th on")


def _part(text: str) -> tuple[int, int]:
    first, _, step = text.partition("/")
    if not (first.isdigit() and step.isdigit() and 1 <= int(first) <= int(step)):
        raise argparse.ArgumentTypeError(f"{text!r}: give K/N with K from 1 to N, such as 1/4")
    return int(first), int(step)


def pytest_configure() -> None:
    """Ctrl-C ends what the tests start, also where they run in the background of a shell, which lets it be ignored.

    And threads of several test processes on the same cores don't spin for each other (engine.train.ranks.process).
    """
    limit_spinning()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# After pytest's own hook, which deselects by -m and -k.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """GPU tests run by themselves where CUDA is present and are skipped, with the reason, elsewhere.

    With --part, only every N-th of the selected tests runs.
    """
    if part := config.getoption("--part"):
        first, step = part
        others = [item for index, item in enumerate(items) if index % step != first - 1]
        config.hook.pytest_deselected(items=others)
        items[:] = items[first - 1 :: step]
    marked = [item for item in items if item.get_closest_marker("gpu")]
    # torch takes seconds to import: only where a test asks for a GPU.
    reason = _why_no_gpu() if marked else ""
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {reason}"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout; a test that needs it is skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images here: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """488 ImageNet photos as an image folder of four made-up classes: 391 in train/, each fifth in val/."""
    folder = tmp_path_factory.mktemp("photos")
    with _archive(shared_data / "imagenet-photos.tar") as tar:
        for index, member in enumerate(member for member in tar if member.isfile()):
            split = "val" if index % 5 == 4 else "train"
            _unpack(tar, member, folder / split / f"class{index % 4}" / Path(member.name).name)
    return folder


@pytest.fixture(scope="session")
def cifar10(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's first 60 images of each class in train/<class>/ and 20 in test/<class>/, JPEGs of 32 x 32."""
    folder = tmp_path_factory.mktemp("cifar10")
    archive = shared_data / "cifar10-jpeg.tgz"
    if not archive.is_file():
        pytest.skip(f"no real images here: {archive} does not exist")
    unpack_cifar10(archive, folder)
    return folder


def unpack_cifar10(archive: Path, folder: Path) -> None:
    """What the fixture cifar10 gives, into `folder`."""
    left: dict[str, int] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            group = str(Path(member.name).parent)
            if member.isfile() and left.setdefault(group, 60 if group.startswith("train") else 20):
                left[group] -= 1
                _unpack(tar, member, folder / member.name)
            if len(left) == 20 and not any(left.values()):
                break


def _archive(path: Path) -> tarfile.TarFile:
    if not path.is_file():
        pytest.skip(f"no real images here: {path} does not exist")
    return tarfile.open(path)


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, to: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(content.read())
