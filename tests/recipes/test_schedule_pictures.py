"""The pictures of the schedules: every recipe is drawn, from what the trainer asks for, and the page shows them."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.cli.schedules import main
from engine.config.installation import SOURCE
from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.recipes.schedule_pictures import curves, draw, learning_rate
from engine.recipes.shelf import Recipe, read_shelf
from engine.train.schedules import lr_at

SHELF = read_shelf(SOURCE)
FAMILIES = sorted({recipe.family for recipe in SHELF})
SVG = "{http://www.w3.org/2000/svg}"


def _config(*options: str) -> TrainConfig:
    return load_train_config(["--data.train_dataset=t", "--data.val_dataset=v", *options])[0]


def test_shelf_is_every_recipe_except_bases() -> None:
    files = {path.stem for path in SOURCE.glob("*_configs/*.yaml") if not path.stem.startswith("base")}
    assert {recipe.name for recipe in SHELF} == files
    assert len(SHELF) == len(files)
    names = [recipe.name for recipe in SHELF if recipe.family == "rn18"]
    assert names[0] == "rn18_16_epochs" and names[-1] == "rn18_88_epochs"


def test_schedules_draws_every_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path)]) == 0
    drawn = set()
    for family in FAMILIES:
        root = ElementTree.fromstring((tmp_path / f"schedules_{family}.svg").read_text())
        for picture in root.findall(f"{SVG}g"):
            (name,) = [text.text for text in picture.findall(f"{SVG}text") if text.get("class") == "name"]
            lines = [path.get("class") for path in picture.findall(f"{SVG}path")]
            assert lines == ["line lr", "line px", "line batch"]
            drawn.add((family, name))
    assert drawn == {(recipe.family, recipe.name) for recipe in SHELF}
    assert capsys.readouterr().out.count(" recipes") == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_committed_pictures_are_current_and_shown(family: str) -> None:
    drawn = draw(family, [recipe for recipe in SHELF if recipe.family == family])
    path = SOURCE / "docs" / "assets" / f"schedules_{family}.svg"
    assert path.read_text(encoding="utf-8") == drawn, "draw them anew: python -m engine schedules"
    assert f"(assets/{path.name})" in (SOURCE / "docs" / "techniques.md").read_text(encoding="utf-8")


def test_curves_match_the_schedules_of_the_trainer() -> None:
    config = _config(
        *(
            "--training.epochs=4",
            "--training.batch_size=64",
            "--lr.batch_scaling=linear",
            "--lr.lr_peak_epoch=1",
        ),
        *(
            "--resolution.schedule=stages",
            "--resolution.stages=96x3,128x1",
            "--resolution.batch_sizes=96:128",
        ),
    )
    found = curves([config])
    assert found.resolution == [(0, 96), (3, 96), (3, 128), (4, 128)]
    assert found.batch == [(0, 128), (3, 128), (3, 64), (4, 64)]
    assert max(rate for _, rate in found.lr) == pytest.approx(2 * config.lr.lr)
    rates = dict(found.lr)
    assert rates[3] == pytest.approx(lr_at(config.lr, 3, 4))
    assert learning_rate(config, 3 - 1e-6) == pytest.approx(2 * lr_at(config.lr, 3, 4), rel=1e-4)


def test_stages_are_drawn_in_sequence() -> None:
    first, second = _config("--training.epochs=4"), _config("--training.epochs=3", "--lr.lr=0.01")
    found = curves([first, second])
    assert found.ends == [4, 7]
    assert found.lr[0][0] == 0 and found.lr[-1][0] == 7
    picture = draw("f", [Recipe(family="f", name="two", stages=(first, second))])
    assert picture.count('class="rule"') == 1
    assert draw("f", [Recipe(family="f", name="one", stages=(first,))]).count('class="rule"') == 0


def test_labels_stay_inside_the_figure() -> None:
    for family in FAMILIES:
        root = ElementTree.fromstring(draw(family, [recipe for recipe in SHELF if recipe.family == family]))
        for text in root.iter(f"{SVG}text"):
            assert -1 <= float(text.attrib["x"]) <= 320 and 0 <= float(text.attrib["y"]) <= 248


def test_missing_output_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        main(["--output", str(tmp_path / "none")])
