"""Options counted in steps, epochs or pixels are held against the length of the run."""

from typing import Any

import pytest

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.models.build import build_model
from engine.train.batching import BatchPlan
from engine.train.budget.verdict import averaged_words
from engine.train.step.scale import norm_warning, refuse_scale, refuse_single_images, scale_warnings


def _recipe(**options: Any) -> TrainConfig:
    argv = [f"--{key.replace('__', '.')}={value}" for key, value in options.items()]
    return load_train_config(["--data.train_dataset=a", "--data.val_dataset=b", *argv])[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"training__ema_half_life": 1000},
            r"ema_half_life 1000 is too long .* 20 steps.* 99% .* use at most 2 ",
        ),
        ({"training__ema_half_life": 21}, "ema_half_life 21 is too long"),
        (
            {"training__ema_half_life": 5, "training__ema_every": 50},
            r"ema_every 50 is more than the 20 steps",
        ),
        ({"training__ema_half_life": 16, "training__ema_every": 15}, "ema_half_life 16 is too long"),
    ],
)
def test_average_that_holds_its_start_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        refuse_scale(_recipe(**options), 20)
    # What the message advises, and where the start is worth averaging.
    refuse_scale(_recipe(training__ema_half_life=2), 20)
    for spared in (
        {"model__weights": "w.pt"},
        {"budget__adapt": True, "budget__minutes": 5},
        {"data__replay": 2},
    ):
        refuse_scale(_recipe(**options, **spared), 20)
    assert any("ema_half_life" in line for line in scale_warnings(_recipe(**options), 20, [160]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"training__ema_half_life": 5}, "ema_half_life 5 is long for a run of 20 steps: at its end 6%"),
        ({"training__sam_rho": 0.1, "training__sam_interval": 21}, "SAM is never applied"),
        (
            {"lr__lr_schedule_type": "step", "training__epochs": 16},
            "lr.step_length 30 is not shorter than the run of 16 epochs",
        ),
        (
            {"resolution__batch_sizes": "128:64, 160:32, 224:16"},
            "the batch for 128 px, 224 px is never used: this run trains at 160 px",
        ),
    ],
)
def test_option_without_effect_in_a_run_of_its_length_is_named(options: dict[str, Any], words: str) -> None:
    (line,) = scale_warnings(_recipe(**options), 20, [160])
    assert line.startswith("warning: ") and words in line


def test_usual_options_give_no_warning() -> None:
    usual = _recipe(
        training__ema_half_life=2,
        training__sam_rho=0.1,
        training__sam_interval=10,
        resolution__batch_sizes="160:32",
    )
    assert scale_warnings(usual, 20, [160]) == []
    refuse_scale(usual, 20)


def test_timeline_that_changes_after_the_end_is_refused() -> None:
    with pytest.raises(UserError, match="does not come before the end of the run"):
        _recipe(training__epochs=3, lr__lr_peak_epoch=1, training__timeline="10:20")


def test_verdict_names_weights_that_are_far_better_than_their_average() -> None:
    assert averaged_words(0.33, 0.82) == "of the averaged weights (82.00% of the weights themselves)"
    assert averaged_words(0.82, 0.825) == "of the averaged weights"


def test_single_images_without_values_for_batch_norm_are_refused() -> None:
    network = build_model("resnet18", 10, use_blurpool=False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError, match=r"one image of 32 px at a time.*device_batch_size=2 or more"):
        refuse_single_images(network, 32)
    refuse_single_images(network, 64)
    refuse_single_images(build_model("vit_b_16", 10, use_blurpool=False), 224)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


def test_batch_norm_over_few_images_warns() -> None:
    network = build_model("small_resnet", 10, use_blurpool=False)
    assert "batch norm takes its statistics from 2 images" in norm_warning(network, BatchPlan(64, 2, 32, 1))
    assert norm_warning(network, BatchPlan(64, 8, 8, 1)) == norm_warning(network, BatchPlan(2, 2, 1, 1)) == ""
    assert norm_warning(build_model("vit_b_16", 10, use_blurpool=False), BatchPlan(64, 2, 32, 1)) == ""
