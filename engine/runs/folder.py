"""The names of all that lies in a run's folder, and how its checkpoints and stages are found.

    runs/NAME/
        config.yaml        the resolved options; -C with it repeats the run
        log.jsonl          a line for the start, each 50 steps, each epoch and the result (log_schema.py)
        .lock              held by the process that writes the log
        report.html        drawn from the two above
        record.json        what came out, of a finished training run (run_record.py)
        checkpoints/       epoch_003_step_000120.pt, ...; last.pt and best.pt are second names of two of them
        weights.pt         the trained weights; weights_ema.pt: their moving average, where one is kept
        model.safetensors  those of the two that the verdict is about, with all that is known of them (model_card.py)
        evaluation.json    of a run that only validates
        mistakes.html      what it gets wrong, once asked for (engine/cli/mistakes.py)
        log.csv            these three only with logging.also
        tensorboard/
        wandb/

A run of several stages holds stages.yaml, the whole recipe, and one such folder for each stage: stage1/, stage2/, ...
"""

import re
from pathlib import Path

from engine.config import stages
from engine.errors import describe_os_error

CONFIG = "config.yaml"
LOG = "log.jsonl"
LOG_LOCK = ".lock"
REPORT = "report.html"
RECORD = "record.json"
STAGES = "stages.yaml"
EVALUATION = "evaluation.json"
MISTAKES = "mistakes.html"
MODEL = "model.safetensors"

CHECKPOINTS = "checkpoints"
LAST, BEST = "last.pt", "best.pt"
DAMAGED_SUFFIX = ".damaged"
"""Of a checkpoint that could not be read."""

CSV_TABLE = "log.csv"
TENSORBOARD = "tensorboard"
TENSORBOARD_STEPS = "steps"
"""Within it: TensorBoard shows it as a run of its own."""
WANDB = "wandb"

# Recipes of several stages name these too, and stand below this layer.
WEIGHTS, WEIGHTS_EMA, stage_folder = stages.WEIGHTS, stages.WEIGHTS_EMA, stages.stage_folder

_CHECKPOINT = re.compile(r"epoch_(\d+)_step_(\d+)\.pt")


def checkpoint_name(epoch: int, step: int) -> str:
    """The file name of a checkpoint after `step` steps of `epoch` (from 1)."""
    return f"epoch_{epoch:03d}_step_{step:06d}.pt"


def is_checkpoint(name: str) -> bool:
    """Whether a file of this name is a checkpoint that a run can be resumed from."""
    return _CHECKPOINT.fullmatch(name) is not None


def checkpoint_place(name: str) -> tuple[int, ...]:
    """Epoch and step in the name of a checkpoint."""
    return tuple(map(int, re.findall(r"\d+", name)))


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints of the run in `folder`, the newest first; none where there is no such folder.

    Raises UserError for a folder that can't be read.
    """
    try:
        found = [path for path in (folder / CHECKPOINTS).iterdir() if is_checkpoint(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise describe_os_error(error, folder / CHECKPOINTS, "look into") from None
    return sorted(found, key=lambda path: checkpoint_place(path.name), reverse=True)


def stages_with(folder: Path, name: str) -> list[Path]:
    """The folders of the stages of the run in `folder` that hold a file `name`, in the order of their numbers."""
    found = [path.parent for path in folder.glob(f"{stage_folder('*')}/{name}")]
    return sorted(found, key=lambda path: (len(path.name), path.name))
