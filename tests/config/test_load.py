"""YAML and the command line become one configuration, with words and numbers meaning the same in both."""

import re
from pathlib import Path

import pytest
import yaml

from engine.config.load import load_train_config, load_write_config, to_dict
from engine.errors import UserError
from tests.config.conftest import DATA, Recipe, refusal, train

# What comes from where


def test_no_recipe_gives_defaults_and_the_name_run() -> None:
    config, name = load_train_config(DATA)
    assert name == "run" and config.training.epochs == 30 and config.data.train_dataset == "train.beton"


def test_command_line_overrides_files_and_later_files_earlier_ones(recipe: Recipe) -> None:
    first = recipe("training: {epochs: 10, seed: 1}\nlr: {lr: 3}\n", "first.yaml")
    second = recipe("training: {epochs: 20}\n", "second.yaml")
    config, name = load_train_config([*DATA, "-C", first, "--lr.lr=4", "-C", second])
    assert (config.training.epochs, config.training.seed, config.lr.lr) == (20, 1, 4.0)
    assert name == "second"
    assert train("-C", second, "-C", first).training.epochs == 10
    assert train("--config-file", first, "--training.epochs", "5").training.epochs == 5


@pytest.mark.parametrize(
    ("file", "name"),
    [("runs/nine/config.yaml", "nine"), ("runs/nine/stages.yaml", "nine"), ("nine.yaml", "nine")],
)
def test_recipe_of_a_run_folder_has_the_name_of_the_run(
    recipe: Recipe, tmp_path: Path, file: str, name: str
) -> None:
    (tmp_path / "runs" / "nine").mkdir(parents=True)
    assert load_train_config([*DATA, "-C", recipe("training: {seed: 2}\n", file)])[1] == name


