"""Every option of `train_imagenet.py`: its name, type, default, limits and help text.

Section and option names are ffcv-imagenet's where it has them, so that its users feel at home. Three
things are meant differently, because there they made runs hard to compare: `training.batch_size` is the
global batch, resolution ramps are shares of the run, and an option that is not known is an error.
"""

from dataclasses import dataclass, field

from engine.config.options import check_config, option
from engine.config.train.augmentation import AugmentationConfig as AugmentationConfig
from engine.config.train.augmentation import check_augmentation
from engine.config.train.checkpoint import CheckpointConfig as CheckpointConfig
from engine.config.train.checkpoint import check_checkpoint
from engine.config.train.logging import LoggingConfig as LoggingConfig
from engine.config.train.logging import check_logging
from engine.config.train.loss import LossConfig as LossConfig
from engine.config.train.loss import check_loss
from engine.config.train.model import ModelConfig as ModelConfig
from engine.config.train.model import check_model
from engine.config.train.reference import ReferenceConfig as ReferenceConfig
from engine.config.train.reference import check_reference
from engine.config.train.schedule import LrConfig as LrConfig
from engine.config.train.schedule import ResolutionConfig as ResolutionConfig
from engine.config.train.schedule import check_lr, check_resolution
from engine.config.train.training import TrainingConfig as TrainingConfig
from engine.config.train.training import check_training
from engine.config.train.validation import ValidationConfig as ValidationConfig
from engine.config.train.validation import check_validation
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The two data files and how they are read."""

    train_dataset: str = option("", ".beton file to train on")
    val_dataset: str = option("", ".beton file to validate on")
    num_workers: int = option(
        0, "decoding threads per process; 0: this process's share of the cores", low=0, high=1024
    )
    in_memory: bool = option(
        True, "read each file into the system's page cache at the start, where it fits into memory"
    )
    order: str = option(
        "random",
        "order of training; random: shuffled as a whole; pages: for a file larger than memory, shuffled pages "
        "of it are read a window at a time and their images shuffled in it, each image once an epoch as well",
        choices=("random", "pages"),
    )
    window_mb: int = option(
        2048,
        "order pages: MiB of the file that are shuffled together; twice as much is held in memory on each host",
        low=8,
        high=2**20,
    )
    decoder: str = option(
        "auto",
        "cpu: images are decoded and resized on the CPU; packed: just the crops' bytes are copied to the device, "
        "which does the rest (raw and yuv420 files); auto: packed where a GPU can, else cpu",
        choices=("auto", "cpu", "packed"),
    )
    verify: str = option(
        "first-epoch",
        "when an image's checksum is compared, in files that have them; first-epoch: when a process first uses it",
        choices=("first-epoch", "always", "never"),
    )
    corrupt: str = option(
        "stop",
        "a corrupt image ends the run (stop), or is left out of its batch, named and counted (skip)",
        choices=("stop", "skip"),
    )
    holdout: float = option(
        0.0,
        "share of the training images, drawn with training.seed, that is not trained on, but searched by "
        "validation.search",
        low=0,
        high=0.5,
    )
    replay: int = option(
        0,
        "the first so many batches of each epoch are made once and then given again and again: what the step reaches "
        "without the data path. No result: nothing is validated or saved. 0: off",
        low=0,
        high=10_000,
    )
    pin_cores: bool = option(
        True,
        "several processes on a host keep to cores of their own, near their GPU; false: the system decides",
    )


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """What the run promises. The verdict is measured, and a missed target gives exit code 1."""

    target_top1: float = option(
        0.0, "accuracy to reach, as a share (0.92 is 92%); 0: no target", low=0, high=1
    )
    minutes: float = option(0.0, "minutes of training and validation to reach it in; 0: no limit", low=0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run. Constructing it checks every value and every combination (raises UserError)."""

    model: ModelConfig = field(default_factory=ModelConfig)
    resolution: ResolutionConfig = field(default_factory=ResolutionConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    lr: LrConfig = field(default_factory=LrConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)

    def __post_init__(self) -> None:
        check_config(self)
        _check_paths(self)
        check_model(self.model)
        check_resolution(self.resolution, self.training.epochs)
        if not self.training.eval_only:
            check_lr(self.lr, self.training.epochs)
        check_training(self.training)
        check_augmentation(self.augmentation)
        check_loss(self.loss)
        check_checkpoint(self.checkpoint)
        check_logging(self.logging)
        check_reference(self.reference)
        check_validation(self.validation, eval_only=self.training.eval_only, holdout=self.data.holdout)
        _check_rest(self)


def _check_paths(config: TrainConfig) -> None:
    for key in ("train_dataset", "val_dataset"):
        searched = bool(config.validation.search)
        needless = key == "train_dataset" and config.training.eval_only and not searched
        if not getattr(config.data, key) and not needless:
            raise UserError(
                f"data.{key} is not set: pass --data.{key}=FILE, a file that write_dataset.py wrote"
            )
    if config.training.eval_only and not config.model.weights:
        raise UserError("training.eval_only needs weights to validate: pass --model.weights=RUN/weights.pt")
    if config.training.eval_only and config.training.resume:
        raise UserError("training.eval_only and training.resume exclude each other: drop one of them")
    if config.training.resume not in ("", "auto") and config.model.weights:
        raise UserError("training.resume brings its own weights: drop model.weights")
    if config.training.resume == "auto" and not config.logging.name:
        raise UserError(
            "training.resume=auto needs logging.name, the name by which the run is found again: set it"
        )


def _check_rest(config: TrainConfig) -> None:
    if config.augmentation.repeats > 1 and config.data.order == "pages":
        raise UserError(
            "augmentation.repeats goes back to the images of a batch, which data.order pages may have released: use "
            "data.order random, or drop the repeats"
        )
    _check_replay(config)
    if config.budget.minutes and not config.budget.target_top1:
        raise UserError("budget.minutes without budget.target_top1: say what is to be reached in that time")


def _check_replay(config: TrainConfig) -> None:
    """A replay says how fast the step is, and must not pass for a run that learnt something."""
    if not config.data.replay:
        return
    asked = {
        "budget.target_top1": config.budget.target_top1,
        "training.eval_only": config.training.eval_only,
        "training.resume": config.training.resume,
        "training.first_stage": config.training.first_stage > 1,
    }
    for key, value in asked.items():
        if value:
            raise UserError(
                f"data.replay measures speed and gives no result, so that {key} means nothing: drop one of them"
            )
