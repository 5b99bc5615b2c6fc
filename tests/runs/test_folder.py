"""The names in a run's folder: what they say, and that nobody else spells them."""

import ast
from pathlib import Path

from engine.runs import folder as names

# Where a name may be spelt: the one place, and what names weights below it.
DECLARED = {"engine/runs/folder.py", "engine/config/stages.py"}

# Words that are no names of files there: an option's choice, a module.
OTHERWISE_USED = {"checkpoints", "tensorboard", "wandb", "steps"}


def test_checkpoints_are_sorted_newest_first(tmp_path: Path) -> None:
    assert names.checkpoints_of(tmp_path) == []
    inside = tmp_path / names.CHECKPOINTS
    inside.mkdir()
    places = [(2, 40), (10, 1), (1, 1_000_000), (2, 7)]
    for epoch, step in places:
        (inside / names.checkpoint_name(epoch, step)).touch()
    for other in (
        names.LAST,
        names.BEST,
        "epoch_001_step_000001.pt.partial-3",
        "epoch_001_step_000001.damaged",
    ):
        (inside / other).touch()
    found = names.checkpoints_of(tmp_path)
    assert [names.checkpoint_place(path.name) for path in found] == sorted(places, reverse=True)
    assert names.checkpoint_name(3, 120) == "epoch_003_step_000120.pt"


def test_file_named_like_the_folder_has_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / names.CHECKPOINTS).touch()
    assert names.checkpoints_of(tmp_path) == []


def test_stages_are_sorted_by_number(tmp_path: Path) -> None:
    for number in (10, 2, 1, 3):
        (tmp_path / names.stage_folder(number)).mkdir()
    for number in (10, 2, 1):
        (tmp_path / names.stage_folder(number) / names.LOG).touch()
    found = [path.name for path in names.stages_with(tmp_path, names.LOG)]
    assert found == ["stage1", "stage2", "stage10"]


def test_run_file_names_are_defined_in_one_module(repository: Path) -> None:
    declared = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    assert len(declared) > 12
    found = []
    for path in repository.glob("engine/**/*.py"):
        where = path.relative_to(repository).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Constant)
                and node.value in declared - OTHERWISE_USED
                and where not in DECLARED
            ):
                found.append(f"{where}:{node.lineno} spells {node.value!r}")
    assert found == []
