"""Training on files at a URL: the same losses and accuracy as with local files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config.train.data import DataConfig
from engine.data.remote.open_data import forget
from tests.data.remote.range_server import RangeServer, serving
from tests.train.conftest import Launch, log_of, train_here

Options = Callable[..., list[str]]


@pytest.fixture
def server(betons: tuple[Path, Path]) -> Iterator[RangeServer]:
    with serving(train=betons[0].read_bytes(), val=betons[1].read_bytes()) as server:
        yield server
        for name in ("train", "val"):
            forget(f"{server.url}/{name}.beton", DataConfig())


def _results(folder: Path) -> list[Any]:
    return [(line["train_loss"], line["val_loss"], line["top1"]) for line in log_of(folder, "epoch")]


@pytest.mark.parametrize("order", ["pages", pytest.param("random", marks=pytest.mark.slow)])
def test_run_on_urls_is_the_run_on_local_files(
    server: RangeServer, options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str], order: str
) -> None:
    both: dict[str, Any] = {
        "data__order": order,
        "data__window_mb": 8,
        "training__epochs": 1,
        "lr__lr_peak_epoch": 0.5,
    }
    urls = {f"data__{name}_dataset": f"{server.url}/{name}.beton" for name in ("train", "val")}
    code, local = train_here(options(logging__name="local", **both))
    code_of_urls, remote = train_here(
        options(
            logging__name="remote", **both, **urls, data__cache_folder=tmp_path / "cache", data__cache_gb=1
        )
    )
    assert code == code_of_urls == 0 and _results(local) == _results(remote)
    said = capsys.readouterr().out
    assert (
        "before the training; with data.order=pages" if order == "random" else "while the first epoch trains"
    ) in said
    # The validation file comes last, though both are opened at the start.
    train, val = (server.last_asked(f"/{name}.beton") for name in ("train", "val"))
    assert train < val
    assert sorted(path.name for path in (tmp_path / "cache").glob("*/*.beton")) == [
        "train.beton",
        "val.beton",
    ]


@pytest.mark.slow
def test_ranks_share_a_download_and_resume_from_the_copy(
    server: RangeServer, options: Options, launch: Launch, tmp_path: Path
) -> None:
    urls = {f"data__{name}_dataset": f"{server.url}/{name}.beton" for name in ("train", "val")}
    cache = {"data__cache_folder": tmp_path / "cache", "data__order": "pages", "data__window_mb": 8}
    argv = options(logging__name="two", training__epochs=2, data__pin_cores=False, **urls, **cache)
    done = launch(argv, ranks=2)
    assert done.returncode == 0, done.stderr
    size = sum(len(content) for content in server.files.values())
    assert sum(stop - start for start, stop in server.asked) <= size + 2 * 65536
    plain = launch(
        options(
            logging__name="plain",
            training__epochs=2,
            data__pin_cores=False,
            **{k: v for k, v in cache.items() if "cache" not in k},
        ),
        ranks=2,
    )
    assert plain.returncode == 0, plain.stderr
    assert _results(tmp_path / "runs" / "two") == _results(tmp_path / "runs" / "plain")
    asked = len(server.asked)
    two = tmp_path / "runs" / "two"
    # Without the last epoch's checkpoints, the run resumes after its first epoch.
    for path in [*two.glob("checkpoints/epoch_002*"), two / "checkpoints" / "last.pt"]:
        path.unlink()
    again = launch([*argv, f"--training.resume={two}"], ranks=2)
    assert again.returncode == 0 and "resuming after epoch 1" in again.stdout, again.stderr
    assert _results(two)[-1] == _results(tmp_path / "runs" / "plain")[-1]
    assert len(server.asked) == asked


def test_storage_options_without_a_url_are_refused(options: Options) -> None:
    from engine.config.load import load_train_config
    from engine.errors import UserError

    for text, says in (
        ('{"anon": true}', "no effect without a URL"),
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
    ):
        with pytest.raises(UserError, match=rf"data\.storage_options.*{says}"):
            load_train_config(options(data__storage_options=text))
