"""The options of section `reference`: what others published for a recipe, kept apart from anything measured here."""

from dataclasses import dataclass
from itertools import pairwise

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ReferenceConfig:
    """What others published for this recipe (of several stages: for this stage); never mixed with our figures."""

    source: str = option("", "who published it")
    citation: str = option("", "where it stands: authors, title, year or name of the file")
    top1: float = option(0.0, "their top-1 accuracy, as a share; 0: none", low=0, high=1)
    epochs: int = option(0, "their epochs, of this stage alone; 0: not said", low=0)
    minutes: float = option(0.0, "their training time in minutes, earlier stages included; 0: none", low=0)
    hardware: str = option("", "what they trained on")
    tta: bool = option(False, "their accuracy is with test-time augmentation")
    resolution: int = option(0, "their validation resolution, in pixels; 0: not said", low=0, high=1024)
    curve: str = option(
        "",
        "their accuracy by epoch as epoch:top1, such as 1:0.19, 16:0.738; epochs are those that were done, of this "
        "stage alone",
    )
    note: str = option("", "what has to be known to read their figures")

    def curve_points(self) -> list[tuple[int, float]]:
        """(epochs done, top-1 as a share), in order. Raises UserError for text that is no curve."""
        points = []
        for part in self.curve.split(",") if self.curve else ():
            epoch, found, top1 = part.strip().partition(":")
            try:
                point = int(epoch), float(top1)
            except ValueError:
                found = ""
            if not found or point[0] < 1 or not 0 <= point[1] <= 1:
                raise UserError(
                    f"reference.curve: {part.strip()!r} can't be read: write epochs and shares, as in 1:0.19, 16:0.738"
                )
            points.append(point)
        if any(after[0] <= before[0] for before, after in pairwise(points)):
            raise UserError(f"reference.curve {self.curve!r}: epochs must rise: put them in order, each once")
        return points


def check_reference(reference: ReferenceConfig) -> None:
    """Raises UserError for figures without a source, and for a curve that can't be read or leaves the run."""
    points = reference.curve_points()
    figures = (reference.top1, reference.minutes, reference.curve)
    if any(figures) and not reference.source:
        raise UserError(
            "section reference has figures, but reference.source is not set: say who published them"
        )
    if points and reference.epochs and points[-1][0] > reference.epochs:
        raise UserError(
            f"reference.curve goes to epoch {points[-1][0]}, but reference.epochs is {reference.epochs}: correct one"
        )
