"""Back-pressure: the host never gets more than a few batches ahead of the device, and never waits for the newest."""

from collections.abc import Callable

import pytest
import torch

from engine.data.beton.reader import Beton, Storage
from engine.data.loading.in_flight import MOST_IN_FLIGHT, InFlight
from engine.data.loading.loader import Loader
from tests.data.loaders import LAW, ids_of


class Device:
    """Stands in for a GPU that does work only while the host waits for it, in order."""

    def __init__(self) -> None:
        self.given = self.done = 0
        self.most = 0

    def event(self) -> "Event":
        return Event(self, self.given)

    def give(self) -> None:
        self.given += 1
        self.most = max(self.most, self.given - self.done)


class Event:
    """Passes when the batches given before it are done."""

    def __init__(self, device: Device, number: int) -> None:
        self._device, self._number = device, number

    def synchronize(self) -> None:
        self._device.done = max(self._device.done, self._number)


@pytest.mark.parametrize("most", [1, 2, MOST_IN_FLIGHT])
def test_batches_in_flight_stay_within_the_limit(most: int) -> None:
    device, in_flight = Device(), InFlight(most)
    for count in range(20):
        in_flight.admit(device.event())
        assert device.given - device.done == min(count, most - 1), "it waits for no more than it has to"
        device.give()
    assert device.most == most


@pytest.mark.gpu
def test_gpu_loader_waits_for_a_slow_device(own: Callable[[Storage], Beton]) -> None:
    beton = own("jpeg")
    with Loader(beton, device=torch.device("cuda"), workers=2) as loader:
        passed: list[torch.cuda.Event] = []
        for batch in loader.batches(ids_of(beton, 4) * 3, 32, LAW):
            assert sum(not event.query() for event in passed) <= MOST_IN_FLIGHT - 1
            torch.cuda._sleep(20_000_000)
            batch.images.sum()
            passed.append(torch.cuda.Event())
            passed[-1].record()
        assert len(passed) > 2 * MOST_IN_FLIGHT
