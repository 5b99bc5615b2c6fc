"""The options of section `logging`: where a run's record goes, and what else it is told to."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError
from engine.registry import nearest

FURTHER_LOGS = ("csv", "tensorboard", "wandb")
"""What logging.also may name."""


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """Where the run's record goes."""

    folder: str = option("runs", "folder that holds one folder per run")
    name: str = option("", "the run's own folder name; empty: recipe name and start time")
    log_level: int = option(
        1, "0: validate and report only at the end; 1: after each epoch, with progress", low=0, high=1
    )
    also: str = option(
        "",
        "further logs beside log.jsonl, in the run's folder: a list such as csv,tensorboard of csv (log.csv, a row for "
        "each epoch), tensorboard and wandb; one that fails is told in a line, and the run goes on without it",
    )
    wandb_project: str = option("imagenet", "wandb: the project that the run belongs to")
    wandb_mode: str = option(
        "offline",
        "wandb; offline: kept in the run's folder, for `wandb sync`; online: sent as the run goes on (log in before)",
        choices=("offline", "online"),
    )

    def also_list(self) -> list[str]:
        """The further logs, each once, in the order given. Raises UserError for one that is not known."""
        names = list(dict.fromkeys(name.strip() for name in self.also.split(",") if name.strip()))
        for name in names:
            if name not in FURTHER_LOGS:
                raise UserError(
                    f"logging.also: {name!r} is no log known here{nearest(name, FURTHER_LOGS)}; choices: "
                    f"{', '.join(FURTHER_LOGS)}"
                )
        return names


def check_logging(logging: LoggingConfig) -> None:
    """Raises UserError for what is no list of logs."""
    logging.also_list()
