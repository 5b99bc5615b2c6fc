"""A recipe's page: what its file says, what each stage sets, who published what, and a command that starts it."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from engine.cli.recipes import main
from engine.config.load import load_train_stages, to_dict
from engine.recipes.recipe_page import file_comment, page, short_side
from engine.recipes.shelf import Recipe, path_of
from tests.recipes.shelf import SHELF, config, named


@pytest.mark.parametrize("recipe", SHELF, ids=lambda recipe: recipe.name)
def test_command_on_a_page_starts_that_recipe(
    recipe: Recipe, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(recipe)
    assert shown.startswith(f"{path_of(recipe)}: ")
    reference = recipe.stages[-1].reference
    for said in (reference.source, reference.note, reference.citation):
        assert " ".join(said.split()) in " ".join(shown.split())
    monkeypatch.chdir(repository)
    command = shown.split("python train_imagenet.py ")[1].replace("\\\n", " ")
    stages, name = load_train_stages(shlex.split(command))
    assert name == recipe.name
    assert [replace(stage, data=recipe.stages[0].data) for stage in stages] == list(recipe.stages)


def test_page_lists_differences_stage_by_stage() -> None:
    shown = page(named("two_stages_90_50"))
    first, second = (
        " ".join(part.split()) for part in shown.split("stage 2 of 2: what differs from stage 1")
    )
    assert "Field report: from scratch on 3 GPUs" in first
    assert "stage 1 of 2: what differs from the defaults" in first
    assert "augmentation.policy auto-augment default none" in first
    assert "lr.lr_schedule_type cosine was one-cycle" in second
    assert "augmentation.policy" not in second
    assert "74.46% top-1" in first and "76.14% top-1" in second
    assert "epoch 1: 0.58%, 6: 11.54%" in first


def test_page_lists_every_option_not_at_its_default() -> None:
    recipe, defaults = named("dawnbench_21_epochs"), to_dict(config())
    shown = page(recipe).split("stage 2 of 2")[0]
    for section, options in to_dict(recipe.stages[0]).items():
        for key, value in options.items():
            apart = section == "reference" or key in ("train_dataset", "val_dataset")
            told = f"  {section}.{key} " in shown
            assert told == (value != defaults[section][key] and not apart), f"{section}.{key}"


def test_page_gives_the_short_side_to_store() -> None:
    large, usual = named("rn50_16_epochs"), named("rsb_a2")
    assert short_side(large) == 294
    assert "--output.short_side=294" in page(large)
    assert short_side(usual) == 256
    assert "--output.short_side" not in page(usual)


def test_page_describes_crops_and_validation() -> None:
    seen = " ".join(page(named("medium_90_epochs")).split())
    assert "stage 1: trained on 8% to 100% of each image, at most 1.33 times as wide as high" in seen
    assert (
        "stage 2: trained on the largest centred square of each image, none flipped; validated at 288 px"
        in seen
    )
    assert "stage 1: trained" not in page(named("two_stages_90_50"))


def test_file_comment_ends_at_the_first_setting() -> None:
    assert file_comment("# One\n#  two\nmodel:\n  # three\n  arch: resnet18\n") == "One\ntwo"
    assert file_comment("model:\n  arch: resnet18\n") == ""


def test_recipes_name_prints_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rsb_a2"]) == 0
    assert capsys.readouterr().out == page(named("rsb_a2")) + "\n"
