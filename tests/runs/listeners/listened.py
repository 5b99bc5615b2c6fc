"""A run that is logged, without training; and what W&B keeps of an offline run, read back."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.config.train.train_config import DataConfig, LoggingConfig, TrainConfig, TrainingConfig
from engine.report.run_display import RunDisplay
from engine.runs.run_writer import RunWriter

FACTS = {"device": "cpu", "precision": "fp32", "world_size": 1, "resumed_at_epoch": None}

# LevelDB's log format, which W&B's files follow after a header of 7 bytes: blocks of 32 KiB, in each of them parts of
# records, a part with its checksum (4 bytes), length (2) and kind (1: whole, 2: first, 3: middle, 4: last).
_HEADER, _BLOCK = 7, 2**15


def open_record(
    folder: Path, also: str, *, name: str = "one", resume: str = "", begun: bool = False
) -> RunWriter:
    """The record of a run in `folder`/`name` that is told to the logs in `also`; `begun`: it has a log already."""
    config = TrainConfig(
        data=DataConfig(train_dataset="train.beton", val_dataset="val.beton"),
        logging=LoggingConfig(folder=str(folder), name=name, log_level=0, also=also),
        training=TrainingConfig(resume=resume, weight_decay=5e-5),
    )
    return RunWriter.open(config, "demo", writes=True, display=RunDisplay(), begun=begun)


def wandb_records(folder: Path) -> list[Any]:
    """What the offline runs below `folder` hold, as W&B's own messages, oldest file first."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    paths = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    return [Record.FromString(record) for path in paths for record in _records(path.read_bytes())]


def history_of(records: list[Any]) -> list[dict[str, Any]]:
    """The rows that were logged, without W&B's own columns."""
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


def _records(content: bytes) -> Iterator[bytes]:
    at, parts = _HEADER, b""
    while at + 7 <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        if not kind:
            at += left
            continue
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""
