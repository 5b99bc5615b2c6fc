"""Preprocessing three times over, in the graph, in the package's Pillow code and in the engine: within a level."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import UserError
from engine.export.in_graph import InGraph
from engine.export.package_code.example import prepare, read
from engine.predict.preprocess import Preprocessor
from engine.runs.model_card import Preprocessing
from tests.data.odd_files import deep_gray, jpeg, odd_files, save, with_orientation
from tests.predict.conftest import card

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def asked_for(side: int, ratio: float, law: str, exif: str) -> tuple[Preprocessing, dict[str, Any]]:
    """The preprocessing, and what preprocessing.json says of it."""
    own = Preprocessing(resolution=side, ratio=ratio, crop_law=law, mean=list(MEAN), std=list(STD), exif=exif)
    return own, {**own.to_json(), "in_model": False}


def levels(images: NDArray[np.float32] | torch.Tensor) -> NDArray[np.float64]:
    """Normalised (1, 3, side, side) as levels (side, side, 3)."""
    return (np.asarray(images, np.float64)[0].transpose(1, 2, 0) * STD + MEAN) * 255


def sources() -> list[tuple[str, bytes]]:
    """Files of odd sizes and of every kind that the conversion's rules store as it is."""
    sizes = [(1, 1), (1, 9), (17, 2), (33, 47), (90, 120), (301, 300), (64, 500)]
    found = [(f"{height} x {width}", jpeg(height, width)) for height, width in sizes]
    found += [(f"orientation {turn}", with_orientation(turn)) for turn in (3, 6, 8)]
    image = jpeg_of_mode("L"), jpeg_of_mode("CMYK")
    return [*found, ("gray", image[0]), ("CMYK", image[1]), ("16 bits", deep_gray())]


def jpeg_of_mode(mode: str) -> bytes:
    from tests.data.odd_files import picture

    return save(picture(53, 41).convert(mode), "JPEG", quality=92)


@pytest.mark.parametrize("exif", ["ignore", "apply"])
@pytest.mark.parametrize("law", ["fused", "torchvision"])
@pytest.mark.parametrize(("side", "ratio"), [(32, 0.875), (48, 1.0), (40, 0.35)])
def test_graph_pillow_and_engine_agree_within_a_level(side: int, ratio: float, law: str, exif: str) -> None:
    own, asked = asked_for(side, ratio, law, exif)
    engine, graph = Preprocessor(own), InGraph(own)
    for name, content in sources():
        theirs = engine.image(content).astype(float)
        pixels = read(io.BytesIO(content), asked)
        in_graph = levels(graph(torch.from_numpy(np.array(pixels))[None]))
        in_pillow = levels(prepare(pixels, asked))
        for kind, found in (("graph", in_graph), ("Pillow", in_pillow)):
            assert found.shape == theirs.shape
            assert np.abs(found - theirs).mean() < 1, (name, kind, np.abs(found - theirs).mean())


@pytest.mark.parametrize("law", ["fused", "torchvision"])
def test_graph_on_decoded_pixels_equals_the_engine_but_for_ties(law: str, draw: np.random.Generator) -> None:
    own, _ = asked_for(32, 0.875, law, "ignore")
    engine, graph = Preprocessor(own), InGraph(own)
    for height, width in draw.integers(1, 200, (40, 2)).tolist():
        pixels = draw.integers(0, 256, (height, width, 3)).astype(np.uint8)
        found = levels(graph(torch.from_numpy(pixels)[None]))
        difference = np.abs(found - engine.image(pixels))
        # Sums in another order: now and then one is rounded to the next level.
        assert difference.max() < 1.01 and (difference > 0.01).mean() < 0.01, (height, width)


def test_graph_takes_a_batch_as_each_of_its_images(draw: np.random.Generator) -> None:
    graph = InGraph(card().preprocessing)
    images = torch.from_numpy(draw.integers(0, 256, (3, 45, 70, 3)).astype(np.uint8))
    alone = torch.cat([graph(one[None]) for one in images])
    assert torch.allclose(graph(images), alone, atol=1e-5)


def test_every_odd_file_that_the_engine_takes_the_package_takes() -> None:
    own, asked = asked_for(32, 0.875, "fused", "ignore")
    engine, compared = Preprocessor(own), 0
    for kind, (_, content) in odd_files().items():
        try:
            theirs = engine.image(content).astype(float)
        except UserError:
            continue
        found = levels(prepare(read(io.BytesIO(content), asked), asked))
        assert np.abs(found - theirs).mean() < 1, kind
        compared += 1
    assert compared >= 5
