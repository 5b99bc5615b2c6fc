"""`then:` makes a recipe of several stages: what is handed on, what is not, and what can't stand there."""

from collections.abc import Sequence

import pytest
import yaml

from engine.config.load import load_train_config, load_train_stages, load_write_config, to_dict
from engine.config.stages import as_recipe
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from tests.config.conftest import DATA, Recipe, refusal, train

TWO = "training: {epochs: 9, ema_half_life: 5}\nthen:\n  - training: {epochs: 4}\n"


def stages(*argv: str) -> list[TrainConfig]:
    """All stages of the recipe that these arguments ask for, with both data files named."""
    return load_train_stages([*DATA, *argv])[0]


def weights(configs: Sequence[TrainConfig]) -> list[str]:
    return [config.model.weights for config in configs]


# What is handed on


def test_recipe_without_then_has_one_stage(recipe: Recipe) -> None:
    path = recipe("training: {epochs: 3}\n")
    (only,), name = load_train_stages([*DATA, "-C", path])
    assert (only, name) == load_train_config([*DATA, "-C", path]) and name == "recipe"


def test_stage_inherits_the_options_it_does_not_set(recipe: Recipe) -> None:
    path = recipe(
        "training: {epochs: 90, batch_size: 64, label_smoothing: 0.1}\n"
        "lr: {lr: 2, lr_peak_epoch: 1}\n"
        "then:\n"
        "  - training: {epochs: 50, label_smoothing: 0.04}\n"
        "    lr: {lr: 0.002, lr_schedule_type: cosine, lr_final: 1e-6}\n"
        "    model: {train_only: head}\n"
        "  - training.epochs: 5\n"
    )
    configs = stages("-C", path)
    assert [config.training.epochs for config in configs] == [90, 50, 5]
    assert [config.training.label_smoothing for config in configs] == [0.1, 0.04, 0.04]
    assert [config.training.batch_size for config in configs] == [64, 64, 64]
    assert [config.lr.lr for config in configs] == [2, 0.002, 0.002]
    assert configs[2].lr.lr_final == 1e-6 and configs[2].lr.lr_peak_epoch == 1
    assert [config.model.train_only for config in configs] == ["all", "head", "head"]
    assert load_train_config([*DATA, "-C", path])[0] == configs[0]


def test_stage_starts_from_the_weights_of_the_stage_before(recipe: Recipe) -> None:
    text = TWO + "    model: {use_ema: true}\n  - training: {epochs: 3}\n"
    assert weights(stages("-C", recipe(text))) == ["", "stage1/weights_ema.pt", "stage2/weights.pt"]
    own = stages("-C", recipe(text), "--model.weights=mine.pt", "--model.reset_head=1", "--model.use_ema=1")
    assert weights(own) == ["mine.pt", "stage1/weights_ema.pt", "stage2/weights.pt"]
    assert [config.model.reset_head for config in own] == [True, False, False]
    assert [config.model.use_ema for config in own] == [True, False, False]


def test_then_of_the_base_is_inherited_or_replaced(recipe: Recipe) -> None:
    recipe(TWO, "base.yaml")
    inherits = recipe("base: base.yaml\ntraining: {seed: 3}\n", "inherits.yaml")
    assert [config.training.epochs for config in stages("-C", inherits)] == [9, 4]
    assert [config.training.seed for config in stages("-C", inherits)] == [3, 3]
    own = recipe("base: base.yaml\nthen:\n  - training: {epochs: 3}\n  - lr: {lr: 3}\n", "own.yaml")
    assert [config.training.epochs for config in stages("-C", own)] == [9, 3, 3]
    drops = recipe("base: base.yaml\nthen: []\n", "drops.yaml")
    assert [config.training.epochs for config in stages("-C", drops)] == [9]
    assert len(stages("-C", inherits, "-C", drops)) == 1 and len(stages("-C", drops, "-C", inherits)) == 2


def test_command_line_overrides_every_stage(recipe: Recipe) -> None:
    configs = stages("-C", recipe(TWO), "--training.epochs=7", "--lr.lr=0.25")
    assert [(config.training.epochs, config.lr.lr) for config in configs] == [(7, 0.25), (7, 0.25)]


def test_budget_applies_to_the_last_stage_only(recipe: Recipe) -> None:
    configs = stages("-C", recipe(TWO + "budget: {target_top1: 0.9, minutes: 3}\n"))
    assert [config.budget.target_top1 for config in configs] == [0, 0.9]
    assert [config.budget.minutes for config in configs] == [0, 3]


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("--training.resume=runs/x",),
        ("--model.weights=w.pt", "--model.reset_head=true"),
        ("--training.first_stage=2", "--model.weights=w.pt"),
        ("--training.first_stage=3", "--model.weights=w.pt", "--model.use_ema=true"),
    ],
)
def test_stages_written_as_a_recipe_are_read_back_unchanged(recipe: Recipe, argv: tuple[str, ...]) -> None:
    text = TWO + "    model: {use_ema: true}\n  - training: {epochs: 3}\n    resolution: {max_res: 192}\n"
    before = stages("-C", recipe(text + "budget: {target_top1: 0.5}\n"), *argv)
    written = recipe(yaml.safe_dump(as_recipe([to_dict(stage) for stage in before])), "written.yaml")
    assert load_train_stages(["-C", written])[0] == before


