"""The table of recipes says what the recipes say, fits a terminal, and is the one that docs/recipes.md holds."""

from pathlib import Path
from typing import Any

import pytest

from engine.cli.recipes import main
from engine.recipes.table import (
    HEADS,
    WIDTH,
    markdown,
    published,
    row_of,
    techniques,
    techniques_of,
    terminal,
)
from tests.recipes.shelf import SHELF, config, named, untied


def test_table_has_every_recipe_and_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    names = {path.stem for path in repository.glob("*_configs/*.yaml")} - {"base"}
    assert len(names) > 25
    first_column = [line.split()[0] for line in lines if line[:1].strip()]
    assert [name for name in first_column if name in names] == [recipe.name for recipe in SHELF]
    assert {recipe.name for recipe in SHELF} == names


def test_no_word_of_a_cell_is_lost() -> None:
    rows = [row_of(recipe) for recipe in SHELF]
    printed = terminal(rows).split()
    assert {word for row in rows for cell in row.cells for word in cell.split()} <= set(printed)


def test_table_in_the_docs_is_current(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    assert main(["--markdown"]) == 0
    table, content = capsys.readouterr().out, (repository / "docs/recipes.md").read_text(encoding="utf-8")
    assert table in content, "put what `python -m engine recipes --markdown` prints into docs/recipes.md"


def test_markdown_has_a_row_per_recipe() -> None:
    lines = markdown([row_of(recipe) for recipe in SHELF]).splitlines()[2 : len(SHELF) + 2]
    assert [line.split(" | ")[0] for line in lines] == [f"| {recipe.name}" for recipe in SHELF]
    assert {line.count(" | ") for line in lines} == {len(HEADS) - 1}


def test_row_covers_all_stages() -> None:
    cells = [untied(cell) for cell in row_of(named("medium_90_epochs")).cells]
    assert cells[:5] == [
        "medium_90_epochs",
        "85+5",
        "resnet50, sgd",
        "128,224 +288 /288",
        "4096, 2560 +2048",
    ]
    assert cells[5].endswith("MixUp 0.2; then cosine, whole images, unflipped")
    assert cells[6] == "78.10%?, 8x V100-16GB, no TTA"
    cells = [untied(cell) for cell in row_of(named("two_stages_90_50")).cells]
    assert (cells[1], cells[3], cells[4]) == ("90+50", "224 /224", "2688 +1280")
    assert cells[6] == "76.14%, 1320 min, 3x L40 then 2x A100-40GB, no TTA"
    assert untied(row_of(named("lamb_then_sgd")).cells[2]) == "resnet50, lamb +sgd"
    assert row_of(named("mosaic_mild")).cells[3] == "88-176 /224"
    assert row_of(named("demo")).cells[7] == "this project"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"training__nesterov": True}, ["Nesterov"]),
        ({"training__sam_rho": 0.1}, ["SAM"]),
        ({"training__sam_rho": 0.1, "training__sam_interval": 5}, ["SAM every 5"]),
        ({"training__clip_norm": 1}, ["clip 1"]),
        ({"training__ema_half_life": 100}, ["EMA"]),
        ({"loss__name": "bce"}, ["BCE"]),
        ({"loss__teacher": "x", "loss__teacher_arch": "resnet50"}, ["distillation"]),
        ({"training__use_blurpool": True}, ["BlurPool"]),
        ({"model__stochastic_depth": 0.1}, ["stoch. depth 0.1"]),
        ({"model__dropout": 0.2}, ["dropout 0.2"]),
        ({"model__zero_init_residual": True}, ["zero-init"]),
        ({"model__train_only": "head"}, ["head alone"]),
        ({"augmentation__min_scale": 1, "augmentation__max_aspect": 1}, ["whole images"]),
        ({"augmentation__min_scale": 0.35}, ["crops from 35%"]),
        ({"augmentation__flip": False}, ["unflipped"]),
        ({"augmentation__repeats": 3}, ["3 repeats"]),
        ({"augmentation__policy": "auto-augment"}, ["AutoAugment"]),
        ({"augmentation__policy": "trivial-augment"}, ["TrivialAugment"]),
        ({"augmentation__policy": "rand-augment"}, ["RandAugment 2x9"]),
        ({"augmentation__hue": 0.1}, ["jitter"]),
        ({"augmentation__erasing_probability": 0.25}, ["erasing 0.25"]),
        ({"augmentation__colout_rows": 0.1}, ["ColOut"]),
        ({"augmentation__mixup_alpha": 0.2, "augmentation__cutmix_alpha": 1}, ["MixUp 0.2", "CutMix 1"]),
        ({"training__compile": True}, ["compile"]),
    ],
)
def test_technique_is_named_when_it_is_on(options: dict[str, Any], words: list[str]) -> None:
    assert list(techniques(config(training__label_smoothing=0, **options)).values()) == ["cyclic", *words]


def test_later_stage_lists_its_changes() -> None:
    first = config(augmentation__mixup_alpha=0.2, augmentation__erasing_probability=0.25)
    second = config(augmentation__mixup_alpha=0.4, training__label_smoothing=0, training__nesterov=True)
    assert untied(techniques_of([first, second, second])) == (
        "cyclic, smoothing 0.1, erasing 0.25, MixUp 0.2; then Nesterov, MixUp 0.4, no smoothing, no erasing; "
        "then the same"
    )


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{}], "–"),
        ([{"note": "unknown"}], "–?"),
        ([{"top1": 0.5}], "50.00%, no TTA"),
        ([{"top1": 0.5, "tta": True, "note": "x"}], "50.00%?, with TTA"),
        ([{"minutes": 5}, {"minutes": 7.5, "top1": 0.5}], "50.00%, 7.5 min, no TTA"),
        ([{"minutes": 5, "top1": 0.4}, {"top1": 0.5}], "50.00%, no TTA"),
        ([{"minutes": 5, "top1": 0.4}, {"minutes": 8}], "8 min"),
        ([{"hardware": "1x H100"}], "–"),
        ([{"hardware": "1x H100", "top1": 0.5}], "50.00%, 1x H100, no TTA"),
    ],
)
def test_published_figures_cover_the_whole_recipe(stages: list[dict[str, Any]], said: str) -> None:
    each = [{f"reference__{key}": value for key, value in stage.items()} for stage in stages]
    assert untied(published([config(reference__source="someone", **stage) for stage in each])) == said