def test_environment_variables_are_ignored(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("training.epochs", "TRAINING.EPOCHS", "training.seed", "epochs"):
        monkeypatch.setenv(name, "99")
    config = train("-C", recipe("training: {epochs: 10}\n"))
    assert config.training.epochs == 10 and config.training.seed == 0


def test_base_files_are_read_recursively(recipe: Recipe, tmp_path: Path) -> None:
    recipe("training: {epochs: 1, seed: 1, batch_size: 8}\n", "ground.yaml")
    (tmp_path / "deep").mkdir()
    recipe("base: ../ground.yaml\ntraining: {epochs: 2, seed: 2}\n", "deep/middle.yaml")
    config = train("-C", recipe("base: deep/middle.yaml\ntraining: {epochs: 3}\n"))
    assert (config.training.epochs, config.training.seed, config.training.batch_size) == (3, 2, 8)


def test_option_of_a_removed_optimizer_in_an_old_config_is_ignored(recipe: Recipe) -> None:
    config = train("-C", recipe("training: {muon_lr: 0.02, epochs: 3}\n"))
    assert config.training.epochs == 3
    assert "'muon' is not one of" in refusal("-C", recipe("training: {optimizer: muon}\n"))
    assert "the optimizer muon was removed" in refusal("--training.muon_lr=0.02")


def test_circular_bases_are_refused(recipe: Recipe) -> None:
    recipe("base: b.yaml\n", "a.yaml")
    assert "builds on itself" in refusal("-C", recipe("base: a.yaml\n", "b.yaml"))
    assert "builds on itself" in refusal("-C", recipe("base: self.yaml\n", "self.yaml"))


@pytest.mark.parametrize("base", ["[a.yaml, b.yaml]", "{a: b}"])
def test_base_that_is_not_a_file_name_is_refused(recipe: Recipe, base: str) -> None:
    assert "is not a file name" in refusal("-C", recipe(f"base: {base}\n"))


@pytest.mark.parametrize(
    "name",
    [
        "rn18_16_epochs",
        "rn18_16_epochs.yaml",
        "rn18_configs/rn18_16_epochs",
        "rn18_configs/rn18_16_epochs.yaml",
    ],
)
def test_recipe_of_the_project_is_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config, recipe_name = load_train_config(["-C", name, *DATA])
    assert (recipe_name, config.model.arch, config.training.epochs) == ("rn18_16_epochs", "resnet18", 16)


def test_file_here_comes_before_the_projects_recipe(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe("training: {epochs: 3}\n", "rn18_16_epochs.yaml")
    monkeypatch.chdir(tmp_path)
    assert train("-C", "rn18_16_epochs").training.epochs == 3


def test_unknown_or_ambiguous_recipe_is_refused(tmp_path: Path) -> None:
    assert (
        "rn18_16_epoch: it does not exist as a file (did you mean 'rn18_16_epochs'?): check the path"
        in refusal("-C", "rn18_16_epoch")
    )
    assert "'base' is the name of several recipes: choose one of cifar_configs/base.yaml, " in refusal(
        "-C", "base"
    )
    assert "too long" in refusal("-C", "x" * 300)
    assert "it is a folder" in refusal("-C", str(tmp_path))


def test_missing_base_is_named(recipe: Recipe) -> None:
    assert re.search(
        r"cannot read the recipe .*gone\.yaml: it does not exist", refusal("-C", recipe("base: gone.yaml\n"))
    )


def test_dotted_name_equals_section_and_name(recipe: Recipe) -> None:
    config = train("-C", recipe("training.epochs: 7\nlr:\n  lr: 2\ntraining:\n  seed: 5\n"))
    assert (config.training.epochs, config.lr.lr, config.training.seed) == (7, 2.0, 5)


def test_configuration_written_to_yaml_is_read_back_unchanged(recipe: Recipe) -> None:
    before = train("--lr.lr=1e-5", "--model.arch=null", "--logging.name=010", "--resolution.end_ramp=11/16")
    text = yaml.safe_dump(to_dict(before), sort_keys=False)
    assert load_train_config(["-C", recipe(text)])[0] == before


def test_empty_recipe_and_empty_sections_change_nothing(recipe: Recipe) -> None:
    assert train("-C", recipe("")) == train("-C", recipe("training:\n# epochs: 3\nlr: {}\n")) == train()


# Plain words in YAML mean what they mean on the command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1e-4", 1e-4), ("1.0e-4", 1e-4), ("0.5", 0.5), ("11/16", 11 / 16), ("2", 2.0), ("'3'", 3.0)],
)
def test_number_spellings_mean_the_same_in_yaml_and_cli(recipe: Recipe, text: str, expected: float) -> None:
    in_file = train("-C", recipe(f"lr: {{lr: {text}}}\n")).lr.lr
    assert in_file == train(f"--lr.lr={text.strip(chr(39))}").lr.lr == expected


def test_yaml_words_are_not_converted(recipe: Recipe) -> None:
    text = "training: {epochs: 010}\nlogging: {name: 2024-13-45}\nmodel: {arch: no, weights: 1.10}\n"
    config = train("-C", recipe(text))
    assert config.training.epochs == 10, "not octal"
    assert config.logging.name == "2024-13-45", "not a date, and not an error for being none"
    assert (config.model.arch, config.model.weights) == ("no", "1.10"), "neither false nor 1.1"
    assert "is not a number" in refusal("-C", recipe("budget: {minutes: 1:30}\n")), "not ninety"


@pytest.mark.parametrize("word", ["true", "Yes", "on", "1"])
def test_true_in_every_spelling_is_true(recipe: Recipe, word: str) -> None:
    assert train("-C", recipe(f"training: {{nesterov: {word}}}\n")).training.nesterov is True
    assert train(f"--training.nesterov={word}").training.nesterov is True


def test_false_on_the_command_line_is_false() -> None:
    assert train("--augmentation.flip=0").augmentation.flip is False
    assert train("--augmentation.flip=False").augmentation.flip is False


@pytest.mark.parametrize(
    ("option", "default", "others"),
    [
        ("decoder", "auto", ("cpu", "packed")),
        ("verify", "first-epoch", ("always", "never")),
        ("corrupt", "stop", ("skip",)),
    ],
)
def test_reading_options_are_set_by_yaml_and_cli(
    recipe: Recipe, option: str, default: str, others: tuple[str, ...]
) -> None:
    assert getattr(train().data, option) == default
    for word in others:
        assert getattr(train("-C", recipe(f"data: {{{option}: {word}}}\n")).data, option) == word
        assert getattr(train(f"--data.{option}={word}").data, option) == word


# write_dataset.py


def test_conversion_options_are_read() -> None:
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
def test_impossible_conversion_is_refused(argv: str, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        load_write_config(argv.split())
    assert reason in str(caught.value)
