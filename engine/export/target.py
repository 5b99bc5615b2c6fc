"""What a network can be exported to: a registry with one file of engine/export/kinds/ for each kind.

A new kind is a subclass of Target, registered, in a file there that `all_targets` imports, and a module of
engine/export/package_code/ with `load(folder)`, which both the proof and the package's example run.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.reader import Beton
from engine.errors import UserError
from engine.predict.trained import Trained
from engine.registry import Registry

Runtime = Callable[[NDArray[Any]], NDArray[np.float32]]
"""A batch as preprocessing.json describes it -> logits (n, classes)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked of an export."""

    with_preprocessing: bool = False
    """Whether the file takes uint8 images (n, height, width, 3) of any size, instead of the network's input."""
    int8: bool = False
    opset: int = 0
    """Version of ONNX' operators; 0: DEFAULT_OPSET."""
    dynamic: bool = False
    """Whether height and width of the network's input may vary too; the number of images always may."""
    calibration: NDArray[np.float32] | None = None
    """The network's input for training images, (n, 3, resolution, resolution); given with int8."""
    beside: Path | None = None
    """With int8, the folder into which the model is also written before it is quantised, to compare with."""


class Target:
    """One kind of package."""

    title = ""
    """The format, in words."""
    file = ""
    """Name of the file that the runtime loads."""
    code = ""
    """Module of engine/export/package_code/ with `load(folder)`."""
    unproven = ""
    """Why the file can't be run on this system; empty: it can."""
    requirements: tuple[str, ...] = ()
    """What the package's example needs besides numpy and Pillow, by PyPI names."""
    options: tuple[str, ...] = ()
    """Which of with_preprocessing, int8, opset and dynamic it can have."""
    extra = ""
    """Of this program, with what writing needs; empty: nothing further."""
    modules: tuple[str, ...] = ()
    """What has to be importable to write it."""

    @property
    def runs_here(self) -> bool:
        """Whether there can be a proof."""
        return not self.unproven

    def check(self, trained: Trained, settings: Settings) -> None:
        """Raise UserError, before anything is done, for a network or an option that this kind can't have."""

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        """Write the model's files into `folder`. Raises UserError for a network that can't be written."""
        raise NotImplementedError

    def finish(self, folder: Path, trained: Trained, val: Beton) -> None:
        """Add to the finished package, in `folder`, what only this kind has."""

    def load(self, folder: Path) -> Runtime:
        """The written model, loaded by the code that the package ships."""
        module = importlib.import_module(f"engine.export.package_code.{self.code}")
        found: Runtime = module.load(folder)
        return found


TARGETS: Registry[Target] = Registry("kind of package")

_OPTIONS = ("with_preprocessing", "int8", "opset", "dynamic")


def all_targets() -> Registry[Target]:
    """The registry with every kind in it."""
    folder = Path(__file__).parent
    found = [f"engine.export.kinds.{path.stem}" for path in (folder / "kinds").glob("[a-z]*.py")]
    if (folder / "space.py").is_file():
        found.append("engine.export.space")
    for module in sorted(found):
        importlib.import_module(module)
    return TARGETS


def check_target(name: str, target: Target, trained: Trained, settings: Settings) -> None:
    """Raise UserError for what can't be: an option of another kind, a package that is missing, a network."""
    for option in _OPTIONS:
        if getattr(settings, option) and option not in target.options:
            able = [kind for kind in TARGETS.names() if option in TARGETS[kind].options]
            flag = option.replace("_", "-")
            raise UserError(
                f"--{flag} can't be had with --to {name}: drop it, or choose --to {' or '.join(able)}"
            )
    if settings.dynamic and settings.with_preprocessing:
        raise UserError("--with-preprocessing takes images of any size already: drop --dynamic")
    needed(name, target.extra, target.modules)
    target.check(trained, settings)


def needed(name: str, extra: str, modules: Sequence[str]) -> None:
    """Raise UserError, naming the extra, unless all these modules are installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"--to {name} needs {', '.join(missing)}, not installed here: pip install {' '.join(missing)} "
            f"(this program's extra {extra!r})"
        )
