"""Core ML's ML Program. It is converted anywhere and runs on macOS only, so elsewhere there is no proof."""

import importlib
import io
import logging
import warnings
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.export.exported_network import cannot_export, exported_program, plain_network
from engine.export.target import TARGETS, Settings, Target
from engine.predict.trained import Trained


class CoreMl(Target):
    """model.mlpackage: input `images`, output `logits`, float32."""

    title, file, code = "Core ML", "model.mlpackage", "run_coreml"
    requirements = ("coremltools",)
    extra, modules = "coreml", ("coremltools",)
    unproven = (
        "Core ML runs on macOS only, so this model was converted and never run: its accuracy is not proven. Checked: "
        "the conversion went through, and the file reads back with its input and output. Run the example "
        "on a Mac before you rely on it."
    )

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        program = exported_program(plain_network(trained), trained, settings, with_preprocessing=False)
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
                # It says that this torch, and parts of itself that only macOS has, are untested and missing.
                warnings.simplefilter("ignore")
                ct: Any = importlib.import_module("coremltools")
                model = ct.convert(
                    program.run_decompositions({}),
                    convert_to="mlprogram",
                    inputs=[ct.TensorType(name="images")],
                    outputs=[ct.TensorType(name="logits")],
                    compute_precision=ct.precision.FLOAT32,
                    minimum_deployment_target=ct.target.iOS15,
                )
                model.save(str(folder / self.file))
                found = ct.utils.load_spec(str(folder / self.file)).description
        except Exception as error:  # noqa: BLE001 - coremltools raises whatever a network drives it into
            raise UserError(cannot_export(trained, "coremltools", error)) from None
        finally:
            logging.disable(logging.NOTSET)
        names = ([one.name for one in found.input], [one.name for one in found.output])
        if names != (["images"], ["logits"]):
            raise UserError(f"coremltools wrote a model of {names[0]} to {names[1]}: choose another --to")


TARGETS.register("coreml")(CoreMl())
