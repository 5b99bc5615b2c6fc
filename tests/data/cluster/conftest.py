"""Conversions in shards: their configuration, and an executor that converts in the test's own process."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from engine.config.executor import RunConfig
from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.cluster import sharded_conversion
from engine.data.cluster.attempt import Attempt
from engine.data.cluster.shard_process import convert_shard
from engine.errors import UserError


def in_shards(
    source: Path, out: Path, rules: dict[str, Any] | None = None, order: str = "shuffled", **run: Any
) -> WriteConfig:
    """A conversion in 3 shards, unless `run` says otherwise, with one encoding process for each."""
    return WriteConfig(
        source=SourceConfig(path=str(source)),
        rules=RulesConfig(**(rules or {})),
        output=OutputConfig(folder=str(out), num_workers=1, order=order),
        run=RunConfig(**({"shards": 3} | run)),
    )


class Here:
    """An executor: one attempt at each call of `poll`, in this process."""

    slots, pause = 1, 0.0

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.made: list[str] = []
        """Shards of all attempts."""
        self.before: Callable[[Attempt], str] = lambda attempt: ""
        """Called before an attempt; where it returns a reason, the attempt ends with it."""

    def __enter__(self) -> "Here":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.attempts.clear()

    def start(self, attempts: Sequence[Attempt]) -> None:
        """See Executor."""
        self.attempts += attempts

    def poll(self) -> Iterable[tuple[str, str]]:
        """See Executor."""
        attempt = self.attempts.pop(0)
        self.made.append(attempt.shard)
        if why := self.before(attempt):
            return [(attempt.shard, why)]
        try:
            convert_shard(attempt)
        except UserError as error:
            attempt.open().fail(attempt.shard, str(error))
        return [(attempt.shard, "")]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    """The executor of every conversion in shards of the test."""
    executor = Here()
    monkeypatch.setattr(sharded_conversion, "open_executor", lambda config: executor)
    return executor
