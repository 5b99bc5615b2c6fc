"""Work in turns within one process."""

import pytest
import torch

from benchmarks.harness import turns
from benchmarks.harness.turns import Work, take_turns

CPU = torch.device("cpu")


class Clock:
    """A clock that only what is worked on moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)
    return clock


def test_sides_take_turns_and_preparing_is_not_timed(clock: Clock) -> None:
    notes: list[str] = []

    def work(name: str, seconds: float) -> Work:
        def call() -> None:
            clock.now += seconds
            notes.append(name)

        def ready() -> None:
            clock.now += 100
            notes.append(f"{name} ready")

        return Work(call=call, ready=ready)

    told: list[str] = []
    taken = take_turns([work("a", 0.5), work("b", 2.0)], CPU, rounds=5, seconds=1.0, tell=told.append)
    assert taken == [[0.5] * 5, [2.0] * 5]
    turn = ["a ready", "a", "a ready", "a", "b ready", "b"]
    assert notes[-30:] == turn * 5, "two calls of a take a round's second; one of b takes more"
    assert told == ["500/2e+03"] * 5


@pytest.mark.gpu
def test_gpu_time_is_measured_by_events() -> None:
    matrix = torch.randn(2048, 2048, device="cuda")
    once, thrice = take_turns(
        [Work(call=lambda: matrix @ matrix), Work(call=lambda: matrix @ (matrix @ (matrix @ matrix)))],
        matrix.device,
        rounds=5,
        seconds=0.05,
    )
    assert len(once) == len(thrice) == 5
    assert min(once) > 0 and min(thrice) > 0
