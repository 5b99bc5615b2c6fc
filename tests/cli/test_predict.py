"""`python -m engine predict`: forms of output, kinds of input, and what a broken image does."""

import csv
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from engine.cli.predict import main
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from tests.predict.conftest import CLASSES, card, picture, run, save_run

__all__ = ["picture", "run"]

Picture = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(picture: Picture, tmp_path: Path) -> Path:
    """A folder with three images, one of them broken, and a text."""
    (tmp_path / "images" / "below").mkdir(parents=True)
    (tmp_path / "images" / "b.jpg").write_bytes(picture("a.jpg").read_bytes())
    (tmp_path / "images" / "below" / "a.png").write_bytes(picture("a.png").read_bytes())
    (tmp_path / "images" / "cut.jpg").write_bytes(picture("a.jpg").read_bytes()[:-100])
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """The folder's address on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def _predict(capsys: Captured, *argv: object) -> tuple[int, list[str], str]:
    code = main([*map(str, argv), "--device", "cpu"])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_folder_is_a_line_for_each_image(run: Path, folder: Path, capsys: Captured) -> None:
    code, lines, told = _predict(capsys, run, folder, "--top-k", 2)
    assert code == EXIT_MISSED and len(lines) == 3
    assert [line.split(": ")[0] for line in lines] == [
        f"{folder}/b.jpg",
        f"{folder}/below/a.png",
        f"{folder}/cut.jpg",
    ]
    assert lines[2] == f"{folder}/cut.jpg: error: it is cut short: it lacks the end of the image"
    assert lines[0].count("%") == 2 and lines[0].count(",") == 1
    assert "3 images in " in told and "warning: 1 of 3 images could not be read" in told


def test_table_and_objects_say_the_same(run: Path, folder: Path, capsys: Captured) -> None:
    _, lines, _ = _predict(capsys, run, folder, "--csv", "--features", "column")
    table = list(csv.DictReader(lines))
    _, lines, _ = _predict(capsys, run, folder, "--json", "--features", "column")
    objects = [json.loads(line) for line in lines]
    assert [row["source"] for row in table] == [one["source"] for one in objects]
    assert [row["error"] or None for row in table] == [one["error"] for one in objects]
    for row, one in zip(table[:2], objects[:2], strict=True):
        assert [row[f"id{rank}"] for rank in (1, 2, 3)] == [guess["id"] for guess in one["top"]]
        assert float(row["probability1"]) == pytest.approx(one["top"][0]["probability"], abs=1e-6)
        assert np.fromstring(row["features"], sep=" ") == pytest.approx(one["features"], rel=1e-4)
    assert objects[2]["top"] == [] and table[2]["id1"] == table[2]["features"] == ""


def test_features_file_has_a_row_for_each_image(
    run: Path, folder: Path, capsys: Captured, tmp_path: Path
) -> None:
    _predict(capsys, run, folder, "--features", tmp_path / "f.npz")
    _predict(capsys, run, folder, "--features", tmp_path / "f.npy")
    content, plain = np.load(tmp_path / "f.npz"), np.load(tmp_path / "f.npy")
    assert content["sources"].tolist()[0] == f"{folder}/b.jpg" and plain.dtype == np.float32
    assert np.array_equal(content["features"], plain, equal_nan=True)
    assert np.isnan(plain[2]).all() and np.isfinite(plain[:2]).all() and plain.shape[1] > 8


def test_url_pattern_and_stdin_name_images_too(
    run: Path, folder: Path, server: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _predict(capsys, run, folder / "b.jpg")[1][0].split(": ")[1]
    _stdin(monkeypatch, f"{folder}/b.jpg\n{server}/b.jpg\n".encode())
    code, lines, _ = _predict(
        capsys, run, f"{server}/b.jpg", f"{folder}/**/b.*", "-", f"{server}/none.jpg", "http://a b/c.jpg"
    )
    assert code == EXIT_MISSED
    assert [line.rpartition(": ")[2] for line in lines[:4]] == [expected] * 4
    assert lines[4] == f"{server}/none.jpg: error: the server answers 404 File not found"
    assert lines[5].startswith("http://a b/c.jpg: error: it can't be fetched: ")
    _stdin(monkeypatch, (folder / "b.jpg").read_bytes())
    code, lines, _ = _predict(capsys, run, "-")
    assert (code, lines) == (EXIT_DONE, [f"-: {expected}"])


def test_ensemble_averages_the_runs(run: Path, folder: Path, capsys: Captured, tmp_path: Path) -> None:
    other = save_run(tmp_path / "other", card(CLASSES, side=24), seed=4)
    shares = []
    for runs in (
        [run, folder / "b.jpg"],
        [other, folder / "b.jpg"],
        [run, folder / "b.jpg", "--ensemble", other],
    ):
        (line,) = _predict(capsys, *runs, "--json")[1]
        shares.append({guess["id"]: guess["probability"] for guess in json.loads(line)["top"]})
    assert shares[2] == pytest.approx({name: (shares[0][name] + shares[1][name]) / 2 for name in CLASSES})


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["none*.jpg"], r"no file is named like none\*\.jpg: check the pattern"),
        (["x.jpg", "--features", "x.txt"], r"must end in \.npy or \.npz"),
        (["x.jpg", "--features", "column"], "needs --csv or --json"),
        (["x.jpg", "--features", "f.npz", "--ensemble", "other"], "are of one network: leave out --ensemble"),
        (["x.jpg", "--batch", "0"], "0 is not between 1 and 100,000"),
        (["x.jpg", "--ratio", "2"], "2 is not above 0 and at most 1"),
        (["x.jpg", "--device", "tpu"], "'tpu' is unknown: give auto, cpu or cuda or mps or xpu"),
        (["x.jpg", "--precision", "fp16", "--device", "cpu"], "fp16 needs a GPU"),
    ],
)
def test_bad_options_are_one_line(argv: list[str], words: str, run: Path) -> None:
    with pytest.raises(UserError, match=words):
        main([str(run), *argv])


def test_empty_folder_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no image"):
        main([str(run), str(tmp_path)])
