"""config.yaml of a run holds the classes of its data: data of others are refused with it (data.classes)."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from engine.data.beton.pair import ClassList, refuse_other_classes
from engine.errors import UserError
from tests.train.conftest import log_of, train_here

Options = Callable[..., list[str]]
OTHERS = "2 classes, crc 00000000"


@pytest.fixture
def finished(options: Options) -> Path:
    """A run of one epoch."""
    return train_here(options(training__epochs=1, lr__lr_peak_epoch=0.25))[1]


def test_config_of_a_run_holds_the_classes_of_its_log(finished: Path, tmp_path: Path) -> None:
    classes = yaml.safe_load((finished / "config.yaml").read_text())["data"]["classes"]
    assert classes.startswith("6 classes, crc ")
    assert [line["classes"] for line in log_of(finished, "start")] == [classes]
    _, again = train_here(["-C", str(finished / "config.yaml"), f"--logging.folder={tmp_path / 'again'}"])
    assert log_of(again, "start")[0]["classes"] == classes


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_config_with_data_of_other_classes_is_refused(finished: Path, tmp_path: Path, kind: str) -> None:
    config = yaml.safe_load((finished / "config.yaml").read_text())
    config["data"]["classes"] = OTHERS
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    argv = ["-C", str(path), f"--logging.folder={tmp_path / 'others'}"]
    if kind == "validation":
        argv += ["--training.eval_only=true", f"--model.weights={finished / 'weights.pt'}"]
    with pytest.raises(
        UserError, match=r"data\.classes: .*with 2 classes, crc 0.* have 6 .*pass --data\.classes="
    ):
        train_here(argv)
    assert train_here([*argv, "--data.classes="])[0] == 0


def test_data_without_class_names_are_taken_at_their_word() -> None:
    refuse_other_classes(ClassList(2, None), OTHERS)
    refuse_other_classes(ClassList(2, ["cat", "dog"]), "")
    with pytest.raises(UserError, match=r"data\.classes"):
        refuse_other_classes(ClassList(2, ["cat", "dog"]), OTHERS)
