"""PyTorch's own format: torch.export.save."""

from pathlib import Path

import torch

from engine.export.exported_network import exported_program, whole_network
from engine.export.target import TARGETS, Settings, Target
from engine.predict.trained import Trained


class ExportedProgram(Target):
    """model.pt2, an exported program."""

    title, file, code = "PyTorch exported program", "model.pt2", "run_pt2"
    requirements = ("torch",)
    options = ("with_preprocessing", "dynamic")

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        network = whole_network(trained, settings)
        program = exported_program(network, trained, settings, with_preprocessing=settings.with_preprocessing)
        torch.export.save(program, folder / self.file)


TARGETS.register("pt2")(ExportedProgram())
