"""What fastargs and PyYAML let pass, and what can't go together, is refused in one line."""

import re
from pathlib import Path

import pytest

from engine.config.load import to_dict
from engine.config.train.train_config import TrainConfig
from engine.config.write import WriteConfig
from engine.errors import UserError
from tests.config.conftest import Recipe, refusal, train

# What is refused


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("training.epochs", "1.7", "1.7' is not a whole number, at least 1"),
        ("training.epochs", "true", "is not a whole number"),
        ("training.epochs", "0", "at least 1"),
        ("training.epochs", "''", "is not a whole number"),
        ("training.use_blurpool", "maybe", "'maybe' is not true or false"),
        ("training.use_blurpool", "''", "is not true or false"),
        ("lr.lr", "1/0", "'1/0' is not a number or a fraction"),
        ("lr.lr", "nan", "is not a number"),
        ("lr.lr", "inf", "is not a number"),
        ("lr.lr", "0", "above 0"),
        ("resolution.max_res", "0", "at least 8"),
        ("resolution.end_ramp", "17/16", "at most 1"),
        ("training.seed", "-1", "at least 0"),
        ("lr.lr_schedule_type", "cosin", r"one of .* \(did you mean 'cosine'\?\)"),
        ("training.precision", "BF16", r"did you mean 'bf16'\?"),
        ("data.decoder", "nvjpeg", "one of auto, cpu, packed, gpu"),
        ("data.verify", "first", r"one of first-epoch, always, never"),
        ("data.corrupt", "skipp", r"one of stop, skip \(did you mean 'skip'\?\)"),
    ],
)
def test_invalid_value_is_refused_with_its_constraint(
    recipe: Recipe, option: str, value: str, reason: str
) -> None:
    path = recipe(f"{option}: {value}\n")
    in_file = refusal("-C", path)
    on_line = refusal(f"--{option}={value.strip(chr(39))}")
    for message in (in_file, on_line):
        assert message.startswith(f"{option}: ") and re.search(reason, message)
    assert in_file.endswith(f"(in {path})")


@pytest.mark.parametrize("value", ["[1, 2]", "{a: 1}", "{}", "{1: 2}"])
def test_list_or_mapping_as_a_value_is_refused(recipe: Recipe, value: str) -> None:
    assert refusal("-C", recipe(f"training: {{epochs: {value}}}\n")).startswith("training.epochs: ")
    assert refusal("-C", recipe(f"training: {{resume: {value}}}\n")).startswith("training.resume: ")


@pytest.mark.parametrize(
    "text", ["training: {epochs: }\n", "training:\n  epochs: null\n", "training.epochs: ~\n"]
)
def test_empty_value_is_refused(recipe: Recipe, text: str) -> None:
    assert "training.epochs has no value in" in refusal("-C", recipe(text))


def test_text_option_can_be_set_to_empty(recipe: Recipe) -> None:
    path = recipe("model: {weights: some.pt}\n")
    assert train("-C", path, "--model.weights=").model.weights == ""
    assert train("-C", path, "-C", recipe("model: {weights: ''}\n", "other.yaml")).model.weights == ""


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("training.epoch", "training.epochs"),
        ("trainin.epochs", "training.epochs"),
        ("training.lr", "lr.lr"),
        ("model.use_blurpool", "training.use_blurpool"),
        ("batch_size", "training.batch_size"),
        ("epochs", "training.epochs"),
    ],
)
def test_unknown_option_is_refused_with_the_nearest_name(recipe: Recipe, key: str, nearest: str) -> None:
    path = recipe(f"{key}: 3\n")
    hint = f"(did you mean {nearest!r}?)"
    assert refusal("-C", path) == f"unknown option {key!r} in {path} {hint}"
    for argv in ((f"--{key}=3",), (f"--{key}", "3")):
        assert refusal(*argv) == f"unknown option {key!r} on the command line {hint}"


def test_unknown_option_like_no_other_points_to_help() -> None:
    assert refusal("--zzz").endswith(": --help lists all options")


def test_unknown_section_is_refused_even_when_empty(recipe: Recipe) -> None:
    assert "unknown option 'trainin'" in refusal("-C", recipe("trainin:\n"))
    assert "unknown option 'trainin.epochs'" in refusal("-C", recipe("trainin: {epochs: 3}\n"))
    assert "unknown option 'training.3'" in refusal("-C", recipe("training: {3: 3}\n"))
    assert "unknown option '3'" in refusal("-C", recipe("3: 3\n"))


