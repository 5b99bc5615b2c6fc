"""Every technique trains a few steps on CIFAR-10: its loss is finite, all weights move, and it makes a difference.

The cases are made from the schema and the registries (techniques.py).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

from engine.config.load import load_train_config
from engine.config.options import options_of
from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert
from engine.models.build import build_model
from engine.train.augment.chain import AUGMENTATIONS
from engine.train.ranks.group import process_group
from engine.train.run import Run
from tests.data.nvimgcodec import needs_nvimgcodec
from tests.train.techniques import CASES, CHOICES, NO_CASE, PLAIN, SECTIONS, UNSEEN, VALUES, Case, Settings

Files = dict[str, Path]


@dataclass(frozen=True)
class Outcome:
    """The losses of the epochs, all that the network holds then, and its average's, and which weights rested."""

    losses: list[float]
    state: dict[str, torch.Tensor]
    rested: list[str]

    def equals(self, other: "Outcome") -> bool:
        """To the bit."""
        same_names = self.state.keys() == other.state.keys()
        return same_names and all(torch.equal(value, other.state[name]) for name, value in self.state.items())


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Several wait for each other by spinning, for long where other programs use the machine, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def files(cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What settings name in braces: 120 images of CIFAR-10 in two formats, weights to start from or learn from."""
    folder, made = tmp_path_factory.mktemp("techniques"), {}
    for storage in ("jpeg", "raw"):
        output = OutputConfig(folder=str(folder / storage), format=storage, num_workers=1, subset=120)
        source = SourceConfig(path=str(cifar10), val_folder="test")
        written = convert(WriteConfig(source=source, output=output))
        made[storage], made["val"] = written["train"], written["val"]
    torch.manual_seed(7)
    first, second = (build_model("small_resnet", 10, use_blurpool=False).state_dict() for _ in range(2))
    for name, content in (("weights", first), ("averaged", {"state_dict": first, "state_dict_ema": second})):
        made[name] = folder / f"{name}.pt"
        torch.save(content, made[name])
    return made


@pytest.fixture(scope="module")
def train(files: Files) -> Callable[[Settings], Outcome]:
    """Train with settings beside PLAIN; what was trained before is remembered."""
    done: dict[tuple[str, ...], Outcome] = {}

    def run(settings: Settings) -> Outcome:
        data = {"data.train_dataset": "{jpeg}", "data.val_dataset": "{val}"}
        merged = {**data, **PLAIN, **settings}
        argv = tuple(f"--{key}={value}".format(**files) for key, value in sorted(merged.items()))
        if argv not in done:
            done[argv] = _train(list(argv))
        return done[argv]

    return run


def _train(argv: list[str]) -> Outcome:
    config, _ = load_train_config(argv)
    with process_group(config.training.device) as ranks, Run(config, ranks) as run, tqdm(disable=True) as bar:
        assert run.trainer is not None
        before = {name: weight.detach().clone() for name, weight in run.model.named_parameters()}
        losses = [
            run.trainer.train_epoch(epoch, bar).train_loss or math.nan
            for epoch in range(config.training.epochs)
        ]
        trained = {name: weight for name, weight in run.model.named_parameters() if weight.requires_grad}
        rested = [name for name, weight in trained.items() if torch.equal(weight, before[name])]
        state: dict[str, Any] = dict(run.model.state_dict())
        if run.trainer.step.ema:
            state |= {f"ema.{name}": value for name, value in run.trainer.step.ema.model.state_dict().items()}
        return Outcome(losses, {name: value.cpu().clone() for name, value in state.items()}, rested)


def _marked(case: Case) -> Any:
    gpu = "cuda" in (case.on | case.base).values()
    jpegs = case.on.get("data.decoder") == "gpu"
    others = case.on.get("training.device") in ("mps", "xpu")
    # The larger networks take seconds a step.
    large = case.on.get("model.arch") in ("resnet34_32px", "resnet50_32px")
    marks = [
        *([pytest.mark.gpu] if gpu else []),
        *([pytest.mark.slow] if large else []),
        *([needs_nvimgcodec] if jpegs else []),
        *([pytest.mark.skip(reason="needs a GPU of Apple's or Intel's")] if others else []),
    ]
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [_marked(case) for case in CASES])
def test_technique_trains_with_its_effect(train: Callable[[Settings], Outcome], case: Case) -> None:
    found = train(case.base | case.on)
    assert all(math.isfinite(loss) and 0 < loss < 10 for loss in found.losses)
    assert not found.rested
    if case.effect != "any":
        assert found.equals(train(case.base)) == (case.effect == "same")


def test_every_option_has_a_case_or_a_reason() -> None:
    known = {f"{section}.{key}" for section, schema in SECTIONS.items() for key in options_of(schema)}
    named = {case.name.partition("=")[0] for case in CASES}
    missing = known - named - set(NO_CASE)
    assert not missing, "give these a case in tests/train/techniques.py"
    assert set(VALUES) | set(UNSEEN) | set(NO_CASE) <= known, "these are gone"


def test_every_choice_has_a_case() -> None:
    names = {case.name for case in CASES}
    for section, schema in SECTIONS.items():
        for key, spec in options_of(schema).items():
            wanted = {f"{section}.{key}={choice}" for choice in spec.choices}
            assert wanted <= names or f"{section}.{key}" in NO_CASE
    assert set(CHOICES) <= names
    assert len(names) == len(CASES)


def test_every_augmentation_is_turned_on_by_a_case() -> None:
    on = [case.on for case in CASES]
    for kind in AUGMENTATIONS.values():
        options = {f"augmentation.{key}" for key in kind.example}
        assert any(options & set(settings) for settings in on)
