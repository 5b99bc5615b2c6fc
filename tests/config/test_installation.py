"""Where the program finds its files, in a checkout and in an installed package, and what it says without ffcv."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.sides import PEERS
from engine.config import installation


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module in a folder that is no checkout, with a present folder of its own."""
    copy = tmp_path / "site-packages/engine/config/installation.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(installation.__file__, copy)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    spec = importlib.util.spec_from_file_location("installed", copy)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_checkout_is_run_by_its_scripts(repository: Path) -> None:
    assert installation.IS_CHECKOUT
    assert installation.SOURCE == installation.RECIPES == installation.WORK == repository
    assert installation.command_of("train_imagenet.py", "-h")[1:] == [
        str(repository / "train_imagenet.py"),
        "-h",
    ]
    assert any(line.startswith("torch>=") for line in installation.requirements())


def test_installed_package_is_run_by_its_modules(installed: ModuleType, tmp_path: Path) -> None:
    assert tmp_path / "site-packages/engine/recipe_files" == installed.RECIPES
    assert tmp_path / "work" == installed.WORK
    assert installed.command_of("write_dataset.py", "-h") == [
        sys.executable,
        "-P",
        "-m",
        "write_dataset",
        "-h",
    ]
    assert (installed.TRAIN, installed.CONVERT) == ("train-imagenet", "write-dataset")
    advice = (installed.REINSTALL, installed.OLDER_TORCH, installed.NEWEST_TORCH)
    assert not any("make" in words for words in advice)


def test_fields_for_stock_ffcv_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoFfcv:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "ffcv":
                raise ModuleNotFoundError("No module named 'ffcv'", name=name)

    for name in [
        name for name in sys.modules if name.partition(".")[0] == "ffcv" or name.endswith("fields.yuv420")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoFfcv, *sys.meta_path])
    with pytest.raises(ImportError, match=r"pip install 'imagenet-engine\[ffcv\]'"):
        importlib.import_module("engine.data.fields.yuv420")


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("loader", "ffcv-jpeg"),
        ("loader", "ffcv-jpeg-kept"),
        ("loader", "ffcv-raw"),
        ("convert", "ffcv"),
        ("train", "ffcv-imagenet"),
    ],
)
def test_benchmarks_without_ffcv_name_the_extra(
    monkeypatch: pytest.MonkeyPatch, stage: str, name: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda module: None if module == "ffcv" else find(module)
    )
    assert "this program's extra ffcv" in PEERS[stage][name].why_not()
