"""YAML and the command line become one configuration; what fastargs and PyYAML let pass is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from engine.config.load import load_train_config, load_write_config, to_dict
from engine.config.options import options_of
from engine.config.schema import TrainConfig, WriteConfig
from engine.errors import UserError

DATA = ("--data.train_dataset=train.beton", "--data.val_dataset=val.beton")

Recipe = Callable[..., str]


def train(*argv: str) -> TrainConfig:
    """The configuration of these arguments, with both data files named."""
    return load_train_config([*DATA, *argv])[0]


def refusal(*argv: str) -> str:
    """The one line that these arguments are refused with."""
    with pytest.raises(UserError) as caught:
        train(*argv)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Write a YAML file and return its path as text."""

    def write(text: str, name: str = "recipe.yaml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# What comes from where


def test_without_a_recipe_there_are_the_defaults_and_the_run_is_called_run() -> None:
    config, name = load_train_config(DATA)
    assert name == "run" and config.training.epochs == 30 and config.data.train_dataset == "train.beton"


def test_the_command_line_wins_over_files_and_later_files_over_earlier_ones(recipe: Recipe) -> None:
    first = recipe("training: {epochs: 10, seed: 1}\nlr: {lr: 3}\n", "first.yaml")
    second = recipe("training: {epochs: 20}\n", "second.yaml")
    config, name = load_train_config([*DATA, "-C", first, "--lr.lr=4", "-C", second])
    assert (config.training.epochs, config.training.seed, config.lr.lr) == (20, 1, 4.0)
    assert name == "second"
    assert train("-C", second, "-C", first).training.epochs == 10
    assert train("--config-file", first, "--training.epochs", "5").training.epochs == 5


def test_the_environment_decides_nothing(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("training.epochs", "TRAINING.EPOCHS", "training.seed", "epochs"):
        monkeypatch.setenv(name, "99")
    config = train("-C", recipe("training: {epochs: 10}\n"))
    assert config.training.epochs == 10 and config.training.seed == 0


def test_a_file_builds_on_its_base_which_may_have_one_too(recipe: Recipe, tmp_path: Path) -> None:
    recipe("training: {epochs: 1, seed: 1, batch_size: 8}\n", "ground.yaml")
    (tmp_path / "deep").mkdir()
    recipe("base: ../ground.yaml\ntraining: {epochs: 2, seed: 2}\n", "deep/middle.yaml")
    config = train("-C", recipe("base: deep/middle.yaml\ntraining: {epochs: 3}\n"))
    assert (config.training.epochs, config.training.seed, config.training.batch_size) == (3, 2, 8)


def test_bases_in_a_loop_are_refused(recipe: Recipe) -> None:
    recipe("base: b.yaml\n", "a.yaml")
    assert "is its own base" in refusal("-C", recipe("base: a.yaml\n", "b.yaml"))
    assert "is its own base" in refusal("-C", recipe("base: self.yaml\n", "self.yaml"))


@pytest.mark.parametrize("base", ["[a.yaml, b.yaml]", "{a: b}"])
def test_a_base_is_one_file(recipe: Recipe, base: str) -> None:
    assert "is not the name of one file" in refusal("-C", recipe(f"base: {base}\n"))


def test_a_missing_base_is_named(recipe: Recipe) -> None:
    assert re.search(
        r"cannot read the recipe .*gone\.yaml: it does not exist", refusal("-C", recipe("base: gone.yaml\n"))
    )


def test_dotted_names_and_sections_say_the_same(recipe: Recipe) -> None:
    config = train("-C", recipe("training.epochs: 7\nlr:\n  lr: 2\ntraining:\n  seed: 5\n"))
    assert (config.training.epochs, config.lr.lr, config.training.seed) == (7, 2.0, 5)


def test_a_configuration_survives_being_written_and_read(recipe: Recipe) -> None:
    before = train("--lr.lr=1e-5", "--model.arch=null", "--logging.name=010", "--resolution.end_ramp=11/16")
    text = yaml.safe_dump(to_dict(before), sort_keys=False)
    assert load_train_config(["-C", recipe(text)])[0] == before


def test_an_empty_recipe_and_empty_sections_change_nothing(recipe: Recipe) -> None:
    assert train("-C", recipe("")) == train("-C", recipe("training:\n# epochs: 3\nlr: {}\n")) == train()


# Plain words in YAML mean what they mean on the command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1e-4", 1e-4), ("1.0e-4", 1e-4), ("0.5", 0.5), ("11/16", 11 / 16), ("2", 2.0), ("'3'", 3.0)],
)
def test_numbers_are_read_in_every_spelling(recipe: Recipe, text: str, expected: float) -> None:
    in_file = train("-C", recipe(f"lr: {{lr: {text}}}\n")).lr.lr
    assert in_file == train(f"--lr.lr={text.strip(chr(39))}").lr.lr == expected


def test_yaml_makes_nothing_else_of_a_word(recipe: Recipe) -> None:
    text = "training: {epochs: 010}\nlogging: {name: 2024-13-45}\nmodel: {arch: no, weights: 1.10}\n"
    config = train("-C", recipe(text))
    assert config.training.epochs == 10, "not octal"
    assert config.logging.name == "2024-13-45", "not a date, and not an error for being none"
    assert (config.model.arch, config.model.weights) == ("no", "1.10"), "neither false nor 1.1"
    assert "is not a number" in refusal("-C", recipe("budget: {minutes: 1:30}\n")), "not ninety"


@pytest.mark.parametrize("word", ["true", "Yes", "on", "1"])
def test_truth_is_written_in_words_or_as_one(recipe: Recipe, word: str) -> None:
    assert train("-C", recipe(f"training: {{nesterov: {word}}}\n")).training.nesterov is True
    assert train(f"--training.nesterov={word}").training.nesterov is True


def test_a_false_on_the_command_line_is_false() -> None:
    assert train("--augmentation.flip=0").augmentation.flip is False
    assert train("--augmentation.flip=False").augmentation.flip is False


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
        ("lr.lr", "1/0", "'1/0' is not a number or a share"),
        ("lr.lr", "nan", "is not a number"),
        ("lr.lr", "inf", "is not a number"),
        ("lr.lr", "0", "above 0"),
        ("resolution.max_res", "0", "at least 8"),
        ("resolution.end_ramp", "17/16", "at most 1"),
        ("training.seed", "-1", "at least 0"),
        ("lr.lr_schedule_type", "cosin", r"one of .* \(did you mean 'cosine'\?\)"),
        ("training.precision", "BF16", r"did you mean 'bf16'\?"),
    ],
)
def test_a_value_that_does_not_fit_is_one_line(recipe: Recipe, option: str, value: str, reason: str) -> None:
    path = recipe(f"{option}: {value}\n")
    in_file = refusal("-C", path)
    on_line = refusal(f"--{option}={value.strip(chr(39))}")
    for message in (in_file, on_line):
        assert message.startswith(f"{option}: ") and re.search(reason, message)
    assert in_file.endswith(f"(in {path})")


