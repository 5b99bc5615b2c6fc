"""What others published: figures belong to a source, and a curve is epochs that rise with shares."""

import pytest

from engine.errors import UserError
from tests.config.conftest import refusal, train

SOURCE = "--reference.source=someone"


def test_curve_is_parsed_into_points() -> None:
    reference = train(SOURCE, "--reference.curve=1:0.19, 8:0.5,16:0.738", "--reference.epochs=16").reference
    assert reference.curve_points() == [(1, 0.19), (8, 0.5), (16, 0.738)]
    assert train().reference.curve_points() == []


@pytest.mark.parametrize(
    "curve", ["0.19", "1:", ":0.2", "one:0.2", "0:0.2", "1:19", "1:-0.1", "1:nan", "1:0.2,", "1:0.2 3:0.3"]
)
def test_malformed_curve_is_refused(curve: str) -> None:
    message = refusal(SOURCE, f"--reference.curve={curve}")
    assert message.startswith("reference.curve: can't read ") and "as in 1:0.19" in message


@pytest.mark.parametrize("curve", ["2:0.2, 1:0.3", "2:0.2, 2:0.2"])
def test_curve_with_unsorted_epochs_is_refused(curve: str) -> None:
    assert "epochs must increase" in refusal(SOURCE, f"--reference.curve={curve}")


def test_curve_beyond_its_epochs_is_refused() -> None:
    message = refusal(SOURCE, "--reference.curve=1:0.2, 20:0.7", "--reference.epochs=16")
    assert "goes to epoch 20" in message and "reference.epochs is 16" in message


@pytest.mark.parametrize("figure", ["top1=0.7", "minutes=3", "curve=1:0.2"])
def test_figures_without_a_source_are_refused(figure: str) -> None:
    assert "reference.source is not set" in refusal(f"--reference.{figure}")
    assert getattr(train(SOURCE, f"--reference.{figure}").reference, figure.split("=")[0])


def test_reference_built_in_code_is_checked() -> None:
    from engine.config.train.train_config import DataConfig, ReferenceConfig, TrainConfig

    with pytest.raises(UserError, match=r"reference\.source"):
        TrainConfig(data=DataConfig(train_dataset="a", val_dataset="b"), reference=ReferenceConfig(top1=0.7))
