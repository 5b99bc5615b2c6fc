"""The options of section `reference`: figures that others published for a recipe, kept apart from our own."""

from dataclasses import dataclass
from itertools import pairwise

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ReferenceConfig:
    """Figures that others published for this recipe; they are shown beside ours and change nothing.

    In a recipe of several stages each stage has its own.
    """

    source: str = option("", "who published the figures")
    citation: str = option("", "where: authors, title, year or file name")
    arch: str = option(
        "", "their network, as in model.arch; runs of another one are not compared; empty = not stated"
    )
    classes: int = option(
        0, "their number of classes; runs on another number are not compared; 0 = not stated", low=0
    )
    top1: float = option(0.0, "their top-1 accuracy, as a fraction; 0 = not published", low=0, high=1)
    epochs: int = option(0, "their number of epochs, of this stage alone; 0 = not published", low=0)
    minutes: float = option(
        0.0, "their training time, including earlier stages; 0 = not published", unit="minutes", low=0
    )
    hardware: str = option("", "their hardware, such as 8x A100-40GB")
    tta: bool = option(False, "whether their accuracy uses test-time augmentation")
    resolution: int = option(0, "their validation resolution; 0 = not published", unit="px", low=0, high=1024)
    curve: str = option(
        "",
        "their accuracy by epoch, as epoch:top1 pairs such as 1:0.19, 16:0.738; epochs count finished epochs of this "
        "stage",
    )
    note: str = option("", "what a reader has to know to interpret their figures")

    def curve_points(self) -> list[tuple[int, float]]:
        """(finished epochs, top-1 as a fraction), in order. Raises UserError for text that can't be read."""
        points = []
        for part in self.curve.split(",") if self.curve else ():
            epoch, found, top1 = part.strip().partition(":")
            try:
                point = int(epoch), float(top1)
            except ValueError:
                found = ""
            if not found or point[0] < 1 or not 0 <= point[1] <= 1:
                raise UserError(
                    f"reference.curve: can't read {part.strip()!r}: write epoch:top1 pairs, as in 1:0.19, 16:0.738"
                )
            points.append(point)
        if any(after[0] <= before[0] for before, after in pairwise(points)):
            raise UserError(
                f"reference.curve {self.curve!r}: epochs must increase: sort them, each only once"
            )
        return points


def check_reference(reference: ReferenceConfig) -> None:
    """Raises UserError for figures without a source, and for a curve that can't be read or is too long."""
    points = reference.curve_points()
    figures = (reference.top1, reference.minutes, reference.curve)
    if any(figures) and not reference.source:
        raise UserError(
            "section reference has figures, but reference.source is not set: name who published them"
        )
    if points and reference.epochs and points[-1][0] > reference.epochs:
        raise UserError(
            f"reference.curve goes to epoch {points[-1][0]}, but reference.epochs is {reference.epochs}: correct one"
        )
