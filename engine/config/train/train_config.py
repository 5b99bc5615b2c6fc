"""The whole configuration of `train_imagenet.py`: its sections, and the checks that span several of them.

Section and option names are ffcv-imagenet's where it has them, so that its users feel at home. Three
things differ, because there they made runs hard to compare: `training.batch_size` is the global batch,
resolution ramps are fractions of the run, and an unknown option is an error.
"""

from dataclasses import dataclass, field

from engine.config.options import check_config
from engine.config.train.augmentation import AugmentationConfig as AugmentationConfig
from engine.config.train.augmentation import check_augmentation
from engine.config.train.budget import BudgetConfig as BudgetConfig
from engine.config.train.budget import check_budget
from engine.config.train.checkpoint import CheckpointConfig as CheckpointConfig
from engine.config.train.checkpoint import check_checkpoint
from engine.config.train.data import DataConfig as DataConfig
from engine.config.train.data import check_data
from engine.config.train.logging import LoggingConfig as LoggingConfig
from engine.config.train.logging import check_logging
from engine.config.train.loss import LossConfig as LossConfig
from engine.config.train.loss import check_loss
from engine.config.train.model import ModelConfig as ModelConfig
from engine.config.train.model import check_model
from engine.config.train.plan import PlanConfig as PlanConfig
from engine.config.train.plan import check_plan
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
    plan: PlanConfig = field(default_factory=PlanConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)

    def __post_init__(self) -> None:
        check_config(self)
        _check_paths(self)
        check_data(self.data)
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
        check_budget(self.budget)
        check_plan(self.plan)
        check_validation(self.validation, eval_only=self.training.eval_only, holdout=self.data.holdout)
        _check_repeats(self)
        _check_resident(self)
        _check_replay(self)


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
    if config.model.ensemble and not config.training.eval_only:
        raise UserError(
            "model.ensemble is of trained weights: set training.eval_only=true and model.weights, or drop it"
        )
    if config.training.eval_only and config.training.resume:
        raise UserError("training.eval_only and training.resume exclude each other: drop one of them")
    if config.training.resume not in ("", "auto") and config.model.weights:
        raise UserError("training.resume continues with the run's own weights: drop model.weights")
    if config.training.resume == "auto" and not config.logging.name:
        raise UserError("training.resume=auto finds the run by its name: set logging.name")


def _check_repeats(config: TrainConfig) -> None:
    if config.data.balance != "none" and config.data.order == "pages":
        raise UserError(
            "data.balance reads images again, which data.order=pages may already have released: use data.order=random, "
            "or loss.class_weights instead of data.balance"
        )
    if config.data.balance != "none" and config.augmentation.repeats > 1:
        raise UserError(
            "data.balance and augmentation.repeats both say how often an image is used: drop one of them"
        )
    if config.augmentation.repeats > 1 and config.data.order == "pages":
        raise UserError(
            "augmentation.repeats reads an image again, which data.order=pages may already have released: use "
            "data.order=random, or drop augmentation.repeats"
        )


def _check_resident(config: TrainConfig) -> None:
    if config.data.resident == "on" and config.data.decoder == "cpu":
        raise UserError(
            "data.resident=on cuts crops on the device, and data.decoder=cpu decodes them on the CPU: drop one of them"
        )


def _check_replay(config: TrainConfig) -> None:
    """A replay measures the speed of the step; it must not be mistaken for a run with a result."""
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
                f"data.replay measures speed and gives no result, so {key} has no effect: drop one of them"
            )
