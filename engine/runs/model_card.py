"""What a file of trained weights says about itself: its classes, network, preprocessing, and measured accuracy.

It is JSON: in model.safetensors the metadata's entry `imagenet_engine_card`, in weights.pt an attribute of the
state_dict of that name, which load_state_dict ignores. docs/reference/log_schema.md lists the keys.
"""

import json
from dataclasses import dataclass

from engine.runs.log_fields import JsonTable, log_field
from engine.runs.log_schema import SHARE, Revision

CARD_SCHEMA = 1
"""Raised when the meaning of a key changes."""
CARD_KEY = "imagenet_engine_card"
"""Long, since other programs write metadata too."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing(JsonTable):
    """How an image becomes the network's input: decoded, cropped to its centre, resized, normalised."""

    resolution: int = log_field("side of the input", unit="px", required=True)
    ratio: float = log_field("side of the crop / short side of the image", required=True)
    crop_law: str = log_field("how the crop is made: validation.crop_law", required=True)
    mean: list[float] = log_field("subtracted from each channel, of levels 0 to 1", required=True)
    std: list[float] = log_field("then divided by", required=True)
    exif: str | None = log_field("whether images are turned as their metadata says: rules.exif of the data")


@dataclass(frozen=True, kw_only=True)
class CardAccuracy(JsonTable):
    """A measured accuracy and its conditions."""

    top1: float = log_field("top-1 on the validation file", unit=SHARE, required=True)
    top5: float | None = log_field("top-5", unit=SHARE)
    images: int | None = log_field("images that were counted", unit="images")
    resolution: int | None = log_field("side of the images", unit="px")
    ratio: float | None = log_field("side of the crop / short side of the image")
    crop_law: str | None = log_field("how the crop is made: validation.crop_law")
    tta: bool | None = log_field("whether an image and its mirror image are averaged")


@dataclass(frozen=True, kw_only=True)
class ModelCard(JsonTable):
    """What is known of a network's weights; a class list that is null is not known."""

    schema: int = log_field("version of this schema", required=True)
    arch: str = log_field("the network's name (model.arch)", required=True)
    num_classes: int = log_field("number of outputs", required=True)
    classes: list[str] | None = log_field("names of the classes, in the order of the outputs")
    use_blurpool: bool = log_field(
        "whether it was trained with BlurPool, which has no weights", required=True
    )
    averaged: bool | None = log_field("whether these are the averaged weights (EMA)")
    ingredients: list[str] | None = log_field(
        "the weights that were averaged (python -m engine average); absent: none were"
    )
    preprocessing: Preprocessing = log_field("what the network expects", required=True)
    accuracies: list[CardAccuracy] = log_field(
        "what it reached, the recipe's conditions first", required=True
    )
    recipe: str | None = log_field("the recipe's name")
    run: str | None = log_field("the run folder's name")
    seed: int | None = log_field("training.seed")
    train_data: str | None = log_field("identity of the training file: images and checksum")
    val_data: str | None = log_field("identity of the validation file")
    license: str | None = log_field("the data's licence note, if its file has one")
    revision: Revision | None = log_field("git revision of the source; null outside a git checkout")
    versions: dict[str, str | None] | None = log_field("version by package; null: not installed")

    def to_text(self) -> str:
        """The card as JSON. Names that are no valid UTF-8 are escaped."""
        return json.dumps(self.to_json(), allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> "ModelCard":
        """The card that `to_text` wrote. Raises ValueError for other text, or one of a newer version."""
        try:
            content = json.loads(text)
            if not isinstance(content, dict):
                raise ValueError("no JSON object")
            schema = content.get("schema")
            if isinstance(schema, int) and schema > CARD_SCHEMA:
                raise ValueError(
                    f"written by a newer version (schema {schema}, this one reads {CARD_SCHEMA})"
                )
            return cls.from_json(content)
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error)) from None