def test_abbreviated_option_is_refused() -> None:
    assert "unknown option 'training.epo'" in refusal("--training.epo=3")


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("training.distributed", "torchrun"),
        ("dist.world_size", "torchrun"),
        ("dist.address", "torchrun"),
        ("dist.port", "torchrun"),
        ("training.bn_wd", "never decayed"),
        ("model.pretrained", "model.weights"),
        ("data.gpu", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_dropped_ffcv_imagenet_option_is_explained(recipe: Recipe, key: str, advice: str) -> None:
    for message in (refusal("-C", recipe(f"{key}: 1\n")), refusal(f"--{key}=1")):
        assert "does not exist here" in message and advice in message


def test_every_ffcv_imagenet_option_is_known_or_explained() -> None:
    theirs = {
        "model": "arch pretrained",
        "resolution": "min_res max_res end_ramp start_ramp",
        "data": "train_dataset val_dataset num_workers in_memory",
        "lr": "step_ratio step_length lr_schedule_type lr lr_peak_epoch",
        "logging": "folder log_level",
        "validation": "batch_size resolution lr_tta",
        "training": "eval_only batch_size optimizer momentum weight_decay epochs label_smoothing distributed "
        "use_blurpool",
        "dist": "world_size address port",
    }
    ours = to_dict(train())
    for section, keys in theirs.items():
        for key in keys.split():
            if key not in ours.get(section, {}):
                assert "does not exist here" in refusal(f"--{section}.{key}=1")


def test_recipe_without_dash_c_is_explained() -> None:
    assert "-C FILE" in refusal("recipe.yaml")


def test_option_without_a_value_is_refused() -> None:
    assert "--training.epochs: expected one argument" in refusal("--training.epochs")


@pytest.mark.parametrize(
    "text", ["training: {epochs: 1, epochs: 2}\n", "training: {}\nlr: {}\ntraining: {}\n"]
)
def test_key_given_twice_is_refused(recipe: Recipe, text: str) -> None:
    assert re.search(r"is given twice at line \d", refusal("-C", recipe(text)))


def test_option_given_dotted_and_in_its_section_is_refused(recipe: Recipe) -> None:
    text = "training: {epochs: 1}\ntraining.epochs: 2\n"
    assert "training.epochs is given twice" in refusal("-C", recipe(text))


def test_yaml_anchors_and_merge_keys_work(recipe: Recipe) -> None:
    text = "resolution: &all {min_res: 32, max_res: 64}\n"
    assert train("-C", recipe(text)).resolution.max_res == 64
    merged = "resolution:\n  <<: {min_res: 32, max_res: 64}\n  min_res: 48\n"
    assert train("-C", recipe(merged)).resolution.min_res == 48


def test_missing_recipe_is_refused(tmp_path: Path) -> None:
    assert "it does not exist" in refusal("-C", str(tmp_path / "gone.yaml"))
    assert "it is a folder" in refusal("-C", str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"training: {epochs: 3",
        b"\ttraining: 3",
        b"a: b: c",
        b"\xff\xfe\x00\x81",
        b"nul: \0",
        b"!!python/object/apply:os.getcwd []",
        b"training: *nowhere",
        b"[" * 5000,
    ],
)
def test_invalid_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert refusal("-C", str(path)).startswith(f"{path} can't be read as YAML: ")


@pytest.mark.parametrize("text", ["- training\n- lr\n", "just words\n", "3\n"])
def test_file_without_sections_is_refused(recipe: Recipe, text: str) -> None:
    assert "is not a recipe" in refusal("-C", recipe(text))


@pytest.mark.parametrize("value", ["3", "[1]", "fast"])
def test_section_with_a_plain_value_is_refused(recipe: Recipe, value: str) -> None:
    assert "'training' in" in (message := refusal("-C", recipe(f"training: {value}\n")))
    assert "is a section" in message


def test_recursive_anchor_is_refused(recipe: Recipe) -> None:
    assert refusal("-C", recipe("training: &a {epochs: *a}\n")).startswith("training.epochs: ")


