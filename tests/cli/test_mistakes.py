"""`python -m engine mistakes`: one page from a run with random weights, and mistakes of its user in one line."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from engine.__main__ import main as engine
from engine.errors import UserError
from engine.files import atomic_write
from engine.runs.folder import CONFIG, MISTAKES, MODEL
from tests.predict.conftest import card, save_run
from tests.shapes import write_betons

CLASSES = ["amber", "blue", "coral", "denim", "ecru", "fawn"]


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_betons(tmp_path_factory.mktemp("mistakes"), train=6, val=31)[1]


@pytest.fixture(scope="module")
def run(val: Path) -> Path:
    folder = save_run(val.parent / "run", card(CLASSES))
    with atomic_write(folder / CONFIG) as file:
        file.write(f"data:\n  val_dataset: {val}\n".encode())
    return folder


def test_page_of_a_run_lies_in_its_folder(run: Path, val: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine(["mistakes", str(run), "--device", "cpu"]) == 0
    *said, where = capsys.readouterr().out.splitlines()
    assert where == str(run / MISTAKES)
    told = re.fullmatch(r"top-1 ([\d.]+)% \((\d+) of 31 wrong\), balanced accuracy [\d.]+%", said[0])
    assert told
    page = Path(where).read_text(encoding="utf-8")
    assert f"{told[1]}% top-1" in page
    # each image beside its Grad-CAM
    images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(images) == 2 * page.count('<article class="shot">') > 20
    assert len(set(images)) > 20
    assert str(val.parent) not in page
    assert "val.beton: 31 images, crc" in page


def test_network_without_feature_map_gives_a_page_without_cam(
    val: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = save_run(tmp_path / "run", card(CLASSES, arch="timm:test_vit", blurs=False, side=160))
    page = tmp_path / "page.html"
    assert engine(["mistakes", str(run), "--val", str(val), "--out", str(page), "--device", "cpu"]) == 0
    assert "note: Grad-CAM needs a map of features" in capsys.readouterr().out
    content = page.read_text(encoding="utf-8")
    assert "Grad-CAM needs a map of features" in content
    assert content.count("<img ") == content.count('<article class="shot">') > 10


def test_without_grad_cam_installed_a_note_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    page = tmp_path / "page.html"
    assert engine(["mistakes", str(run), "--out", str(page), "--device", "cpu"]) == 0
    assert "note: Grad-CAM needs grad-cam, which is not installed: pip install" in capsys.readouterr().out
    assert "<img " in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["RUN", "--out", "FOLDER"], "--out .* is a folder: name a file in it"),
        (["RUN", "--out", "FOLDER/none/page.html"], "none is not a folder; create it, or choose another"),
        (["FOLDER/none"], "none"),
        (["RUN/../alone.safetensors", "--out", "FOLDER/page.html"], "does not say where its data lies"),
        (["RUN", "--val", "FOLDER/none.beton"], "none.beton"),
    ],
)
def test_mistake_of_the_user_is_one_line(run: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    shutil.copyfile(run / MODEL, run.parent / "alone.safetensors")
    given = [one.replace("RUN", str(run)).replace("FOLDER", str(tmp_path)) for one in arguments]
    with pytest.raises(UserError, match=said):
        engine(["mistakes", *given])
    assert list(tmp_path.iterdir()) == []
