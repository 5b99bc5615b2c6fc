"""The verb: a package complete or absent, proof, refusals in one line."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from engine.data.beton.reader import open_beton
from engine.errors import UserError
from engine.export import proof as proofs
from engine.export.exported_network import plain_network
from engine.export.kinds.torchscript import TorchScript
from engine.export.package import preprocessing_of
from engine.export.target import TARGETS, Settings, all_targets
from engine.predict.trained import Trained, load_trained
from tests.export.conftest import Export
from tests.predict.conftest import CLASSES, card, save_run


@pytest.fixture(scope="module")
def package(run_export: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "ts"
    assert run_export("torchscript", folder) == 0
    return folder


def test_package_is_complete_and_sums_are_right(package: Path) -> None:
    names = {path.name for path in package.iterdir()}
    assert names == {
        *("model.ts", "labels.json", "labels.txt", "preprocessing.json", "example.py", "runtime.py"),
        *("requirements.txt", "example.jpg", "proof.json", "README.md", "SHA256SUMS"),
    }
    lines = [line.split("  ") for line in (package / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert set(sums) == names - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((package / name).read_bytes()).hexdigest() == digest
    assert list(package.parent.iterdir()) == [package]


def test_proof_states_what_was_measured(package: Path) -> None:
    found = json.loads((package / "proof.json").read_text())
    assert found["images"] == found["of"] == 18
    # At the edge of two classes another rounding of the resize may decide; random weights are near it.
    assert found["agreeing"] >= 16
    assert found["logit_difference"] < 1e-4
    assert [speed["images"] for speed in found["speeds"]] == [1, 32]
    assert all(speed["before"] > 0 and speed["after"] > 0 for speed in found["speeds"])


def test_page_has_hugging_faces_metadata_and_no_local_path(package: Path, data: Path, tiny: Path) -> None:
    page = (package / "README.md").read_text()
    _, head, body = page.split("---\n", 2)
    metadata = yaml.safe_load(head)
    measured = metadata["model-index"][0]["results"][0]["metrics"][0]
    proof = json.loads((package / "proof.json").read_text())
    assert measured["value"] == pytest.approx(proof["top1_after"] / 18, abs=1e-5)
    assert metadata["pipeline_tag"] == "image-classification"
    assert "| top-1 |" in body
    assert str(data) not in page and str(tiny.parent) not in page


def test_package_may_not_exist(package: Path, run_export: Export) -> None:
    with pytest.raises(UserError, match="exists already: remove it, or choose another --output"):
        run_export("torchscript", package)


class _Broken(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3)).unsqueeze(1).expand(-1, 3) * float("nan")


class Spoiled(TorchScript):
    """A kind whose model predicts nothing."""

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        with torch.inference_mode():
            torch.jit.trace(_Broken(), (torch.zeros(2, 3, 32, 32),)).save(folder / self.file)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_failed_proof_leaves_nothing(
    run_export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "spoiled" not in TARGETS.names():
        TARGETS.register("spoiled")(Spoiled())
    assert run_export("spoiled", tmp_path / "package") == 1
    assert list(tmp_path.iterdir()) == []
    assert "more than --max-loss 0.1; nothing was kept" in capsys.readouterr().out


def test_labels_are_compared_by_name(trained: Trained, data: Path, tmp_path: Path) -> None:
    val = open_beton(data / "val.beton")
    turned = load_trained(save_run(tmp_path / "turned", card(CLASSES[::-1])), device="cpu")
    assert (proofs.labels_by_output(turned, val) == 2 - proofs.labels_by_output(trained, val)).all()
    other = load_trained(save_run(tmp_path / "other", card(["cat", "dog", "cow"])), device="cpu")
    with pytest.raises(UserError, match=r"different classes.*give data of the same classes with --data"):
        proofs.labels_by_output(other, val)


def test_proof_of_the_network_itself_loses_nothing(trained: Trained, data: Path) -> None:
    network = plain_network(trained)

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(batch)).numpy()

    val = open_beton(data / "val.beton")
    found = proofs.prove(trained, run, preprocessing_of(trained, Settings()), val, 7)
    assert (found.images, found.of) == (7, 18)
    assert found.logit_difference < 1e-4
    assert found.agreeing >= 6


@pytest.mark.parametrize(
    ("to", "more", "words"),
    [
        ("onxx", [], "unknown kind of package 'onxx' (did you mean 'onnx'?)"),
        ("torchvision", [], "BlurPool, which torchvision's small_resnet lacks"),
        ("pt2", ["--int8"], "--int8 can't be had with --to pt2: drop it, or choose --to onnx"),
        ("coreml", ["--with-preprocessing"], "--with-preprocessing can't be had with --to coreml"),
        ("onnx", ["--with-preprocessing", "--dynamic"], "drop --dynamic"),
        ("onnx", ["--opset", "5"], "--opset 5: give 18 to 23"),
        ("onnx", ["--proof", "-1"], "--proof -1: give a number of images"),
        ("onnx", ["--max-loss", "nan"], "--max-loss nan: give 0 to 100"),
        ("onnx", ["--data", "/nowhere/val.beton"], "/nowhere/val.beton"),
    ],
)
def test_refused_before_anything_is_written(
    to: str, more: list[str], words: str, run_export: Export, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run_export(to, tmp_path / "package", *more)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_without_data_ask_for_some(tiny: Path, tmp_path: Path) -> None:
    from engine.__main__ import main as engine

    with pytest.raises(UserError, match="its proof: pass --data FILE"):
        engine(["export", str(tiny), "--to", "torchscript", "--output", str(tmp_path / "package")])


def mutated(content: bytes, draw: np.random.Generator) -> bytes:
    """The file with bytes of its header or anywhere changed, or cut short."""
    changed = bytearray(content)
    kind, size = draw.integers(3), len(content)
    if kind == 0:
        return content[: draw.integers(size)]
    for at in draw.integers(0, min(size, 3000) if kind == 1 else size, draw.integers(1, 8)):
        changed[at] ^= 1 << draw.integers(8)
    return bytes(changed)


def each_mutation(count: int, seed: int, tiny: Path, folder: Path, run_export: Export) -> int:
    """Export mutated weights; returns how many were refused. Each is refused in a line, proven or disproven."""
    draw, refused = np.random.default_rng(seed), 0
    for number in range(count):
        file = "model.safetensors" if draw.integers(2) else "weights.pt"
        path = folder / f"{number}{Path(file).suffix}"
        path.write_bytes(mutated((tiny / file).read_bytes(), draw))
        try:
            more = ("--arch", "small_resnet", "--blurpool", "--resolution", "32", "--proof", "3")
            run_export("torchscript", folder / f"package{number}", *more, weights=path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
            assert not (folder / f"package{number}").exists()
    assert not list(folder.glob("*.partial-*"))
    return refused


def test_mutated_weights_get_one_line(tiny: Path, tmp_path: Path, run_export: Export) -> None:
    assert each_mutation(6, 1, tiny, tmp_path, run_export) >= 2


@pytest.mark.slow
def test_many_mutated_weights_get_one_line(tiny: Path, tmp_path: Path, run_export: Export) -> None:
    count = int(os.environ.get("MUTATIONS", "25"))
    assert each_mutation(count, 2, tiny, tmp_path, run_export) >= 0.3 * count


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("to", [name for name in all_targets().names() if name not in ("spoiled", "space")])
def test_every_kind_is_exported(to: str, run_export: Export, tmp_path: Path) -> None:
    """With the preprocessing inside, where a kind can have it."""
    arch = "resnet18" if to in ("timm", "torchvision") else "small_resnet"
    weights = save_run(tmp_path / "run", card(arch=arch, blurs=arch != "resnet18"))
    more = ["--with-preprocessing"] if "with_preprocessing" in TARGETS[to].options else []
    assert run_export(to, tmp_path / "package", *more, weights=weights) == 0
    assert (tmp_path / "package" / TARGETS[to].file).exists()
    assert (tmp_path / "package" / "proof.json").is_file() is TARGETS[to].runs_here


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dynamic_onnx_of_another_opset_takes_other_sides(run_export: Export, tmp_path: Path) -> None:
    assert run_export("onnx", tmp_path / "package", "--dynamic", "--opset", "23") == 0
    run = TARGETS["onnx"].load(tmp_path / "package")
    assert run(np.zeros((3, 3, 40, 56), np.float32)).shape == (3, 3)
