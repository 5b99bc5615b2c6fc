"""README.md of a package: a model card in Hugging Face's form, filled from the proof and from the weights' own card.

Keys of its metadata: huggingface.co/docs/hub/model-cards.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from engine.data.beton.pair import identity
from engine.data.beton.reader import Beton
from engine.export.proof import Proof
from engine.export.proof_words import markdown
from engine.export.target import Settings, Target
from engine.models.build import torchvision_names
from engine.models.from_timm import PREFIX
from engine.predict.trained import Trained
from engine.runs.machine import machine

_LIBRARIES = {"timm weights": "timm", "ONNX": "onnx", "OpenVINO IR": "openvino", "Core ML": "coreml"}
_NOT_STATED = "The data's file states no licence. Find out what your use of the images allows."


def model_page(
    folder: Path,
    target: Target,
    trained: Trained,
    settings: Settings,
    proof: Proof | None,
    val: Beton,
    limit: float,
) -> str:
    """The page, for the files that lie in `folder`."""
    name = title_of(trained)
    parts = [
        f"---\n{yaml.safe_dump(_metadata(name, target, trained, settings, proof, val), sort_keys=False)}---\n",
        f"# {name}\n",
        _what(target, trained, settings),
        f"## Use\n\n{_use(target)}",
        f"## Proof\n\n{_proof(target, proof, limit)}",
        f"## Preprocessing\n\n{_preprocessing(trained, settings)}",
        f"## Training\n\n{_training(trained)}",
        f"## Licence\n\n{_licence(trained)}",
        f"## Files\n\n{_files(folder, target)}",
    ]
    return "\n".join(parts).rstrip()


def title_of(trained: Trained) -> str:
    """The model's name: network and run."""
    run = trained.card.run
    return f"{trained.card.arch.removeprefix(PREFIX)}{f', {run}' if run else ''}"


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def card_note(trained: Trained, proof: Proof, data: str) -> str:
    """A remark where the card's accuracy on these very images is another one than was measured; else empty."""
    card, asked = trained.card, trained.card.preprocessing
    if card.val_data != data or proof.images != proof.of:
        return ""
    for one in card.accuracies:
        same = (one.resolution, one.ratio, one.crop_law) == (asked.resolution, asked.ratio, asked.crop_law)
        measured = proof.top1_before / proof.images
        if same and not one.tta and abs(one.top1 - measured) > 0.002:
            return (
                f"the weights' card says top-1 {one.top1:.2%} on these images, and PyTorch reached {measured:.2%}: "
                "the weights may have been changed since, or were measured in another precision"
            )
    return ""


def _metadata(
    name: str, target: Target, trained: Trained, settings: Settings, proof: Proof | None, val: Beton
) -> dict[str, Any]:
    arch = trained.card.arch.removeprefix(PREFIX)
    tags = ["image-classification", arch, target.title, *(["int8"] if settings.int8 else [])]
    found: dict[str, Any] = {
        "license": "other",
        "license_name": "see-section-licence",
        "library_name": _LIBRARIES.get(target.title, "pytorch"),
        "pipeline_tag": "image-classification",
        "tags": tags,
        "metrics": ["accuracy"],
    }
    if proof is not None:
        measured = [("top-1", proof.top1_after), ("top-5", proof.top5_after)]
        metrics = [
            {"type": "accuracy", "name": key, "value": round(count / proof.images, 6), "verified": False}
            for key, count in measured
        ]
        data = {"name": f"{val.path.name}: {identity(val)}", "type": "image-folder", "split": "validation"}
        task = {"type": "image-classification", "name": "Image classification"}
        found["model-index"] = [
            {"name": name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}
        ]
    return found


def _what(target: Target, trained: Trained, settings: Settings) -> str:
    card = trained.card
    count = sum(weight.numel() for weight in trained.model.parameters())
    blurs = ", with BlurPool" if card.use_blurpool else ""
    kind = f"{target.title}{', int8' if settings.int8 else ''}"
    return (
        f"An image classifier: {card.arch}{blurs}, {count / 1e6:.1f} M parameters, {card.num_classes:,} classes, as "
        f"{kind}.\n"
    )


