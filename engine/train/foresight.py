"""What a later stage will need, looked at before the first begins: a typing error should not wait for its end."""

from pathlib import Path

from engine.config.schema import TrainConfig
from engine.data.beton import open_beton
from engine.data.holdout import held_out
from engine.data.pair import agree_on_classes
from engine.train.batching import plans_by_resolution
from engine.train.distributed import Ranks
from engine.train.network import bare_network
from engine.train.outlook import Ahead, epochs_ahead
from engine.train.precision import choose_precision


def foresee(config: TrainConfig, ranks: Ranks) -> list[Ahead]:
    """The stage's epochs. Raises UserError for data, image sides or batches with which the run can't begin.

    Its weights may be to come.
    """
    train, val = (open_beton(Path(path)) for path in (config.data.train_dataset, config.data.val_dataset))
    classes = agree_on_classes(train, val)
    held = held_out(train.num_samples, config.data.holdout, config.training.seed)
    num_train = train.num_samples - len(held)
    plans = plans_by_resolution(config, ranks.world, num_train)
    choose_precision(config.training.precision, ranks.device)
    bare_network(config, classes.count)
    return epochs_ahead(config, plans, num_train)
