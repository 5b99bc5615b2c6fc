"""The page of a Hugging Face Space: streamlit run app.py"""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from engine.demo.demo_page import Answer, BadPicture, Limits, Sample, show
from engine.export.package_code.example import crop_box, prepare, read
from engine.export.package_code.run_onnxruntime import load

FOLDER = Path(__file__).resolve().parent
LIMITS = Limits(megabytes=20, megapixels=50)
TOP = 5


class OnnxModel:
    """The model of a folder, in ONNX Runtime on the CPU."""

    explains = False

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "space.json").read_text(encoding="utf-8"))
        self.name: str = about["name"]
        self.facts: Sequence[tuple[str, str]] = [(name, value) for name, value in about["facts"]]
        self.samples = [Sample((folder / one["file"]).read_bytes(), one["label"]) for one in about["samples"]]
        self._asked = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
        self._labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        self._run = load(folder)

    def answer(self, picture: bytes, explain: bool) -> Answer:
        """Its guesses for an image file's content. Raises BadPicture."""
        try:
            pixels = read(io.BytesIO(picture), self._asked)
        # Pillow's readers raise whatever a damaged file drives them into.
        except Exception:  # noqa: BLE001
            raise BadPicture(
                "This picture can't be used: it is damaged or cut short. Choose another one."
            ) from None
        logits = self._run(prepare(pixels, self._asked))[0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares)[:TOP]
        side = self._asked["resolution"]
        box = crop_box(pixels.shape[0], pixels.shape[1], self._asked)
        seen = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box=box)
        return Answer([(self._labels[k]["name"], float(shares[k])) for k in best], np.asarray(seen))


@st.cache_resource(show_spinner="Loading the model ...")
def model() -> OnnxModel:
    """One for all visitors."""
    return OnnxModel(FOLDER)


if __name__ == "__main__":
    show([model()], model().samples, LIMITS)
