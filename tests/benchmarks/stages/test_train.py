"""The train stage: records of whole epochs, and refusals."""

from pathlib import Path

import pytest

from benchmarks.stages.train import main
from engine.errors import UserError
from tests.benchmarks import record_checks

IMAGES, BATCH = 24, 4


@pytest.mark.slow
def test_peers_train_and_are_recorded(cache: Path, tmp_path: Path) -> None:
    options = (
        "--device=cpu",
        f"--images={IMAGES}",
        f"--batch={BATCH}",
        "--resolution=16",
        "--precision=fp32",
    )
    assert main([*options, "--against=replay,torchvision", f"--json={tmp_path}/t.json"]) == 0
    found = record_checks.read(tmp_path / "t.json")
    assert [record["peer"] for record in found] == ["replay", "torchvision"]
    for record in found:
        record_checks.check(record)
        assert (record["images"], record["ours"]) == (IMAGES, "jpeg-kept")
    assert "peer_data" not in found[0]
    assert "ImageFolder" in found[1]["peer_settings"]


def test_bad_option_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="--images 24: give 4 batches of 64 or more"):
        main(["--device=cpu", "--images=24"])
    with pytest.raises(UserError, match="no peer 'replai'"):
        main(["--against=replai"])
