"""Two processes of one host load one file, each on cores of its own, and get what one alone would."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from engine.data.beton.reader import open_beton
from engine.data.sampling.order import train_batches
from tests.data.loaders import LAW, digest, load
from tests.train.conftest import ROOT, command

_RANK = """
import json, os, sys
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Loader
from engine.data.sampling.order import train_batches
from engine.train.ranks.group import process_group
from tests.data.loaders import LAW, digest

with process_group("cpu") as ranks:
    beton = open_beton(sys.argv[1])
    ids = train_batches(96, seed=0, epoch=0, global_batch=16, accumulation=1, rank=ranks.rank, world=2)[:, 0]
    with Loader(beton, device=ranks.device, workers=ranks.cores()) as loader:
        batches = list(loader.batches(ids, 32, LAW))
        found = {"cores": sorted(os.sched_getaffinity(0)), "digest": digest(batches),
                 "decoders": loader._pool.workers, "ids": [int(i) for batch in batches for i in batch.ids]}
    with open(f"{sys.argv[2]}/{ranks.rank}.json", "w") as file:
        json.dump(found, file)
"""


@pytest.mark.slow
def test_two_processes_share_a_file_on_disjoint_cores(betons: tuple[Path, Path], tmp_path: Path) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("a single core can't be shared out")
    path, script = betons[0], tmp_path / "rank.py"
    script.write_text(_RANK)
    subprocess.run(
        command([str(path), str(tmp_path)], ranks=2, script=str(script)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=True,
    )
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert sorted(ranks[0]["cores"] + ranks[1]["cores"]) == allowed
    assert sorted(ranks[0]["ids"] + ranks[1]["ids"]) == list(range(96))
    for rank, found in enumerate(ranks):
        assert found["decoders"] == len(found["cores"])
        ids = train_batches(96, seed=0, epoch=0, global_batch=16, accumulation=1, rank=rank, world=2)[:, 0]
        assert found["digest"] == digest(load(open_beton(path), list(ids), 32, LAW))
