"""Every family of runs whose accuracy by epochs is known: `find_family("rn50-ffcv").predict(30)`.

The figures are data: published ones in published/*.yaml with their sources, our own in measured/*.json, made from run
folders by `python -m benchmarks family`. Neither is ever mixed into the other.
"""

from engine.errors import UserError
from engine.knowledge.family import Curve as Curve
from engine.knowledge.family import Family as Family
from engine.knowledge.family import Point as Point
from engine.knowledge.family import Prediction as Prediction
from engine.knowledge.family_files import read_measured, read_published
from engine.registry import nearest

FAMILIES: dict[str, Family] = {**read_published(), **read_measured()}
"""Every family by name, the published ones first."""


def find_family(name: str) -> Family:
    """The family of that name. Raises UserError naming those like it."""
    if name not in FAMILIES:
        raise UserError(
            f"no family {name!r}{nearest(name, FAMILIES)}; choices: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[name]