@pytest.mark.parametrize("value", ["[1, 2]", "{a: 1}", "{}", "{1: 2}"])
def test_a_list_or_mapping_is_no_value(recipe: Recipe, value: str) -> None:
    assert refusal("-C", recipe(f"training: {{epochs: {value}}}\n")).startswith("training.epochs: ")
    assert refusal("-C", recipe(f"training: {{resume: {value}}}\n")).startswith("training.resume: ")


@pytest.mark.parametrize(
    "text", ["training: {epochs: }\n", "training:\n  epochs: null\n", "training.epochs: ~\n"]
)
def test_an_empty_value_is_refused(recipe: Recipe, text: str) -> None:
    assert "training.epochs has no value in" in refusal("-C", recipe(text))


def test_text_may_be_emptied_on_purpose(recipe: Recipe) -> None:
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
def test_an_unknown_option_is_refused_with_the_nearest_name(recipe: Recipe, key: str, nearest: str) -> None:
    path = recipe(f"{key}: 3\n")
    hint = f"(did you mean {nearest!r}?)"
    assert refusal("-C", path) == f"unknown option {key!r} in {path} {hint}"
    for argv in ((f"--{key}=3",), (f"--{key}", "3")):
        assert refusal(*argv) == f"unknown option {key!r} on the command line {hint}"


def test_an_unknown_option_far_from_all_points_to_the_help() -> None:
    assert refusal("--zzz").endswith("; --help lists all")


def test_an_unknown_section_is_refused_even_when_empty(recipe: Recipe) -> None:
    assert "unknown option 'trainin'" in refusal("-C", recipe("trainin:\n"))
    assert "unknown option 'trainin.epochs'" in refusal("-C", recipe("trainin: {epochs: 3}\n"))
    assert "unknown option 'training.3'" in refusal("-C", recipe("training: {3: 3}\n"))
    assert "unknown option '3'" in refusal("-C", recipe("3: 3\n"))


def test_a_part_of_an_options_name_is_not_enough() -> None:
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
def test_what_ffcv_imagenet_had_and_we_have_not_gets_an_explanation(
    recipe: Recipe, key: str, advice: str
) -> None:
    for message in (refusal("-C", recipe(f"{key}: 1\n")), refusal(f"--{key}=1")):
        assert "does not exist here" in message and advice in message


def test_every_option_of_ffcv_imagenet_is_known_or_explained() -> None:
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


def test_a_recipe_without_dash_c_is_explained() -> None:
    assert "-C FILE" in refusal("recipe.yaml")


def test_an_option_without_a_value_is_one_line() -> None:
    assert "--training.epochs: expected one argument" in refusal("--training.epochs")


