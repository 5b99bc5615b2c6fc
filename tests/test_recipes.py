"""Every recipe on the shelf takes steps through all of its stages, at its own resolutions, on tiny real data."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from tqdm import tqdm

from engine.config.load import load_train_stages
from engine.config.stages import WEIGHTS, WEIGHTS_EMA, stage_folder
from engine.config.train.train_config import TrainConfig
from engine.models.build import build_model
from engine.train.checkpoints import checkpoint_file
from engine.train.ranks.group import process_group
from engine.train.run import Run
from engine.train.schedules import batch_at, resolution_at
from engine.train.step.compiling import compiles
from tests.shapes import write_betons

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path.relative_to(ROOT) for path in ROOT.glob("*_configs/*.yaml"))
FULL = [path for path in RECIPES if path.name != "base.yaml"]
# ResNet-50 takes seconds each; one of its recipes is among the quick tests.
LONG = [
    path
    for path in FULL
    if path.parent.name == "rn50_configs" and path.stem not in ("rn50_16_epochs", "demo")
]
# What this project made up itself has no source to name.
OURS = {"demo", "small_2_cores", "distilled_2_cores"}
TRAIN, VAL = 2, 2
CLASSES = ("amber", "blue")

Betons = tuple[Path, Path]
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def betons(tmp_path_factory: pytest.TempPathFactory) -> Betons:
    folder = tmp_path_factory.mktemp("recipes")
    return write_betons(folder, train=TRAIN, val=VAL, classes=CLASSES)


def stages_of(recipe: Path, betons: Betons) -> list[TrainConfig]:
    data = [f"--data.train_dataset={betons[0]}", f"--data.val_dataset={betons[1]}"]
    return load_train_stages(["-C", str(ROOT / recipe), *data])[0]


def shrunk(stage: TrainConfig, folder: Path) -> TrainConfig:
    """The stage as it is, but for two images: batches in the proportion of its own, and what it does only now and then
    (SAM, averaging) in every step. It is not compiled, which takes a minute for each resolution.

    Weights are looked for in `folder`, and a teacher is a small network.
    """
    listed = stage.resolution.batch_list()
    largest = max([stage.training.batch_size, *(batch for _, batch in listed)])

    def small(batch: int) -> int:
        return max(1, TRAIN * batch // largest)

    training = replace(
        stage.training,
        batch_size=small(stage.training.batch_size),
        sam_interval=1,
        ema_every=1,
        ema_half_life=min(1, stage.training.ema_half_life),
        device="cpu",
        precision="fp32",
        compile="off",
    )
    batches = ", ".join(f"{side}:{small(batch)}" for side, batch in listed)
    weights = str(folder / stage.model.weights) if stage.model.weights else ""
    loss = stage.loss
    if loss.teacher:
        teacher = build_model("small_resnet", len(CLASSES), use_blurpool=False)
        checkpoint_file.save(folder / "teacher.pt", dict(teacher.state_dict()))
        loss = replace(loss, teacher=str(folder / "teacher.pt"), teacher_arch="small_resnet")
    return replace(
        stage,
        training=training,
        loss=loss,
        resolution=replace(stage.resolution, batch_sizes=batches),
        model=replace(stage.model, weights=weights),
    )


@contextmanager
def run_of(config: TrainConfig) -> Iterator[Run]:
    with process_group("cpu") as ranks, Run(config, ranks) as run:
        yield run


def ends(config: TrainConfig) -> list[int]:
    """The first epoch, and the last one where it has another resolution or batch."""
    epochs, resolution = config.training.epochs, config.resolution
    sides = [resolution_at(resolution, epoch, epochs) for epoch in (0, epochs - 1)]
    return [0, epochs - 1] if sides[0] != sides[1] else [0]


def train_ends(run: Run) -> None:
    """Take the epochs of `ends`, and check what each of them logs."""
    config, trainer = run.config, run.trainer
    assert trainer is not None
    with tqdm(disable=True) as bar:
        for epoch in ends(config):
            line = trainer.train_epoch(epoch, bar)
            side = resolution_at(config.resolution, epoch, config.training.epochs)
            batch = batch_at(config.resolution, side, config.training.batch_size)
            assert (line.resolution, line.global_batch) == (side, batch)
            assert line.images == TRAIN // batch * batch
            assert math.isfinite(line.train_loss or math.nan)


def copied(model: nn.Module) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: State, after: State) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_recipes_compile_on_a_gpu_but_for_the_shortest_runs(betons: Betons) -> None:
    """The step benchmark compiles ours: its figures would not be what recipes do."""
    gpu = torch.device("cuda")
    not_compiled = {
        path.stem
        for path in FULL
        for stage in stages_of(path, betons)
        if not compiles(stage.training.compile, gpu)
    }
    assert not_compiled == {"demo", "resnet9_30_epochs", *OURS}


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(path, marks=pytest.mark.slow) if path in LONG else path for path in FULL],
    ids=[path.stem for path in FULL],
)
def test_recipe_trains_through_all_its_stages(recipe: Path, betons: Betons, tmp_path: Path) -> None:
    stages = stages_of(recipe, betons)
    left: dict[str, State] = {}
    for number, stage in enumerate(stages, start=1):
        with run_of(shrunk(stage, tmp_path)) as run:
            before = copied(run.model)
            if number > 1:
                assert not changed(left[Path(stage.model.weights).name], before)
            train_ends(run)
            left = {WEIGHTS: copied(run.model)}
            # A norm's step may be too small for a float of about 1.
            weights = [item for item in run.model.named_parameters() if item[1].requires_grad]
            matrices = {name for name, weight in weights if weight.ndim > 1}
            assert matrices and matrices <= changed(before, left[WEIGHTS])
            assert run.validator.accuracy(run.model).count == VAL
            average = run.trainer.step.ema
            assert bool(average) == bool(stage.training.ema_half_life)
            if average:
                left[WEIGHTS_EMA] = copied(average.model)
                assert changed(before, left[WEIGHTS_EMA]) and changed(left[WEIGHTS], left[WEIGHTS_EMA])
        for name, state in left.items() if number < len(stages) else ():
            checkpoint_file.save(tmp_path / stage_folder(number) / name, state)


@pytest.mark.parametrize("recipe", FULL, ids=lambda path: path.stem)
def test_recipe_names_its_source(recipe: Path, betons: Betons) -> None:
    for stage in stages_of(recipe, betons):
        assert bool(stage.reference.source) == bool(stage.reference.citation)
        # Batch-norm statistics are of what one device takes at once.
        assert stage.training.device_batch_size or stage.training.batch_size <= 1024
        assert bool(stage.reference.source) == (recipe.stem not in OURS)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_recipe_starts_with_a_comment_and_names_no_host(recipe: Path) -> None:
    content = (ROOT / recipe).read_text(encoding="utf-8")
    assert content.startswith(("#", "base: "))
    assert "http" not in content and "www." not in content
    assert max(map(len, content.splitlines())) <= 120
