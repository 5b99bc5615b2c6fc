"""The whole audit on real files and a network trained for seconds: what is wrong is named, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.__main__ import main as engine
from engine.cli.audit import main
from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert
from engine.data.sources import Split
from engine.errors import UserError
from tests.shapes import CLASSES, write_shapes
from tests.train.conftest import TINY, train_here
from tests.unread import NobodyReads

Rename = Callable[[str, int], str]


def write_val(images: Path, folder: Path, rename: Rename) -> Path:
    """val.beton of the same images, each in the class that `rename` makes of its own and its number."""
    for path in (images / "val").rglob("*.JPEG"):
        to = folder / "images" / "val" / rename(path.parent.name, int(path.stem)) / path.name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
    shutil.copytree(images / "train", folder / "images" / "train")
    return betons(folder / "images", folder)["val"]


def betons(images: Path, folder: Path) -> dict[Split, Path]:
    output = OutputConfig(folder=str(folder), num_workers=1, page_size=2)
    return convert(WriteConfig(source=SourceConfig(path=str(images)), output=output))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("audit") / "images", train=240, val=300)


@pytest.fixture(scope="module")
def files(images: Path) -> dict[Split, Path]:
    """train.beton and val.beton with the right labels."""
    return betons(images, images.parent)


@pytest.fixture(scope="module")
def run(files: dict[str, Path]) -> Path:
    """The folder of a run that learnt the six classes."""
    folder = files["train"].parent
    data = {
        "data.train_dataset": files["train"],
        "data.val_dataset": files["val"],
        "logging.folder": folder / "runs",
    }
    options = {**TINY, "training.epochs": 8, "training.label_smoothing": 0, "logging.name": "tiny", **data}
    code, record = train_here([f"--{key}={value}" for key, value in options.items()])
    assert code == 0
    return record


def audit(train: Path, val: Path, *more: object) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by check."""
    result = val.with_suffix(".json")
    options = ["--train", train, "--val", val, "--json", result, *more]
    code = engine(["audit", *map(str, options)])
    content = json.loads(result.read_text())
    assert content["found"] is (code == 1)
    return code, {finding["check"]: finding for finding in content["findings"]}


def found(findings: dict[str, dict[str, Any]]) -> set[str]:
    return {check for check, finding in findings.items() if finding["level"] == "FOUND"}


def test_json_is_written_though_nobody_reads_the_report(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--train", files["train"], "--val", files["val"], "--skip-near", "--json", tmp_path / "a.json"]
    monkeypatch.setattr("sys.stdout", NobodyReads())
    with pytest.raises(BrokenPipeError):
        main(list(map(str, words)))
    assert (tmp_path / "a.json").exists()


@pytest.mark.slow
def test_correct_labels_give_no_finding(
    files: dict[str, Path], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = audit(files["train"], files["val"], "--checkpoint", run, "--skip-near")
    assert (code, found(findings)) == (0, set())
    assert findings["network"]["data"]["train_top1"] > 0.9
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "fine   class lists: the same 6 names in the same order"


@pytest.mark.slow
def test_permuted_labels_are_found(
    images: Path, files: dict[str, Path], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What is amber lies under "coral", what is coral under "blue", what is blue under "amber".
    label_of = {"amber": "coral", "coral": "blue", "blue": "amber"}
    val = write_val(images, tmp_path, lambda name, _: label_of.get(name, name))
    capsys.readouterr()
    code, findings = audit(files["train"], val, "--checkpoint", run, "--skip-near")
    assert (code, found(findings)) == (1, {"permuted labels"})
    data = findings["permuted labels"]["data"]
    assert data["shows"] == {label: name for name, label in label_of.items()}
    assert data["top1_as_labelled"] < 0.6 and data["top1_after"] > 0.9
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("FOUND  permuted labels: the labels of val look permuted: accuracy as labelled ")


@pytest.mark.slow
def test_network_with_another_class_order_is_recognised(images: Path, run: Path, tmp_path: Path) -> None:
    renamed = {name: f"{5 - place}-{name}" for place, name in enumerate(CLASSES)}
    for split in ("train", "val"):
        for name, other in renamed.items():
            shutil.copytree(images / split / name, tmp_path / "images" / split / other)
    paths = betons(tmp_path / "images", tmp_path)
    code, findings = audit(paths["train"], paths["val"], "--checkpoint", run, "--skip-near")
    assert (code, found(findings)) == (1, {"network"})
    assert "in another order than train's" in findings["network"]["verdict"]


def test_audit_without_network_checks_lists_balance_and_copies(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images" / "val" / "fawn").rename(tmp_path / "images" / "val" / "gold")
    leaked = next((tmp_path / "images" / "train" / "amber").iterdir())
    with Image.open(leaked) as image:
        image.save(tmp_path / "images" / "val" / "blue" / "leaked.JPEG", quality=70)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    train = betons(images, tmp_path / "train")["train"]
    shutil.rmtree(tmp_path / "images" / "train" / "fawn")
    (tmp_path / "images" / "train" / "gold").mkdir()
    shutil.copy(leaked, tmp_path / "images" / "train" / "gold")
    val = betons(tmp_path / "images", tmp_path / "val")["val"]
    assert train is not None
    code, findings = audit(train, val)
    assert code == 1
    assert findings["class lists"]["data"] == {"only_train": ["fawn"], "only_val": ["gold"], "moved": 1}
    assert findings["class balance"]["data"]["missing_val"] == ["fawn"]
    (pair,) = findings["contradicting labels"]["data"]["pairs"]
    assert {pair["one"]["label"], pair["other"]["label"]} == {"amber", "blue"}
    assert pair["other"]["id"].endswith("leaked.JPEG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--checkpoint", "nowhere.pt"], "cannot read the checkpoint nowhere.pt"),
        (["--checkpoint", "{folder}"], "holds no weights.pt"),
        (["--json", "{folder}/absent/a.json"], "is not a folder"),
        (["--json", "{folder}"], "it is a folder; name a file in it"),
        (["--sheet", "{folder}"], "it is a folder; name a file in it"),
        (["--", "--model.arch=resnet18"], "give one with --checkpoint"),
        (["--checkpoint", "{run}", "--", "--model.arch=resnet18"], "does not fit this network"),
    ],
)
def test_audit_bad_input_is_refused(
    files: dict[str, Path], run: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    filled = [option.format(folder=tmp_path, run=run) for option in options]
    with pytest.raises(UserError, match=words):
        engine(["audit", "--train", str(files["train"]), "--val", str(files["val"]), "--skip-near", *filled])


@pytest.mark.slow
def test_untrained_network_is_refused(files: dict[str, Path], run: Path, tmp_path: Path) -> None:
    import torch

    weights = torch.load(run / "weights.pt", weights_only=True)
    torch.save({name: torch.zeros_like(value) for name, value in weights.items()}, tmp_path / "weights.pt")
    shutil.copy(run / "config.yaml", tmp_path)
    with pytest.raises(UserError, match="use one that was trained on these classes"):
        audit(files["train"], files["val"], "--checkpoint", tmp_path, "--skip-near")