def test_resume_drops_the_initial_weights_of_the_recipe(recipe: Recipe) -> None:
    text = "model: {weights: w.pt, reset_head: true}\n"
    assert train("-C", recipe(text)).model.reset_head
    resumed = train("-C", recipe(text), "--training.resume=runs/x").model
    assert (resumed.weights, resumed.reset_head) == ("", False)


# Beginning later, and validating


def test_first_stage_starts_from_the_given_weights(recipe: Recipe) -> None:
    text = TWO + "    model: {use_ema: true}\n  - training: {epochs: 3}\n"
    argv = ("-C", recipe(text), "--training.first_stage=2", "--model.weights=mine.pt")
    later = stages(*argv)
    assert weights(later) == ["", "mine.pt", "stage2/weights.pt"]
    assert [config.model.use_ema for config in later] == [False, True, False]
    assert stages(*argv, "--model.use_ema=false")[1].model.use_ema is False


def test_eval_only_uses_the_last_stage(recipe: Recipe) -> None:
    text = TWO + "    model: {use_ema: true}\n    validation: {resolution: 288}\n"
    (only,) = stages("-C", recipe(text), "--training.eval_only=true", "--model.weights=mine.pt")
    assert (only.validation.resolution, only.model.weights, only.model.use_ema) == (288, "mine.pt", False)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ("--training.first_stage=2", "needs weights to start from: pass --model.weights=FILE"),
        ("--training.first_stage=3 --model.weights=w", "is 3, but the recipe has only 2 stages"),
        ("--training.first_stage=0", "at least 1"),
        (
            "--training.first_stage=2 --training.eval_only=1 --model.weights=w",
            "training.first_stage and training.eval_only exclude each other",
        ),
    ],
)
def test_impossible_first_stage_is_refused(recipe: Recipe, argv: str, reason: str) -> None:
    assert reason in refusal("-C", recipe(TWO), *argv.split())


def test_first_stage_2_of_a_single_stage_recipe_is_refused() -> None:
    assert refusal("--training.first_stage=2", "--model.weights=w").endswith(
        "but the recipe has only 1 stage: lower it"
    )


# What is refused


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("model.weights", "w.pt", "starts from the weights of the stage before"),
        ("model.reset_head", "true", "starts from the weights of the stage before"),
        ("training.resume", "runs/x", "applies to the whole run"),
        ("training.eval_only", "true", "applies to the whole recipe"),
        ("training.first_stage", "2", "applies to the whole recipe"),
        ("model.arch", "resnet50", "must be the same in all stages"),
        ("training.device", "cpu", "must be the same in all stages"),
        ("data.pin_cores", "true", "must be the same in all stages"),
        ("data.holdout", "0.1", "must be the same in all stages"),
        ("logging.name", "x", "must be the same in all stages"),
        ("logging.folder", "x", "must be the same in all stages"),
    ],
)
def test_run_wide_option_in_a_stage_is_refused(recipe: Recipe, option: str, value: str, reason: str) -> None:
    path = recipe(f"then:\n  - {option}: {value}\n")
    message = refusal("-C", path)
    assert message.startswith(f"{option} can't be set in stage 2 of {path}: ") and reason in message


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (
            "training: {epochs: 0}",
            r"training.epochs: '0' is not a whole number, at least 1, at most 100000 (in stage 2 of",
        ),
        ("training: {epoch: 3}", "unknown option 'training.epoch' in stage 2 of"),
        ("training: {epochs: }", "training.epochs has no value in stage 2 of"),
        ("then: []", "unknown option 'then' in stage 2 of"),
        ("training: 3", "'training' in stage 2 of"),
        ("- training", "the item in stage 2 of"),
        ("", "the item in stage 2 of"),
        ("lr: {lr_peak_epoch: 40}", "in stage 2: lr.lr_peak_epoch 40 is not before the end of the run"),
        ("model: {use_ema: true}", "in stage 2: model.use_ema needs the averaged weights of stage 1"),
    ],
)
def test_mistake_in_a_later_stage_names_the_stage(recipe: Recipe, item: str, reason: str) -> None:
    assert reason in refusal("-C", recipe(f"then:\n  - {item}\n"))


def test_mistake_from_the_command_line_names_the_stage(recipe: Recipe) -> None:
    assert refusal("-C", recipe(TWO), "--lr.lr_peak_epoch=5").startswith("in stage 2: lr.lr_peak_epoch 5")
    assert refusal("-C", recipe(TWO), "--lr.lr_peak_epoch=9").startswith("in stage 1: lr.lr_peak_epoch 9")


@pytest.mark.parametrize("then", ["{training: {epochs: 3}}", "3", ""])
def test_then_that_is_not_a_list_is_refused(recipe: Recipe, then: str) -> None:
    assert "is not a list: begin each further stage with a -" in refusal("-C", recipe(f"then: {then}\n"))


def test_holdout_with_different_seeds_is_refused(recipe: Recipe) -> None:
    text = "data: {holdout: 0.1}\nthen:\n  - training: {seed: 5}\n"
    assert "in stage 2: training.seed selects the images of data.holdout" in refusal("-C", recipe(text))
    assert len(stages("-C", recipe("then:\n  - training: {seed: 5}\n"))) == 2


def test_then_is_unknown_to_a_conversion(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="unknown option 'then'"):
        load_write_config(["--source.path=a", "--output.folder=b", "-C", recipe("then: []\n")])


def test_help_explains_stages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train("--help")
    assert "each item of its list `then:` gives" in " ".join(capsys.readouterr().out.split())
