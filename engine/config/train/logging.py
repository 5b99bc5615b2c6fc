"""The options of section `logging`: where a run's record goes, and which further logs are written."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError
from engine.registry import nearest

FURTHER_LOGS = ("csv", "tensorboard", "wandb")
"""What logging.also may name."""


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """Where the run's record goes."""

    folder: str = option("runs", "folder that holds one subfolder per run")
    name: str = option("", "name of the run's folder; empty = recipe name and start time")
    log_level: int = option(
        1,
        "0: validate and print only at the end. 1: after each epoch, with a progress bar",
        low=0,
        high=1,
    )
    also: str = option(
        "",
        "further logs beside log.jsonl, as a list such as csv,tensorboard; known: csv (log.csv, one row per epoch), "
        "tensorboard, wandb. A log that fails is reported in one line and the run continues without it",
    )
    wandb_project: str = option("imagenet", "wandb: project to add the run to")
    wandb_mode: str = option(
        "offline",
        "wandb. offline: keep the data in the run's folder for a later `wandb sync`. online: send it during the run "
        "(log in first)",
        choices=("offline", "online"),
    )

    def also_list(self) -> list[str]:
        """The further logs, each once, in the order given. Raises UserError for an unknown name."""
        names = list(dict.fromkeys(name.strip() for name in self.also.split(",") if name.strip()))
        for name in names:
            if name not in FURTHER_LOGS:
                raise UserError(
                    f"logging.also: unknown log {name!r}{nearest(name, FURTHER_LOGS)}; choices: "
                    f"{', '.join(FURTHER_LOGS)}"
                )
        return names


def check_logging(logging: LoggingConfig) -> None:
    """Raises UserError for an unknown name in logging.also."""
    logging.also_list()
