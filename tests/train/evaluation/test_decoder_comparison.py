"""validation.reference: the original images, decoded by Pillow, are scored beside the engine's decoding."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert
from engine.errors import UserError
from tests.shapes import CLASSES


def test_original_images_are_scored_and_the_gap_printed(
    evaluate: Any, betons: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = evaluate(validation__reference=betons[1].parent / "images")
    reference = found["reference"]
    assert (reference["images"], reference["rejected"], reference["not_in_file"]) == (37, 0, 0)
    assert reference["engine_top1"] == found["top1_no_tta"]
    assert reference["gap_points"] == pytest.approx(
        100 * (found["top1_no_tta"] - reference["top1"]), abs=1e-5
    )
    assert reference["short_side"] == 37
    assert abs(reference["top1"] - found["top1_no_tta"]) <= reference["changed"] / 37
    assert 0 < reference["mean_difference"] < 0.02, "decoded in another way, but the same images"
    assert reference["moved"] == pytest.approx(reference["mean_difference"] * len(CLASSES) / 2, abs=1e-5)
    assert "Pillow     top-1" in capsys.readouterr().out


def test_torchvisions_crop_takes_most_of_the_difference_away(
    evaluate: Any, betons: tuple[Path, Path]
) -> None:
    images = betons[1].parent / "images"
    results = {
        law: evaluate(validation__reference=images, validation__crop_law=law)
        for law in ("fused", "torchvision")
    }
    differences = {law: found["reference"]["mean_difference"] for law, (_, found) in results.items()}
    assert differences["torchvision"] < differences["fused"] / 2
    for law, (result, found) in results.items():
        assert (result["val_crop_law"], found["crop_law"]) == (law, law)
        assert (result["plain_crop_law"], found["plain"]["crop_law"]) == ("torchvision", "torchvision")


def test_changed_pixels_of_the_originals_show_as_a_gap(
    evaluate: Any, betons: tuple[Path, Path], tmp_path: Path
) -> None:
    """The comparison can fail: images whose names were mixed up are seen."""
    images = tmp_path / "mixed"
    shutil.copytree(betons[1].parent / "images", images)
    files = sorted((images / "val").glob("*/*"))
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[19:] + contents[:19], strict=True):
        file.write_bytes(content)
    _, found = evaluate(validation__reference=images)
    assert found["reference"]["changed"] > 10
    assert found["reference"]["gap_points"] > 10
    assert found["top1_no_tta"] > 0.5


def test_missing_originals_are_refused_before_a_folder_is_made(evaluate: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"validation\.reference .*nowhere does not exist"):
        evaluate(validation__reference=tmp_path / "nowhere")
    assert not (tmp_path / "runs").exists()


def test_flat_originals_take_labels_from_a_list(
    evaluate: Any, betons: tuple[Path, Path], tmp_path: Path
) -> None:
    """As ILSVRC2012's validation images, which come without class folders."""
    images = betons[1].parent / "images"
    flat = tmp_path / "flat"
    shutil.copytree(images / "train", flat / "train")
    (flat / "held").mkdir()
    rows = []
    for file in sorted((images / "val").glob("*/*")):
        shutil.copy(file, flat / "held" / file.name)
        rows.append(f"{file.name} {file.parent.name}\n")
    (tmp_path / "labels.txt").write_text("".join(rows))
    source = SourceConfig(path=str(flat), val_folder="held", val_labels=str(tmp_path / "labels.txt"))
    output = OutputConfig(folder=str(tmp_path / "out"), num_workers=1)
    val = convert(WriteConfig(source=source, output=output))["val"]
    _, found = evaluate(
        data__val_dataset=val,
        validation__reference=flat,
        validation__reference_folder="held",
        validation__reference_labels=tmp_path / "labels.txt",
    )
    assert found["reference"]["images"] == 37
