"""The page of the demo, as Streamlit draws it: a picture in, the guesses of one network or several side by side out.

It needs streamlit, numpy and pillow alone and imports nothing of the engine: a Hugging Face Space runs a copy of this
file (engine/export/space.py). What answers is a Model: here the engine's (shown_model.py), there ONNX Runtime.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Protocol

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

PICTURE_TYPES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
"""What the uploader takes by its name; whether it is an image, its content says."""

_THUMBNAIL = 96
# Two of them fit side by side on a phone.
_SEEN = 168


class BadPicture(Exception):
    """A picture that can't be shown to the network. The message is one line for the visitor, without paths."""


@dataclass(frozen=True)
class Limits:
    """What a picture may measure."""

    megabytes: int = 20
    megapixels: int = 100


@dataclass(frozen=True)
class Sample:
    """A picture that the page offers."""

    content: bytes
    """A JPEG's or PNG's."""
    label: str
    """The name of its class."""


@dataclass(frozen=True)
class Answer:
    """What a network says of a picture."""

    top: Sequence[tuple[str, float]]
    """Names of classes and their probabilities, the most likely first."""
    seen: NDArray[np.uint8]
    """The picture as the network gets it: RGB, uint8 of shape (side, side, 3)."""
    heat: NDArray[np.uint8] | None = None
    """Grad-CAM of the first guess laid over `seen`, in its form; None where it was not asked for."""


class Model(Protocol):
    """A network that the page asks."""

    @property
    def name(self) -> str:
        """Short, and another for each model of the page."""

    @property
    def facts(self) -> Sequence[tuple[str, str]]:
        """What is known of it: names and values."""

    @property
    def explains(self) -> bool:
        """Whether it can draw a heat map."""

    def answer(self, picture: bytes, explain: bool) -> Answer:
        """Raises BadPicture."""


@dataclass(frozen=True)
class _Picture:
    content: bytes
    label: str = ""


def check(content: bytes, limits: Limits) -> None:
    """Refuse by size and header, before anything is decoded. Raises BadPicture."""
    if not content:
        raise BadPicture("The file is empty: choose another one.")
    if len(content) > limits.megabytes * 10**6:
        raise BadPicture(
            f"The file has {len(content) / 10**6:.1f} MB, and this page takes at most {limits.megabytes}: "
            "choose a smaller one."
        )
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many("too many", limits) from None
    # Pillow's readers raise whatever a damaged header drives them into.
    except Exception:  # noqa: BLE001
        raise BadPicture(
            "This is not an image that can be read here: choose a JPEG, PNG, WebP, GIF, BMP or TIFF file."
        ) from None
    if width * height > limits.megapixels * 10**6:
        raise _too_many(f"{width} x {height}", limits)


def _too_many(what: str, limits: Limits) -> BadPicture:
    return BadPicture(
        f"The picture has {what} pixels, and this page takes at most {limits.megapixels} million: "
        "choose a smaller one."
    )


def answers(
    models: Sequence[Model], content: bytes, limits: Limits, explain: bool = False
) -> list[Answer | str]:
    """What each network says of the file's content, or one line on why the picture can't be shown to it."""
    try:
        check(content, limits)
    except BadPicture as bad:
        return [str(bad)] * len(models)
    found: list[Answer | str] = []
    for model in models:
        try:
            found.append(model.answer(content, explain))
        except BadPicture as bad:
            found.append(str(bad))
    return found


def show(models: Sequence[Model], samples: Sequence[Sample], limits: Limits) -> None:
    """Draw the page for a visitor; Streamlit calls it again after each of their actions."""
    title = "Image classifier" if len(models) == 1 else f"{len(models)} image classifiers side by side"
    st.set_page_config(page_title=title, page_icon="🖼️", layout="centered" if len(models) == 1 else "wide")
    st.html(_STYLE)
    st.title(title, anchor=False)
    _choose(samples, limits)
    picture: _Picture | None = st.session_state.get("picture")
    explain = any(model.explains for model in models) and st.toggle(
        "Show where the network looks (Grad-CAM)", value=True
    )
    found: Sequence[Answer | str | None] = [None] * len(models)
    if picture is not None:
        with st.spinner("Looking at the picture ..."):
            given = answers(models, picture.content, limits, explain)
        _summary(models, given, picture.label)
        found = _same_refusal(given) or given
    for column, model, said in zip(st.columns(len(models)), models, found, strict=True):
        with column:
            _one(model, said)


def _same_refusal(said: Sequence[Answer | str]) -> list[None]:
    """Show once what all networks say that refuse the picture for the same reason, and leave their parts empty."""
    first = said[0]
    if len(said) == 1 or not isinstance(first, str) or any(one != first for one in said[1:]):
        return []
    st.error(_plain(first))
    return [None] * len(said)


def _choose(samples: Sequence[Sample], limits: Limits) -> None:
    """The ways to a picture: a file, the clipboard, a sample."""
    st.file_uploader(
        f"Choose a picture, drop it here, or paste one with Ctrl-V (at most {limits.megabytes} MB)",
        PICTURE_TYPES,
        key="file",
        on_change=_take_file,
    )
    _paste()(key="paste")
    if samples:
        st.caption("Or take one of the validation set:")
        with st.container(horizontal=True, key="samples"):
            for number, sample in enumerate(samples):
                with st.container(width=_THUMBNAIL, key=f"sample{number}"):
                    st.image(_thumbnail(sample.content))
                    st.button("Take", key=f"take{number}", on_click=_take, args=(sample,), width="stretch")


