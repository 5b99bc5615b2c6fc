"""Grad-CAM: where in an image a convolutional network found the signs of a class (Selvaraju et al. 2017).

The library `grad-cam` computes it. Here is chosen from which part of a network: its last feature map before the
classifier, found by one pass over an empty image, so that it works for any network of convolutions by any name.
"""

import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from engine.errors import UserError, describe_os_error
from engine.files import atomic_write
from engine.models.head import classifier_name
from engine.predict.preprocess import Preprocessor

if TYPE_CHECKING:
    from engine.predict.predictor import Prediction
    from engine.predict.trained import Trained

Pixels = NDArray[np.uint8]
Heat = NDArray[np.float32]

_LONGEST_NAME = 50


def cam(trained: "Trained", source: Any, index: int | None = None) -> Heat:
    """Where one image shows class `index` (None: the one that is predicted): float32 (side, side), 0 to 1.

    `source` is all that `Preprocessor.image` takes, or pixels (side, side, 3) that it gave. Raises UserError for an
    image that can't be read, a network without a feature map, and where grad-cam is not installed.
    """
    pixels = Preprocessor(trained.card.preprocessing).image(source)
    return GradCam(trained).maps(pixels[None], None if index is None else [index])[0]


def overlay(pixels: Pixels, heat: Heat) -> Pixels:
    """The image (side, side, 3) with `heat` (side, side) over it, from blue (0) to red (1): uint8 (side, side, 3)."""
    drawn: Pixels = _library().utils.image.show_cam_on_image(
        pixels.astype(np.float32) / 255, heat, use_rgb=True
    )
    return drawn


class GradCam:
    """Grad-CAM of one network. Construction raises UserError as `cam` does."""

    def __init__(self, trained: "Trained") -> None:
        self._library = _library()
        self.model = trained.model
        self._prepare = Preprocessor(trained.card.preprocessing, trained.device)
        side = trained.card.preprocessing.resolution
        self.layer, self._channels_last = feature_map(self.model, side, trained.card.arch)

    def maps(self, batch: Pixels, classes: Sequence[int] | None = None) -> Heat:
        """Where images (n, side, side, 3) show `classes` (None: those predicted): float32 (n, side, side), 0 to 1."""
        asked = classes and [self._library.utils.model_targets.ClassifierOutputTarget(one) for one in classes]
        images = self._prepare.normalise(batch)
        with _begins_at(self.layer), torch.enable_grad():
            method = self._library.GradCAM(self.model, [self.layer], self._as_channels_first)
            try:
                found: Heat = method(images, asked)
            finally:
                # Not by its own `with`, which swallows an IndexError.
                method.activations_and_grads.release()
        return found

    def _as_channels_first(self, features: torch.Tensor) -> torch.Tensor:
        # A copy: the network may go on with it in place, as with torchvision's DenseNet.
        return (features.permute(0, 3, 1, 2) if self._channels_last else features).clone()


class CamFolder:
    """Writes overlays of predicted classes as PNGs into `folder`, which it makes. Raises UserError as `cam` does."""

    def __init__(self, trained: "Trained", folder: Path) -> None:
        self.folder, self._cam = folder, GradCam(trained)
        self._prepare = Preprocessor(trained.card.preprocessing)
        self._names: Counter[str] = Counter()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise describe_os_error(error, folder, "make the folder") from None

    def add(self, source: object, prediction: "Prediction") -> None:
        """Write the overlay of an image, as cat.png of .../cat.jpg; a second cat becomes cat-2.png."""
        if prediction.error is not None:
            return
        pixels = self._prepare.image(source)
        drawn = overlay(pixels, self._cam.maps(pixels[None], [prediction.top[0].index])[0])
        name = PurePath(prediction.source).stem[:_LONGEST_NAME] or "image"
        self._names[name] += 1
        number = f"-{self._names[name]}" if self._names[name] > 1 else ""
        with atomic_write(self.folder / f"{name}{number}.png") as file:
            Image.fromarray(drawn).save(file, "PNG")


@torch.inference_mode()
def feature_map(model: nn.Module, side: int, arch: str) -> tuple[nn.Module, bool]:
    """The part of `model` that gives the last feature map before the classifier, for images of `side` pixels.

    And whether that is (n, h, w, channels), not (n, channels, h, w). Raises UserError for a network of tokens, such as
    a vision transformer. `arch` is its name, for the message.
    """
    seen: list[tuple[nn.Module, torch.Size]] = []
    classifier = model.get_submodule(classifier_name(model))
    begun = False

    def before(module: nn.Module, inputs: object) -> None:
        nonlocal begun
        begun = True

    def after(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and not begun:
            seen.append((module, output.shape))

    hooks = [module.register_forward_hook(after) for module in model.modules()]
    hooks.append(classifier.register_forward_pre_hook(before))
    weight = next(model.parameters())
    try:
        model(torch.zeros(1, 3, side, side, device=weight.device, dtype=weight.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    times = [module for module, _ in seen]
    for module, shape in reversed(seen):
        if len(shape) == 3:
            break
        # A part that is used several times, such as ReLU, gives several maps.
        if len(shape) == 4 and times.count(module) == 1:
            first, last = shape[2] == shape[3] > 1, shape[1] == shape[2] > 1
            if first or last:
                return module, not first
    raise UserError(
        f"Grad-CAM needs a map of features before the classifier, and {arch} has none there (a vision transformer ends "
        "in tokens): do without it, or take a convolutional network"
    )


@contextmanager
def _begins_at(layer: nn.Module) -> Iterator[None]:
    """The gradient's way back ends at the output of `layer`; the library's hooks, added later, see that output.

    The weights need none, which `load_trained` has seen to.
    """
    hook = layer.register_forward_hook(
        lambda module, inputs, output: output.detach().requires_grad_().clone()
    )
    try:
        yield
    finally:
        hook.remove()


def _library() -> Any:
    try:
        # By name, as it has no types. It takes seconds, with what it brings: only where it is used.
        return importlib.import_module("pytorch_grad_cam")
    except ModuleNotFoundError as error:
        if error.name != "pytorch_grad_cam":
            raise
        raise UserError(
            "Grad-CAM needs grad-cam, which is not installed: pip install grad-cam (extra: cam)"
        ) from None