# Combinations


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ("--data.train_dataset=", "data.train_dataset is not set"),
        ("--data.val_dataset=", "data.val_dataset is not set"),
        ("--training.eval_only=true", "needs weights"),
        ("--training.eval_only=1 --model.weights=w --training.resume=r", "exclude each other"),
        ("--training.resume=r --model.weights=w", "drop model.weights"),
        ("--resolution.min_res=192 --resolution.max_res=160", "min_res 192 is above resolution.max_res 160"),
        ("--resolution.start_ramp=0.8 --resolution.end_ramp=1/2", "start_ramp 0.8 is after end_ramp 0.5"),
        ("--resolution.schedule=stages", "resolution.stages is ''"),
        ("--resolution.stages=96x30", "resolution.schedule is ramp, but resolution.stages is '96x30'"),
        (
            "--resolution.schedule=stages --resolution.stages=96x2,128",
            "can't read '128': write it as in 96x12",
        ),
        ("--resolution.schedule=stages --resolution.stages=96x2,4x1", "'4x1': a resolution is 8 to 1024"),
        (
            "--resolution.schedule=stages --resolution.stages=96x20,128x4",
            "has 24 epochs, but training.epochs is 30",
        ),
        ("--resolution.batch_sizes=128", "resolution.batch_sizes: can't read '128'"),
        ("--resolution.batch_sizes=128:8,128:9", "a resolution is listed twice"),
        (
            "--resolution.schedule=progressive --resolution.finetune_fraction=0.6",
            "finetune_fraction is 1.1, more than the whole run",
        ),
        ("--lr.lr_peak_epoch=16 --training.epochs=16", "lr_peak_epoch 16 is not before the end"),
        ("--lr.lr_peak_share=1", "lr_peak_share 1 is not before the end"),
        ("--lr.lr_schedule_type=one-cycle --lr.lr_peak_epoch=0", "one-cycle needs a warm-up"),
        (
            "--lr.lr_schedule_type=one-cycle --lr.lr_final=0.1",
            "lr_final has no effect with lr.lr_schedule_type=one-cycle",
        ),
        ("--lr.lr_start=0.1", "lr_start has no effect with lr.lr_schedule_type=cyclic"),
        ("--lr.lr=0.1 --lr.lr_final=0.2", "lr.lr_final 0.2 is above lr.lr, the peak of 0.1"),
        ("--lr.lr_schedule_type=flat-cosine --lr.flat_until=0.01", "comes before the peak at epoch 2"),
        ("--augmentation.min_scale=0.5 --augmentation.max_scale=0.4", "min_scale is above"),
        ("--augmentation.repeats=3 --data.order=pages", "augmentation.repeats reads an image again"),
        ("--data.balance=sqrt --data.order=pages", "data.balance reads images again"),
        (
            "--data.balance=equal --augmentation.repeats=2",
            "data.balance and augmentation.repeats both say how often",
        ),
        ("--training.nesterov=true --training.momentum=0", "nesterov needs training.momentum"),
        (
            "--training.nesterov=true --training.optimizer=lamb",
            "nesterov has no effect with training.optimizer=lamb",
        ),
        ("--training.sam_interval=5", "training.sam_interval has no effect without training.sam_rho"),
        ("--training.ema_every=20", "training.ema_every has no effect without training.ema_half_life"),
        ("--training.device=cpu --training.precision=fp16", "fp16 needs a GPU"),
        ("--budget.minutes=3 --budget.hours=1", "budget.minutes and budget.hours both set the time limit"),
        ("--budget.adapt=true", "budget.adapt needs a time limit to keep to"),
        ("--budget.stop_at_target=true", "budget.stop_at_target needs budget.target_top1"),
        ("--training.timeline=3", "training.timeline: can't read '3'"),
        ("--plan.pace=fast", "plan.pace: can't read 'fast'"),
    ],
)
def test_impossible_combination_is_refused(argv: str, reason: str) -> None:
    assert reason in refusal(*argv.split())


@pytest.mark.parametrize(
    "argv",
    [
        "--training.eval_only=true --model.weights=w --data.train_dataset=",
        "--training.eval_only=true --model.weights=w --lr.lr_schedule_type=one-cycle --lr.lr_peak_epoch=0",
        "--lr.lr_schedule_type=step --training.epochs=1",
        "--lr.lr_peak_epoch=0",
        "--resolution.start_ramp=0.5 --resolution.end_ramp=0.5",
        "--training.momentum=0",
        "--budget.minutes=3 --budget.target_top1=0.5",
        "--budget.minutes=3",
        "--training.device=cpu --training.precision=bf16",
    ],
)
def test_possible_combination_is_accepted(argv: str) -> None:
    train(*argv.split())


def test_configuration_built_in_code_is_checked() -> None:
    with pytest.raises(UserError, match="train_dataset is not set"):
        TrainConfig()
    with pytest.raises(UserError, match=r"source\.path is not set"):
        WriteConfig()
