"""Whole conversions in the test's own process, and what they leave."""

from pathlib import Path
from typing import Any

from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert
from engine.data.sources import Split

PARTS = [f"{split}.beton.partial{end}" for split in ("train", "val") for end in ("", ".journal")]


def convert_here(
    source: Path | str, folder: Path, rules: dict[str, str] | None = None, **output: Any
) -> dict[Split, Path]:
    """Convert in this process unless workers are asked for; where both files are."""
    options: dict[str, Any] = {"num_workers": 1} | output
    return convert(
        WriteConfig(
            source=SourceConfig(path=str(source)),
            rules=RulesConfig(**(rules or {})),  # type: ignore[arg-type]
            output=OutputConfig(folder=str(folder), **options),
        )
    )


def converted(
    source: Path | str, folder: Path, rules: dict[str, str] | None = None, **output: Any
) -> dict[Split, bytes]:
    """Convert as `convert_here`, in the source's order; the content of both files."""
    options: dict[str, Any] = {"order": "source"} | output
    return {
        split: path.read_bytes() for split, path in convert_here(source, folder, rules, **options).items()
    }


def names(folder: Path) -> list[str]:
    """What lies in the folder."""
    return sorted(path.name for path in folder.iterdir())
