"""Readable names of a network's outputs: ImageNet's from torchvision's weight metadata, or from a file."""

from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError, describe_os_error

IMAGENET_CLASSES = 1000
# ILSVRC2012's WordNet ids, sorted: the order of nearly all published weights, and of torchvision's names.
_IDS = Path(__file__).parent / "imagenet_ids.txt"


def readable_names(ids: Sequence[str]) -> list[str]:
    """A name for each class id, in the ids' order; the id where there is none.

    WordNet's ids of ImageNet's classes (n01440764), all 1,000 or some, get torchvision's names. So do the numbers 0 to
    999 if all are there.
    """
    if len(ids) == IMAGENET_CLASSES and sorted(ids, key=_number) == [f"{n}" for n in range(IMAGENET_CLASSES)]:
        return [imagenet_names()[int(one)] for one in ids]
    if not any(one.startswith("n") for one in ids):
        return list(ids)
    known = dict(zip(imagenet_ids(), imagenet_names(), strict=True))
    return [known.get(one, one) for one in ids]


def _number(class_id: str) -> int:
    return int(class_id) if class_id.isdecimal() else -1


def imagenet_ids() -> list[str]:
    """ILSVRC2012's 1,000 WordNet ids, sorted."""
    return _IDS.read_text(encoding="ascii").split()


def imagenet_names() -> list[str]:
    """torchvision's names of these ids, in their order."""
    from torchvision.models import ResNet50_Weights

    return list(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def read_names(path: Path, count: int) -> list[str]:
    """The names in a text file, one a line, in the order of `count` outputs. Raises UserError for another number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise describe_os_error(error, path, "read") from None
    except UnicodeDecodeError:
        raise UserError(f"--names {path} is no text in UTF-8: give one name a line") from None
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if len(names) != count:
        raise UserError(
            f"--names {path} has {len(names):,} names, and the network {count:,} outputs: give one name a line, in "
            "the order of the outputs"
        )
    return names
