"""TorchScript, by torch.jit.trace: for C++ and mobile programs that load it. Deprecated in favour of torch.export.

It still works in PyTorch 2.15, for image sizes that vary too: the traced operations read the sizes.
"""

import warnings
from pathlib import Path

import torch

from engine.errors import UserError
from engine.export.exported_network import cannot_export, example_input, whole_network
from engine.export.target import TARGETS, Settings, Target
from engine.predict.trained import Trained


class TorchScript(Target):
    """model.ts, a traced module."""

    title, file, code = "TorchScript", "model.ts", "run_torchscript"
    requirements = ("torch",)
    options = ("with_preprocessing",)

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        network = whole_network(trained, settings)
        example = example_input(trained, with_preprocessing=settings.with_preprocessing)
        try:
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")
                torch.jit.trace(network, (example,)).save(folder / self.file)
        except RuntimeError as error:
            raise UserError(cannot_export(trained, "torch.jit.trace", error)) from None


TARGETS.register("torchscript")(TorchScript())
