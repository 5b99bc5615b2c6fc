"""Whether devices hold the training data, whole or in parts: decided alike, refused in one line, kept on resume."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import Beton, open_beton
from engine.data.convert.conversion import convert
from engine.data.loading.loader import Loader
from engine.data.sampling.order import batches_of, epoch_permutation, in_parts
from engine.errors import UserError
from engine.train import residence
from engine.train.ranks.group import Ranks
from engine.train.residence import Residence, find_residence, numbers_of_parts
from engine.train.step.memory_fit import naming_lack_of_memory
from tests.data.loaders import LAW, assert_same, load
from tests.shapes import write_shapes
from tests.train.conftest import ROOT, command, log_of, train_here

Options = Callable[..., list[str]]


@pytest.fixture(scope="module")
def yuv420(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    """96 images."""
    folder = tmp_path_factory.mktemp("yuv420")
    source = SourceConfig(path=str(write_shapes(folder / "images")))
    output = OutputConfig(folder=str(folder), format="yuv420", num_workers=1)
    return open_beton(convert(WriteConfig(source=source, output=output))["train"])


def of_two(monkeypatch: pytest.MonkeyPatch, free: list[int]) -> list[Ranks]:
    """Two ranks, of which one after the other is asked; so many bytes are free on their devices."""
    monkeypatch.setattr(residence, "room", lambda ranks: (free[ranks.rank], 0))

    def all_say(ranks: Ranks, value: object) -> list[object]:
        return [(size, 0) for size in free] if isinstance(value, tuple) else [value, value]

    monkeypatch.setattr(Ranks, "all_say", all_say)
    return [
        Ranks(rank=rank, world=2, local_rank=rank, local_world=2, device=torch.device("cpu"))
        for rank in range(2)
    ]


def asking(options: Options, beton: Beton, **changes: object) -> TrainConfig:
    """data.resident=on for this file."""
    changes = {"data__train_dataset": beton.path, "data__resident": "on", **changes}
    return load_train_config(options(**changes))[0]


def test_run_holds_its_data_and_says_so(
    options: Options, yuv420: Beton, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"data__train_dataset": yuv420.path, "data__val_dataset": yuv420.path.with_name("val.beton")}
    argv = options(training__epochs=1, lr__lr_peak_epoch=0.5, data__decoder="packed", **data)
    losses = []
    for resident in ("on", "off"):
        code, folder = train_here([*argv, f"--data.resident={resident}", f"--logging.name={resident}"])
        (start,), (epoch,) = log_of(folder, "start"), log_of(folder, "epoch")
        losses.append((code, epoch["train_loss"], epoch["top1"]))
        assert start.get("resident_gb") == (float(yuv420.sizes.sum()) / 1e9 if resident == "on" else None)
        assert "order_parts" not in start
    assert losses[0] == losses[1]
    assert "yuv420-resident: 0.00 GB are resident in memory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("free", "order_parts", "held", "parts"),
    [
        ([2.0, 1.5], 0, [96, 96], 1),
        ([2.0, 0.6], 0, [48, 48], 2),
        # As a resumed run began: its order stays, whatever fits now.
        ([2.0, 2.0], 2, [96, 96], 2),
        ([0.6, 0.6], 2, [48, 48], 2),
    ],
)
def test_ranks_decide_alike_by_the_least_memory(
    options: Options,
    yuv420: Beton,
    monkeypatch: pytest.MonkeyPatch,
    free: list[float],
    order_parts: int,
    held: list[int],
    parts: int,
) -> None:
    whole = int(yuv420.sizes.sum())
    config, found = asking(options, yuv420), []
    for ranks in of_two(monkeypatch, [int(share * whole) for share in free]):
        found.append(find_residence(config, ranks, yuv420, order_parts))
    assert [len(one.data._order) for one in found if one.data] == held
    assert [one.order_parts for one in found] == [parts, parts]


@pytest.mark.parametrize("order_parts", [0, 1])
def test_data_that_fit_nowhere_are_refused_or_noted(
    options: Options,
    yuv420: Beton,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    order_parts: int,
) -> None:
    # With the order of the whole only the whole will do.
    share = 0.6 if order_parts else 0.4
    ranks = of_two(monkeypatch, [int(share * yuv420.sizes.sum())] * 2)
    config = asking(options, yuv420)
    with pytest.raises(
        UserError, match=r"takes 0.00 GB of each device, or 0.00 GB in 2 parts, and .* are free"
    ):
        find_residence(config, ranks[0], yuv420, order_parts)
    monkeypatch.setattr(residence, "_is_of_use", lambda *_: True)
    auto = replace(config, data=replace(config.data, resident="auto"))
    assert find_residence(auto, ranks[0], yuv420, order_parts) == Residence(None, 1)
    assert "crops are packed on the CPU (data.resident=auto)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options_of_it", [{"data__resident": "auto"}, {"data__balance": "sqrt"}, {"data__order": "pages"}]
)
def test_parts_are_only_taken_where_asked_for(
    options: Options, yuv420: Beton, monkeypatch: pytest.MonkeyPatch, options_of_it: dict[str, str]
) -> None:
    """They are another order; a balance draws from all images of a class, and pages from those of a window."""
    monkeypatch.setattr(residence, "_is_of_use", lambda *_: True)
    ranks = of_two(monkeypatch, [int(0.6 * yuv420.sizes.sum())] * 2)
    config = asking(options, yuv420, **options_of_it)
    if config.data.resident == "auto":
        assert find_residence(config, ranks[0], yuv420) == Residence(None, 1)
    else:
        with pytest.raises(UserError, match=r"takes 0.00 GB of each device, and .* are free"):
            find_residence(config, ranks[0], yuv420)


def test_jpegs_are_refused_with_the_format_to_convert_to(options: Options, betons: tuple[Path, Path]) -> None:
    ranks = Ranks(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cpu"))
    beton = open_beton(betons[0])
    with pytest.raises(UserError, match=r"stores \w+ images, .*convert with --output\.format=yuv420"):
        find_residence(asking(options, beton), ranks, beton)
    auto = load_train_config(options())[0]
    assert find_residence(auto, ranks, beton) == Residence(None, 1)


def test_resident_data_exclude_decoding_on_the_cpu(options: Options) -> None:
    with pytest.raises(UserError, match=r"data\.resident=on cuts crops on the device, and data\.decoder=cpu"):
        load_train_config(options(data__resident="on", data__decoder="cpu"))


def test_parts_of_two_ranks_give_each_image_once(
    options: Options, yuv420: Beton, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, seen = asking(options, yuv420, data__holdout=0.125), []
    numbers = numbers_of_parts(config, 96, 2)
    order = epoch_permutation(96, 0, 0)
    views = in_parts(order[numbers[order] >= 0], numbers, parts=2, repeats=1, global_batch=12, accumulation=2)
    for ranks in of_two(monkeypatch, [int(0.6 * yuv420.sizes.sum())] * 2):
        data = find_residence(config, ranks, yuv420).data
        ids = batches_of(views, global_batch=12, accumulation=2, rank=ranks.rank, world=2).reshape(-1, 3)
        with Loader(yuv420, device=ranks.device, resident=data) as loader:
            assert_same(list(loader.batches(ids, 16, LAW)), load(yuv420, list(ids), 16, decoder="packed"))
        seen.append(ids)
    assert [len(ids) for ids in seen] == [14, 14]
    assert sorted(np.concatenate(seen).ravel().tolist()) == np.flatnonzero(numbers >= 0).tolist()


@pytest.mark.slow
def test_two_ranks_resume_the_order_of_parts_with_the_whole_held(
    options: Options, yuv420: Beton, tmp_path: Path
) -> None:
    argv = options(
        data__train_dataset=yuv420.path,
        data__val_dataset=yuv420.path.with_name("val.beton"),
        data__resident="on",
        training__epochs=2,
        checkpoint__keep=5,
        checkpoint__keep_best=False,
        logging__name="parts",
    )
    folder, whole = tmp_path / "runs" / "parts", int(yuv420.sizes.sum())

    def start(free: int, ranks: int, *more: str) -> None:
        words = command([str(free), *argv, *more], ranks, "tests/train/train_with_room.py")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    start(int(0.6 * whole), 2)
    (began,) = log_of(folder, "start")
    assert began["order_parts"] == 2 and began["resident_gb"] < 0.6 * whole / 1e9
    first, last = log_of(folder, "epoch")
    assert first["images"] == last["images"] == 96
    # After the first epoch, with memory for the whole: the order stays, and with it every bit.
    saved = sorted(path for path in (folder / "checkpoints").glob("*.pt") if path.name != "last.pt")
    for path in {*(folder / "checkpoints").glob("*.pt")} - {saved[0]}:
        path.unlink()
    start(2 * whole, 2, f"--training.resume={folder}")
    resumed = log_of(folder, "start")[-1]
    assert resumed["order_parts"] == 2 and resumed["resident_gb"] == whole / 1e9
    again = log_of(folder, "epoch")[-1]
    assert (again["train_loss"], again["top1"]) == (last["train_loss"], last["top1"])


def test_step_without_memory_names_what_the_data_take() -> None:
    with (
        pytest.raises(UserError, match=r"device_batch_size.*data\.resident=off: 94.00 GB"),
        naming_lack_of_memory(94 * 10**9),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="another"), naming_lack_of_memory(0):
        raise RuntimeError("another")