@pytest.mark.parametrize(
    "text", ["training: {epochs: 1, epochs: 2}\n", "training: {}\nlr: {}\ntraining: {}\n"]
)
def test_a_key_given_twice_is_refused(recipe: Recipe, text: str) -> None:
    assert re.search(r"is given twice at line \d", refusal("-C", recipe(text)))


def test_an_option_given_dotted_and_in_its_section_is_refused(recipe: Recipe) -> None:
    text = "training: {epochs: 1}\ntraining.epochs: 2\n"
    assert "training.epochs is given twice" in refusal("-C", recipe(text))


def test_merge_keys_and_anchors_work_as_yaml_has_them(recipe: Recipe) -> None:
    text = "resolution: &all {min_res: 32, max_res: 64}\n"
    assert train("-C", recipe(text)).resolution.max_res == 64
    merged = "resolution:\n  <<: {min_res: 32, max_res: 64}\n  min_res: 48\n"
    assert train("-C", recipe(merged)).resolution.min_res == 48


def test_a_missing_recipe_is_one_line(tmp_path: Path) -> None:
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
def test_what_is_not_yaml_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert refusal("-C", str(path)).startswith(f"{path} can't be read as YAML: ")


@pytest.mark.parametrize("text", ["- training\n- lr\n", "just words\n", "3\n"])
def test_a_file_without_sections_is_no_recipe(recipe: Recipe, text: str) -> None:
    assert "is not a recipe" in refusal("-C", recipe(text))


@pytest.mark.parametrize("value", ["3", "[1]", "fast"])
def test_a_section_is_not_a_value(recipe: Recipe, value: str) -> None:
    assert "'training' in" in (message := refusal("-C", recipe(f"training: {value}\n")))
    assert "is a section" in message


def test_an_anchor_that_holds_itself_ends(recipe: Recipe) -> None:
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
        ("--lr.lr_peak_epoch=16 --training.epochs=16", "lr_peak_epoch 16 is not before the end"),
        ("--lr.lr_schedule_type=one-cycle --lr.lr_peak_epoch=0", "one-cycle needs a rise"),
        ("--augmentation.min_scale=0.5 --augmentation.max_scale=0.4", "min_scale is above"),
        ("--training.nesterov=true --training.momentum=0", "nesterov needs training.momentum"),
        ("--training.device=cpu --training.precision=fp16", "fp16 needs a GPU"),
        ("--budget.minutes=3", "say what is to be reached"),
    ],
)
def test_an_impossible_combination_is_one_line(argv: str, reason: str) -> None:
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
        "--training.device=cpu --training.precision=bf16",
    ],
)
def test_a_possible_combination_is_taken(argv: str) -> None:
    train(*argv.split())


def test_a_configuration_built_in_code_is_checked_alike() -> None:
    with pytest.raises(UserError, match="train_dataset is not set"):
        TrainConfig()
    with pytest.raises(UserError, match=r"source\.path is not set"):
        WriteConfig()


# write_dataset.py


def test_the_conversion_has_its_own_sections() -> None:
    config = load_write_config(["--source.path=a", "--output.folder=b", "--output.format=raw"])
    assert (config.source.path, config.output.folder, config.output.format) == ("a", "b", "raw")


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ("--output.folder=b", "source.path is not set"),
        ("--source.path=a", "output.folder is not set"),
        ("--source.path=a --output.folder=b --output.page_size=12", "12 is not a power of two"),
        ("--source.path=a --output.folder=b --output.jpeg_quality=0", "at least 1"),
        ("--source.path=a --output.folder=b --output.max_resolution=-1", "at least 0"),
        ("--source.path=a --output.folder=b --output.format=png", "one of jpeg, raw, proportion"),
        ("--source.path=a --output.folder=b --training.epochs=3", "unknown option 'training.epochs'"),
    ],
)
def test_a_conversion_that_cannot_be_is_one_line(argv: str, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        load_write_config(argv.split())
    assert reason in str(caught.value)


# --help


@pytest.mark.parametrize(
    ("load", "schema"), [(load_train_config, TrainConfig), (load_write_config, WriteConfig)]
)
def test_help_lists_every_option_with_its_words_and_ends_well(
    load: Callable[[list[str]], object],
    schema: type,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as caught:
        load(["--help"])
    assert caught.value.code == 0
    # Lines break anywhere, also at hyphens.
    shown = "".join(capsys.readouterr().out.split())
    for name, field in schema.__dataclass_fields__.items():  # type: ignore[attr-defined]
        for key, spec in options_of(field.default_factory).items():
            assert f"--{name}.{key}{spec.type.__name__.upper()}" in shown
            expected = f"{spec.help} ({spec.constraint()})"
            if spec.default != "":
                expected += f" [default: {spec.default}]"
            assert "".join(expected.split()) in shown
