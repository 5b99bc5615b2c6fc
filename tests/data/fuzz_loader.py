"""Run by test_fuzz_loader.py as a process, since what is looked for may end it: damaged files through the loader.

Arguments: the file for the findings (JSON lines), how many damaged copies of each, and good files. A copy of a file
with checksums must be refused, or each sample it delivers is the good file's, under its own label. Without checksums
damage to pixels can't be told; then only crashes, hangs and unreadable messages are looked for.
"""

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings

from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.loader import HostBatch, Loader
from engine.data.storage.packing import COLUMNS, GEOMETRY_COLUMNS, OFFSET, ROWS
from engine.errors import UserError
from tests.data.loaders import CPU, LAW
from tests.data.mutations import Pieces, damaged, write_pieces

_RESOLUTION = 12

# Sample -> its label, and its pixels or its packed bytes and geometry.
Delivered = dict[int, tuple[int, bytes]]


def deliver(beton: Beton, decoder: str) -> Delivered:
    """All samples of a file as the loader gives them, without those that it leaves out."""
    ids = [np.arange(beton.num_samples)]
    with Loader(
        beton, device=CPU, workers=1, in_memory=False, batches_ahead=0, decoder=decoder, corrupt="skip"
    ) as loader:
        (batch,) = loader.host_batches(ids, _RESOLUTION, LAW)
        for line in loader.new_skips():
            assert "\n" not in line and str(beton.path) in line
        labels = batch.labels.tolist()
        return {
            int(sample): (labels[row], _content(batch, row, beton)) for row, sample in enumerate(batch.ids)
        }


def _content(batch: HostBatch, row: int, beton: Beton) -> bytes:
    if batch.geometry is None:
        return batch.pixels[row].numpy().tobytes()
    plan = batch.geometry[row].numpy()
    size = int(plan[ROWS] * plan[COLUMNS] * (1.5 if beton.storage == "yuv420" else 3))
    start = int(plan[OFFSET])
    # The place in the buffer is that of the batch, not of the sample.
    rest = np.delete(plan, OFFSET)
    assert len(rest) == GEOMETRY_COLUMNS - 1
    return rest.tobytes() + batch.pixels[start : start + size].numpy().tobytes()


def hunt(good: Path, examples: int, copy: Path) -> dict[str, object]:
    """How often what came of it, and what was wrong."""
    beton = open_beton(good)
    decoders = ["cpu", "packed"] if beton.storage in ("raw", "yuv420") else ["cpu"]
    expected = {decoder: deliver(beton, decoder) for decoder in decoders}
    assert all(len(delivered) == beton.num_samples for delivered in expected.values())
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(good.read_bytes()))
    def is_refused_or_delivers_what_was_written(content: Pieces) -> None:
        write_pieces(copy, content)
        try:
            found = open_beton(copy)
        except UserError as error:
            assert "\n" not in str(error) and str(copy) in str(error)
            outcomes["refused"] += 1
            return
        if beton.checksums is not None and found.checksums is None:
            outcomes["checksums lost"] += 1
        for decoder in decoders:
            try:
                delivered = deliver(found, decoder)
            except UserError as error:
                assert "\n" not in str(error) and str(copy) in str(error)
                outcomes["none delivered"] += 1
                continue
            outcomes["all delivered" if len(delivered) == beton.num_samples else "some left out"] += 1
            if found.checksums is None:
                continue
            for sample, content_of_it in delivered.items():
                if content_of_it != expected[decoder].get(sample):
                    wrong.append(f"{decoder}: sample {sample} in example {sum(outcomes.values())}")

    is_refused_or_delivers_what_was_written()
    return {"outcomes": outcomes, "wrong": wrong[:5]}


def main() -> None:
    """Hunt in each file, and write down what was found."""
    findings, examples = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.NamedTemporaryFile(suffix=".beton") as copy, findings.open("w") as file:
        for good in sys.argv[3:]:
            print(json.dumps(hunt(Path(good), examples, Path(copy.name))), file=file)


if __name__ == "__main__":
    main()
