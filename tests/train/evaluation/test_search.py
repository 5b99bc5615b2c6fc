"""FixRes' search: the resolution is chosen on held-out images of train, and validated on val."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.data.loading.loader import Loader
from engine.data.sampling.order import held_out
from engine.errors import UserError
from tests.train.conftest import log_of, train_here

Options = Callable[..., list[str]]


def test_held_out_images_are_searched_but_not_trained_on(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int, set[int]]] = []
    batches = Loader.batches

    def note(loader: Loader, ids: "list[np.ndarray]", resolution: int, *rest: object) -> object:
        asked.append((loader.beton.path.name, resolution, set(np.concatenate([*ids]).ravel().tolist())))
        return batches(loader, ids, resolution, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Loader, "batches", note)
    _, first = train_here(options(training__epochs=2, data__holdout=0.25, logging__name="first"))
    held = set(held_out(96, 0.25, seed=0).tolist())
    trained = [ids for name, _, ids in asked if name == "train.beton"]
    assert len(trained) == 2
    assert all(len(ids) == 64 and not ids & held for ids in trained)
    assert log_of(first, "start")[0]["num_train"] == 72
    asked.clear()
    argv = options(training__eval_only=True, data__holdout=0.25, model__weights=first / "weights.pt",
                   validation__search="32,16,24", logging__name="searched")  # fmt: skip
    _, second = train_here(argv)
    assert [(name, side) for name, side, _ in asked[:3]] == [("train.beton", side) for side in (16, 24, 32)]
    assert all(ids == held for _, _, ids in asked[:3])
    (result,) = log_of(second, "result")
    best = max(result["search"], key=lambda entry: (entry["top1"], -entry["resolution"]))
    assert result["val_resolution"] == best["resolution"] == asked[3][1]
    assert asked[3][0] == "val.beton"
    assert result["num_val"] == 37
    out = capsys.readouterr().out
    assert "on 24 images held out of training:" in out
    assert f"validated at {best['resolution']} px" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data__holdout": 0.1}, r"validation\.search needs trained weights"),
        ({"training__eval_only": True, "model__weights": "w.pt"}, r"validation\.search needs data\.holdout"),
        ({"validation__search": "224,big"}, r"'224,big' is not a list of resolutions"),
        ({"validation__search": "4"}, r"is not a list of resolutions from 8"),
    ],
)
def test_impossible_search_is_one_error_line(
    options: Options, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_here(options(**{"validation__search": "224,256", **change}))
    assert not (tmp_path / "runs").exists()
