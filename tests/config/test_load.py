"""YAML and the command line become one configuration, with words and numbers meaning the same in both."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from engine.config.load import load_train_config, load_write_config, to_dict
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.config.write import WriteConfig
from engine.errors import UserError
from tests.config.conftest import DATA, Recipe, refusal, train

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


@pytest.mark.parametrize(
    ("option", "default", "others"),
    [
        ("decoder", "auto", ("cpu", "packed")),
        ("verify", "first-epoch", ("always", "never")),
        ("corrupt", "stop", ("skip",)),
    ],
)
def test_how_images_are_read_is_the_recipes(
    recipe: Recipe, option: str, default: str, others: tuple[str, ...]
) -> None:
    assert getattr(train().data, option) == default
    for word in others:
        assert getattr(train("-C", recipe(f"data: {{{option}: {word}}}\n")).data, option) == word
        assert getattr(train(f"--data.{option}={word}").data, option) == word


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
