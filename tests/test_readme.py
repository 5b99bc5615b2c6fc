"""Nothing in the README is untrue that a program can check: options, verbs, targets, paths, the table of recipes."""

import re
from pathlib import Path

import pytest

from engine.__main__ import VERBS
from engine.config.load import load_train_config
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.config.write import WriteConfig

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
TEXTS = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")}


def _options() -> set[str]:
    fields = {**TrainConfig.__dataclass_fields__, **WriteConfig.__dataclass_fields__}
    return {
        f"{name}.{key}"
        for name, field in fields.items()
        for key in options_of(field.default_factory)  # type: ignore[arg-type]
    }


def test_every_option_that_is_named_exists() -> None:
    sections = "|".join({name.split(".")[0] for name in _options()})
    named = set(re.findall(rf"\b((?:{sections})\.[a-z0-9_]+)\b", README))
    named = {name for name in named if not name.endswith((".py", ".yaml", ".md", ".beton"))}
    assert named
    assert named <= _options()


def test_every_verb_and_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, text in TEXTS.items():
        verbs = set(re.findall(r"python -m engine ([a-z][a-z-]*)", text))
        assert verbs <= set(VERBS), name
        assert set(re.findall(r"`make ([a-z]+)", text)) <= targets, name


def test_every_link_leads_to_a_file() -> None:
    for name, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{name}: {target}"


def test_every_folder_of_the_map_exists() -> None:
    for path in re.findall(r"^    ((?:[a-z0-9_]+/)+)", TEXTS["CONTRIBUTING.md"], re.MULTILINE):
        assert (ROOT / path).is_dir(), path


ROWS = re.findall(r"\| \[(\w+)\]\((\S+)\) \| (\d+) \| ([\d.]+)% \| ([\d.]+) \|", README)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_of_recipes_is_what_the_recipes_say(row: tuple[str, str, str, str, str]) -> None:
    name, path, epochs, top1, minutes = row
    data = ["--data.train_dataset=t.beton", "--data.val_dataset=v.beton"]
    config, recipe = load_train_config(["-C", str(ROOT / path), *data])
    assert recipe == name
    assert config.training.epochs == int(epochs)
    assert f"{config.reference.top1:.1%}" == f"{top1}%"
    assert f"{config.reference.minutes:.1f}" == minutes


def test_the_table_holds_every_recipe_that_has_published_figures() -> None:
    files = {path.stem for path in ROOT.glob("rn*_configs/rn*.yaml")}
    assert {row[0] for row in ROWS} == files


def test_the_speedruns_promise_is_the_recipes() -> None:
    config, _ = load_train_config(
        ["-C", str(ROOT / "rn50_configs/demo.yaml"), "--data.train_dataset=t", "--data.val_dataset=v"]
    )
    assert f"target {config.budget.target_top1:.0%} top-1" in " ".join(README.split())
    assert f"within {config.budget.minutes:.0f} minutes" in " ".join(README.split())
