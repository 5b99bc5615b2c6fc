"""The predict stage: both sides read the same pixels and write a row for each image."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.stages.predict import _parse, _weights
from engine.errors import UserError
from tests.benchmarks import record_checks
from tests.benchmarks.conftest import Run


@pytest.mark.slow
def test_sides_predict_the_same_images_alike(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    record = tmp_path / "predict.json"
    tiny = ("--images=6", "--resolution=32", "--batch=4", "--cores=1", "--network=mobilenetv3_small_050")
    done = run("predict", *tiny, f"--json={record}")
    assert done.returncode == 0, done.stderr
    (found,) = record_checks.read(record)
    record_checks.check(found)
    assert found["pixel_difference"] < 1 and found["n"] == 5
    assert found["ours_cpu_ms_per_image"] > 0 < found["peer_cpu_ms_per_image"]


@pytest.mark.slow
def test_both_tables_name_the_same_classes(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    from benchmarks.harness.images.prepared import unpack
    from benchmarks.sides.predictors import PredictTask, ours, timm

    (tmp_path / "images" / "all").mkdir(parents=True)
    images = unpack(None, 5, tmp_path / "images" / "all")
    network, best = "mobilenetv3_small_050", []
    weights = _weights(tmp_path / network, network, 64)
    for number, open_side in enumerate((ours, timm)):
        output = tmp_path / str(number)
        side = open_side(PredictTask(weights=weights, network=network, batch=2, cores=1, output=output))
        side.predict(images)
        rows = [line.split(",") for line in output.read_text().splitlines()]
        assert [row[0] for row in rows] == [str(path) for path in images]
        best.append([row[2 if number == 0 else 1] for row in rows])
    assert best[0] == best[1] and np.unique(best[0]).size > 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--against=tim"], "no peer 'tim'"),
        (["--cores=1000"], "this process may use"),
        (["--images=0"], "images"),
    ],
)
def test_bad_options_are_one_line(argv: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        _parse(argv)
