"""Weights for three programs that have the network's code: this one (safetensors), torchvision and timm."""

import importlib
import json
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.export.exported_network import plain_network
from engine.export.target import TARGETS, Settings, Target
from engine.files import atomic_write
from engine.models.build import torchvision_names
from engine.models.from_timm import PREFIX
from engine.predict.trained import Trained
from engine.runs.folder import MODEL
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.run_weights import portable, save_model

_HERE = "choose --to onnx, which holds the network too"


class Safetensors(Target):
    """model.safetensors with its card, for this program."""

    title, file, code = "safetensors", MODEL, "run_safetensors"
    requirements = ("torch",)

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        save_model(folder, plain_network(trained), trained.card)


class Torchvision(Target):
    """weights.pth, a state_dict for torchvision.models."""

    title, file, code = "torchvision weights", "weights.pth", "run_torchvision"
    requirements = ("torch", "torchvision")

    def check(self, trained: Trained, settings: Settings) -> None:
        _refuse_blur(trained, "torchvision")
        if trained.card.arch not in torchvision_names():
            raise UserError(f"--to torchvision: torchvision has no network {trained.card.arch}: {_HERE}")

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        checkpoint_file.save(folder / self.file, dict(portable(plain_network(trained))))


class Timm(Target):
    """model.safetensors and config.json, as timm loads them from a folder or from the Hugging Face hub."""

    # timm's name for it too.
    title, file, code = "timm weights", MODEL, "run_timm"
    requirements = ("timm", "torch")
    extra, modules = "timm", ("timm",)

    def check(self, trained: Trained, settings: Settings) -> None:
        _refuse_blur(trained, "timm")
        name = _timm_name(trained)
        timm: Any = importlib.import_module("timm")
        if not timm.is_model(name):
            raise UserError(f"--to timm: timm {timm.__version__} has no network {name}: {_HERE}")
        theirs = timm.create_model(name, pretrained=False, num_classes=trained.card.num_classes).state_dict()
        ours = trained.model.state_dict()
        odd = set(theirs) ^ set(ours) or {
            key for key, value in ours.items() if value.shape != theirs[key].shape
        }
        if odd:
            raise UserError(f"--to timm: its {name} has other weights, such as {min(odd)}: {_HERE}")

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        from safetensors.torch import save

        with atomic_write(folder / self.file) as file:
            file.write(save(portable(plain_network(trained)), metadata={"format": "pt"}))
        with atomic_write(folder / "config.json") as file:
            file.write(json.dumps(_timm_config(trained), indent=1).encode() + b"\n")


def _timm_name(trained: Trained) -> str:
    return trained.card.arch.removeprefix(PREFIX).split(".")[0]


def _timm_config(trained: Trained) -> dict[str, Any]:
    """The keys of timm's models on the Hugging Face hub (timm.models._hub)."""
    asked, count = trained.card.preprocessing, trained.card.num_classes
    return {
        "architecture": _timm_name(trained),
        "num_classes": count,
        "label_names": trained.ids,
        "label_descriptions": dict(zip(trained.ids, trained.names, strict=True)),
        "pretrained_cfg": {
            "num_classes": count,
            "input_size": [3, asked.resolution, asked.resolution],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": asked.ratio,
            "crop_mode": "center",
            "mean": asked.mean,
            "std": asked.std,
        },
    }


def _refuse_blur(trained: Trained, program: str) -> None:
    if trained.card.use_blurpool:
        raise UserError(
            f"--to {program}: this network was trained with BlurPool, which {program}'s {trained.card.arch} lacks, and "
            f"would score lower there: {_HERE}"
        )


TARGETS.register("safetensors")(Safetensors())
TARGETS.register("torchvision")(Torchvision())
TARGETS.register("timm")(Timm())
