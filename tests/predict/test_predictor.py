"""Predictions: their order, errors, ensembles, mirror images and features."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import UserError
from engine.predict.predictor import Predictor
from tests.predict.conftest import CLASSES, card, save_run

Picture = Callable[..., Path]


def test_prediction_is_the_networks_softmax(run: Path, picture: Picture) -> None:
    with Predictor(run, device="cpu") as predictor:
        path = picture("a.jpg")
        found = predictor.predict(path, top_k=2)
        pixels = predictor.preprocessor().image(path)
        expected = predictor.logits(pixels[None]).double().softmax(1)[0]
    assert found.source == str(path) and found.error is None
    assert [guess.probability for guess in found.top] == expected.topk(2).values.tolist()
    assert [guess.index for guess in found.top] == expected.topk(2).indices.tolist()
    assert all(guess.id == guess.name == CLASSES[guess.index] for guess in found.top)


def test_all_kinds_of_images_predict_alike(run: Path, picture: Picture) -> None:
    path = picture("a.png")
    array = np.asarray(Image.open(path))
    images = [path, str(path), path.read_bytes(), Image.open(path), array]
    with Predictor(run, device="cpu") as predictor:
        found = list(predictor.predict_batch(images))
    assert {tuple(one.top) for one in found} == {tuple(found[0].top)}
    assert [one.source for one in found] == [str(path), str(path), "image 2", "image 3", "image 4"]


def test_broken_image_does_not_end_the_rest(run: Path, picture: Picture, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    cut = picture("a.jpg").read_bytes()[:-200]
    images = [
        picture("a.jpg"),
        tmp_path / "empty.jpg",
        tmp_path / "none.jpg",
        cut,
        b"text",
        5,
        picture("b.png"),
    ]
    with Predictor(run, device="cpu") as predictor:
        found = list(predictor.predict_batch(images, batch_size=2))
    assert [one.error for one in found] == [
        None,
        "it is empty",
        "it does not exist: check the path",
        "it is cut short: it lacks the end of the image",
        "it is not an image in a format known here",
        "it is a int: give a path, a URL, bytes, a Pillow image or an array",
        None,
    ]
    assert [len(one.top) for one in found] == [3, 0, 0, 0, 0, 0, 3]


def test_batches_do_not_change_the_result(run: Path, picture: Picture) -> None:
    images = [picture(f"{width}.jpg", width, 40) for width in range(40, 51)]
    with Predictor(run, device="cpu", tta=True, workers=2) as predictor:
        alone = [predictor.predict(image) for image in images]
        together = list(predictor.predict_batch(iter(images), batch_size=4))
    for one, other in zip(alone, together, strict=True):
        assert one.source == other.source
        assert [g.probability for g in one.top] == pytest.approx([g.probability for g in other.top], abs=1e-5)


def test_mirror_image_is_averaged(run: Path, picture: Picture) -> None:
    path = picture("a.jpg")
    with Predictor(run, device="cpu", tta=True) as predictor:
        pixels = predictor.preprocessor().image(path)[None]
        both = [predictor.logits(view).double().softmax(1) for view in (pixels, pixels[:, :, ::-1].copy())]
        assert torch.allclose(predictor.probabilities([pixels]), (both[0] + both[1]) / 2)


def test_ensemble_is_the_mean_by_class_names(run: Path, picture: Picture, tmp_path: Path) -> None:
    other = save_run(tmp_path / "other", card(["eel", "cat", "dog"], side=24, blurs=False), seed=1)
    with Predictor([run, other], device="cpu") as both:
        found = {guess.id: guess.probability for guess in both.predict(picture("a.jpg")).top}
        assert [one.asked.resolution for one in both.preprocessors] == [32, 24]
    single = []
    for one in (run, other):
        with Predictor(one, device="cpu") as predictor:
            single.append({guess.id: guess.probability for guess in predictor.predict(picture("a.jpg")).top})
    assert found == pytest.approx({name: (single[0][name] + single[1][name]) / 2 for name in CLASSES})


def test_ensemble_of_other_classes_is_refused(run: Path, tmp_path: Path) -> None:
    other = save_run(tmp_path / "other", card(["cat", "dog", "fox"]))
    with pytest.raises(
        UserError, match=r"are of different classes \(3 and 3\): give runs that were trained on"
    ):
        Predictor([run, other], device="cpu")


def test_features_times_classifier_are_the_logits(run: Path, picture: Picture) -> None:
    with Predictor(run, device="cpu") as predictor:
        pixels = predictor.preprocessor().image(picture("a.jpg"))[None]
        head = predictor.runs[0].model.fc
        assert torch.equal(head(predictor.features(pixels)), predictor.logits(pixels))
        (found,) = predictor.predict_batch([picture("a.jpg")], features=True)
        assert found.features is not None and found.features.shape == (head.in_features,)
    with pytest.raises(UserError, match="features are of one network"), Predictor([run, run]) as both:
        list(both.predict_batch([picture("a.jpg")], features=True))


def test_outputs_that_are_not_finite_are_an_error(run: Path, picture: Picture) -> None:
    with Predictor(run, device="cpu") as predictor:
        torch.nn.init.constant_(predictor.runs[0].model.fc.bias, float("nan"))
        assert predictor.predict(picture("a.jpg")).error == "the network's outputs are not finite"
