"""A folder that a Hugging Face Space runs: the demo's page over the ONNX package, on a CPU, without this program.

Hugging Face deprecated its Streamlit SDK on 2025-04-30 (huggingface.co/docs/hub/spaces-changelog): Spaces run Streamlit
in Docker. Keys of README.md's head: huggingface.co/docs/hub/spaces-config-reference.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import yaml

from engine.data.beton.reader import Beton
from engine.export.kinds.onnx_file import OnnxFile
from engine.export.target import TARGETS, Settings, Target
from engine.predict.trained import Trained

_CODE = Path(__file__).parent / "package_code"
_PAGE = Path(__file__).parents[1] / "demo" / "demo_page.py"
_IMPORTS = {
    "engine.demo.demo_page": "page",
    "engine.export.package_code.example": "example",
    "engine.export.package_code.run_onnxruntime": "runtime",
}
_PORT = 8501

_IN_README = {
    "## Use\n\n": "## Use\n\nPush this folder to a Space of the kind Docker. Here: `streamlit run app.py`.\n\n",
    "The example image is one of the": "The example image and those in `samples/` are of the",
    "Replace it before": "Replace them before",
}

_DOCKERFILE = """FROM python:{python}-slim
# Spaces run containers as this user.
RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY --chown=user . .
USER user
EXPOSE {port}
CMD ["streamlit", "run", "app.py", "--server.address=0.0.0.0"]
"""

_CONFIG = f"""[server]
address = "127.0.0.1"
port = {_PORT}
headless = true
fileWatcherType = "none"
maxUploadSize = 20
# A Space is shown within another site's page, where browsers send no cookies, and without its cookie this protection
# refuses every upload. There is no login that it would protect.
enableXsrfProtection = false

[browser]
gatherUsageStats = false

[client]
showErrorDetails = "none"
toolbarMode = "minimal"
"""


class Space(Target):
    """model.onnx, app.py and what Docker needs."""

    title = "a Hugging Face Space (ONNX)"
    file, code = OnnxFile.file, OnnxFile.code
    requirements = ("onnxruntime", "streamlit")
    options = ("with_preprocessing", "int8", "opset")
    extra, modules = "demo,export", (*OnnxFile.modules, "streamlit")
    _onnx = OnnxFile()

    def check(self, trained: Trained, settings: Settings) -> None:
        self._onnx.check(trained, settings)

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        self._onnx.write(trained, settings, folder)

    def finish(self, folder: Path, trained: Trained, val: Beton) -> None:
        """Write app.py, its page, its samples and the container, and the Space's head over README.md."""
        (folder / "app.py").write_text(_portable(_CODE / "space_app.py"), encoding="utf-8")
        (folder / "page.py").write_text(_portable(_PAGE), encoding="utf-8")
        self._write_about(folder, trained, val)
        pinned = [f"{name}=={version(name)}" for name in ("numpy", "pillow", *self.requirements)]
        (folder / "requirements.txt").write_text("\n".join(sorted(pinned)) + "\n", encoding="utf-8")
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        (folder / "Dockerfile").write_text(_DOCKERFILE.format(python=python, port=_PORT), encoding="utf-8")
        (folder / ".streamlit").mkdir()
        (folder / ".streamlit" / "config.toml").write_text(_CONFIG, encoding="utf-8")
        _put_head(folder / "README.md", trained)

    def _write_about(self, folder: Path, trained: Trained, val: Beton) -> None:
        """space.json: the network's name, facts, and samples, which lie in samples/."""
        from engine.demo.shown_model import facts_of, names_of
        from engine.demo.val_samples import samples_of

        (folder / "samples").mkdir()
        samples = []
        for number, sample in enumerate(samples_of(val, trained)):
            suffix = "jpg" if sample.content.startswith(b"\xff\xd8") else "png"
            file = f"samples/{number}.{suffix}"
            (folder / file).write_bytes(sample.content)
            samples.append({"file": file, "label": sample.label})
        about = {"name": names_of([trained])[0], "facts": list(facts_of(trained)), "samples": samples}
        (folder / "space.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


TARGETS.register("space")(Space())


def _portable(path: Path) -> str:
    """The file's code with the names that its imports have in the Space."""
    code = path.read_text(encoding="utf-8")
    for ours, theirs in _IMPORTS.items():
        code = code.replace(ours, theirs)
    return code


def _put_head(readme: Path, trained: Trained) -> None:
    """The keys of a Space in place of those of a model."""
    head = {
        "title": f"{trained.card.arch} image classifier",
        "emoji": "🖼️",
        "colorFrom": "blue",
        "colorTo": "indigo",
        "sdk": "docker",
        "app_port": _PORT,
        "pinned": False,
        "license": "other",
    }
    body = readme.read_text(encoding="utf-8").split("---\n", 2)[2]
    for said, instead in _IN_README.items():
        body = body.replace(said, instead, 1)
    text = f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{body}"
    readme.write_text(text, encoding="utf-8")