def _use(target: Target) -> str:
    return (
        "```bash\npip install -r requirements.txt\npython example.py                  # the example image\n"
        "python example.py IMAGE... --top-k 3\n```\n\n"
        f"`runtime.py` loads `{target.file}`; `example.py` prepares images with NumPy and Pillow and prints the best "
        "classes.\n"
    )


def _proof(target: Target, proof: Proof | None, limit: float) -> str:
    if proof is None:
        return f"None. {target.unproven}\n"
    cpu = machine()
    return (
        f"This package and the trained network in PyTorch (fp32) on {proof.images:,} of {proof.of:,} validation "
        "images, whole image files in, decoded by Pillow in the package and by the training program in PyTorch. The "
        f"export would have been refused for a loss of more than {limit:g} points of top-1.\n\n{markdown(proof)}\n\n"
        f"Speeds: medians of alternating rounds on {cpu['cores']} cores of {cpu['cpu']}; PyTorch is eager and without "
        "preprocessing. All figures are in `proof.json`.\n"
    )


def _preprocessing(trained: Trained, settings: Settings) -> str:
    asked = trained.card.preprocessing
    law = (
        f"the centred square of {asked.ratio:g} x the shorter side, resized to {asked.resolution} px"
        if asked.crop_law == "fused"
        else f"torchvision's Resize and CenterCrop to {asked.resolution} px, ratio {asked.ratio:g}"
    )
    turned = "Images are turned as EXIF says." if asked.exif == "apply" else "EXIF rotation is ignored."
    where = (
        "The model does it: it takes RGB images uint8 (n, height, width, 3) of any size."
        if settings.with_preprocessing
        else "`example.py` does it; the model takes float32 (n, 3, height, width)."
    )
    return (
        f"RGB; {law} (bilinear, antialiased); levels divided by 255, minus mean {_short(asked.mean)}, divided by "
        f"{_short(asked.std)}. {turned} {where} `preprocessing.json` has all of it.\n"
    )


def _short(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _training(trained: Trained) -> str:
    card = trained.card
    facts = {
        "recipe": card.recipe,
        "seed": card.seed,
        "training data": card.train_data,
        "validation data": card.val_data,
        "averaged weights": None if card.averaged is None else "yes" if card.averaged else "no",
        "program's revision": card.revision.commit if card.revision else None,
        "versions": json.dumps(card.versions) if card.versions else None,
    }
    lines = [f"- {key}: {value}" for key, value in facts.items() if value is not None]
    for one in card.accuracies:
        tta = ", with TTA" if one.tta else ""
        lines.append(
            f"- after training: top-1 {one.top1:.2%} at {one.resolution} px, {one.crop_law} crop{tta}"
        )
    return "\n".join(lines) + "\n" if lines else "Not known: the weights' file does not say.\n"


def _licence(trained: Trained) -> str:
    arch = trained.card.arch
    if arch.startswith(PREFIX):
        network = "timm's network definition: Apache-2.0."
    elif arch in torchvision_names():
        network = "torchvision's network definition: BSD-3-Clause."
    else:
        network = "The network's definition is part of the training program: MIT."
    data = f"Data: {trained.card.license}" if trained.card.license else _NOT_STATED
    lines = [
        data,
        "The example image is one of the validation data, under their terms. Replace it before you publish the folder, "
        "unless these allow it.",
        network,
        "`example.py` and `runtime.py` may be used under the MIT licence.",
        "Which licence the weights get is for whoever trained them to say: set `license` at the top.",
    ]
    return "".join(f"- {line}\n" for line in lines)


def _files(folder: Path, target: Target) -> str:
    about = {
        target.file: "the model",
        "labels.json": "ids and names of the classes, in the order of the outputs; `labels.txt`: the names",
        "preprocessing.json": "what the model expects",
        "example.py": "classifies images; `runtime.py` loads the model",
        "proof.json": "what was measured",
        "SHA256SUMS": "`sha256sum -c SHA256SUMS` checks every file",
    }
    present = {path.name for path in folder.iterdir()} | {"SHA256SUMS"}
    return "\n".join(f"- `{name}`: {text}" for name, text in about.items() if name in present) + "\n"
