"""The folder for a Hugging Face Space: complete, pinned, and running where this program and PyTorch are not."""

import ast
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from engine.cli.demo import main as demo
from engine.data.beton.reader import open_beton
from engine.predict.predictor import Predictor
from engine.predict.trained import load_trained
from engine.runs.folder import CONFIG
from tests.predict.conftest import card, save_run
from tests.shapes import CLASSES, write_betons

pytest.importorskip("streamlit")
pytest.importorskip("onnx")

README = """---
license: other
---

# A model

## Use

- The example image is one of the validation data. Replace it before you publish the folder.
"""
PORTABLE = {
    "app",
    "page",
    "example",
    "runtime",
    "numpy",
    "PIL",
    "streamlit",
    "onnxruntime",
    *sys.stdlib_module_names,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    val = write_betons(folder)[1]
    made = save_run(folder / "one", replace(card(list(CLASSES)), seed=3, recipe="tiny"))
    (made / CONFIG).write_text(f"data:\n  val_dataset: {val}\n")
    return made


@pytest.fixture(scope="module")
def finished(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the kind adds to a package."""
    from engine.export.space import Space

    folder = tmp_path_factory.mktemp("finished")
    (folder / "README.md").write_text(README)
    Space().finish(folder, load_trained(run, device="cpu"), open_beton(run.parent / "val.beton"))
    return folder


def test_space_code_imports_nothing_of_this_program(finished: Path) -> None:
    for name in ("app.py", "page.py"):
        for node in ast.walk(ast.parse((finished / name).read_text())):
            if isinstance(node, ast.Import):
                imported = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = {(node.module or "").split(".")[0]}
            else:
                continue
            assert imported <= PORTABLE, (name, imported)


def test_space_has_its_head_pins_and_container(finished: Path) -> None:
    text = (finished / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["sdk"], head["app_port"]) == ("docker", 8501)
    assert "# A model" in text and "streamlit run app.py" in text
    assert "The example image and those in `samples/` are of the" in text and "Replace them before" in text
    pins = (finished / "requirements.txt").read_text().splitlines()
    assert pins == [f"{name}=={version(name)}" for name in ("numpy", "onnxruntime", "pillow", "streamlit")]
    docker = (finished / "Dockerfile").read_text()
    assert f"FROM python:{sys.version_info[0]}.{sys.version_info[1]}-slim\n" in docker
    assert 'CMD ["streamlit", "run", "app.py", "--server.address=0.0.0.0"]' in docker
    config = (finished / ".streamlit" / "config.toml").read_text()
    assert 'address = "127.0.0.1"\nport = 8501\n' in config and "gatherUsageStats = false" in config


def test_space_has_samples_and_facts_without_paths(finished: Path, run: Path) -> None:
    about = json.loads((finished / "space.json").read_text())
    assert about["name"] == "one" and ["Trained by", "tiny, seed 3"] in about["facts"]
    assert [sample["label"] for sample in about["samples"]] == list(CLASSES)
    assert all((finished / sample["file"]).stat().st_size for sample in about["samples"])
    for path in finished.rglob("*"):
        assert path.is_dir() or str(run.parent).encode() not in path.read_bytes()


# The Space's page, in a process that can import neither PyTorch nor this program.
VISIT = """
import json, sys
sys.path[:] = [folder for folder in sys.path if folder]
for name in ("torch", "torchvision", "engine", "numba", "ffcv"):
    sys.modules[name] = None
sys.path.insert(0, ".")
from streamlit.testing.v1 import AppTest
page = AppTest.from_file("app.py", default_timeout=60).run()
page.button[1].click().run()
assert not page.exception and not page.error, (page.exception, page.error)
right = "".join(part.value for part in page.get("html"))
page.file_uploader[0].upload("a.png", b"no image").run()
print(json.dumps([right, [part.value for part in page.error]]))
"""


@pytest.mark.slow
def test_space_answers_as_the_engine_without_it(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "space"
    assert (
        demo([str(run), "--to", "space", "--output", str(folder), "--val", str(run.parent / "val.beton")])
        == 0
    )
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    visit = [sys.executable, "-I", "-c", VISIT]
    done = subprocess.run(visit, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    page, errors = json.loads(done.stdout.splitlines()[-1])
    about = json.loads((folder / "space.json").read_text())
    with Predictor(run, device="cpu") as predictor:
        expected = predictor.predict((folder / about["samples"][1]["file"]).read_bytes(), top_k=5).top
    said = dict(re.findall(r"<span>([^<]*)</span><span>([^<]*)%</span>", page))
    # Pillow's decoder and ours differ by a level here and there.
    assert {name: float(share) for name, share in said.items()} == {
        guess.name: pytest.approx(100 * guess.probability, abs=0.3) for guess in expected
    }
    assert len(errors) == 1 and "not an image that can be read here" in errors[0]