def _take_file() -> None:
    file = st.session_state["file"]
    st.session_state["picture"] = None if file is None else _Picture(file.getvalue())


def _take(sample: Sample) -> None:
    st.session_state["picture"] = _Picture(sample.content, sample.label)


def _summary(models: Sequence[Model], found: Sequence[Answer | str], label: str) -> None:
    """What the picture is labelled, and whether several networks agree."""
    said = {answer.top[0][0] for answer in found if isinstance(answer, Answer)}
    lines = [f"Labelled in the validation set: <b>{escape(label)}</b>."] if label else []
    if len(models) > 1 and len(said) == 1:
        lines.append(f"All say <b>{escape(next(iter(said)))}</b>.")
    elif len(said) > 1:
        lines.append("The networks differ.")
    if lines:
        st.html(f'<div class="summary">{" ".join(lines)}</div>')


def _one(model: Model, said: Answer | str | None) -> None:
    """A network's part of the page: its guesses, what it saw, and what it is."""
    st.subheader(_plain(model.name), anchor=False)
    if isinstance(said, str):
        st.error(_plain(said))
    elif said is not None:
        st.html(_bars(said.top))
        with st.container(horizontal=True, gap="small"):
            st.image(_enlarged(said.seen), "what the network gets", width=_SEEN)
            if said.heat is not None:
                st.image(_enlarged(said.heat), f"what speaks for {_plain(said.top[0][0])}", width=_SEEN)
    with st.expander("What this network is, and what it reached", expanded=said is None):
        st.html(_table(model.facts))


def _plain(text: str) -> str:
    """The text with nothing in it that Markdown would take for a link, an image, a formula or a colour."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>()#+-.!|$:~" else letter for letter in text)


def _bars(top: Sequence[tuple[str, float]]) -> str:
    rows = "".join(
        f'<div class="guess"><span>{escape(name)}</span><span>{share:.1%}</span></div>'
        f'<div class="bar"><div style="width:{100 * share:.2f}%"></div></div>'
        for name, share in top
    )
    return f'<div class="guesses">{rows}</div>'


def _table(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    return f'<table class="facts">{rows}</table>'


@lru_cache(maxsize=64)
def _thumbnail(content: bytes) -> NDArray[np.uint8]:
    """The centred square, RGB, uint8 of shape (96, 96, 3); small pictures are enlarged without smoothing."""
    with Image.open(io.BytesIO(content)) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        way = Image.Resampling.NEAREST if side < _THUMBNAIL else Image.Resampling.LANCZOS
        return np.asarray(square.resize((_THUMBNAIL, _THUMBNAIL), way))


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Small ones with each pixel a square, which a browser would blur."""
    times = -(-2 * _SEEN // pixels.shape[0])
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


# Streamlit's uploader takes no pasted files. This hands the file to it, so that one way leads to the network,
# with one limit of size; text that is pasted elsewhere is left alone.
_PASTE = """
export default function () {
  const paste = (event) => {
    const files = event.clipboardData ? event.clipboardData.files : [];
    const input = document.querySelector('[data-testid="stFileUploader"] input[type="file"]');
    if (!files.length || !input) return;
    const one = new DataTransfer();
    one.items.add(files[0]);
    input.files = one.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
"""


@st.cache_resource(show_spinner=False)
def _paste() -> Callable[..., object]:
    return st.components.v2.component("paste_into_uploader", js=_PASTE)


_STYLE = """<style>
.stMainBlockContainer { padding-top: 3.5rem; padding-bottom: 3rem; }
.stMain h1 { font-size: clamp(1.6rem, 6vw, 2.5rem); }
.stFileChip { height: auto; max-width: 100%; }
/* Streamlit shows why it refuses a file to the mouse alone. */
.stFileChip [role="alert"] { position: static !important; width: auto !important; height: auto !important;
  clip: auto !important; clip-path: none !important; white-space: normal !important; font-size: .875rem; }
.stMain h3 { font-size: 1.25rem; overflow-wrap: anywhere; }
[class*="st-key-sample"] .stVerticalBlock, [class*="st-key-sample"].stVerticalBlock { gap: .25rem; }
.guess { display: flex; justify-content: space-between; gap: 1rem; overflow-wrap: anywhere; }
.guess span:last-child { font-variant-numeric: tabular-nums; }
.bar { background: rgba(128, 128, 128, .2); border-radius: .25rem; height: .5rem; margin-bottom: .5rem; }
.bar div { background: #1f77b4; border-radius: .25rem; height: 100%; min-width: 2px; }
.guess:first-child { font-weight: 600; }
table.facts { border-collapse: collapse; width: 100%; }
.facts th { text-align: left; font-weight: 600; padding: .15rem 1rem .15rem 0; vertical-align: top; }
.facts td { overflow-wrap: anywhere; padding: .15rem 0; }
</style>"""
