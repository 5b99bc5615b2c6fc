"""Commands over stages and records: each file has `main(argv) -> exit code` and is imported only when it runs."""

import importlib
from collections.abc import Callable, Sequence

COMMANDS = {
    "all": "run a short version of each stage against every peer, and write a report",
    "gate": "run short versions of stages and compare them with the committed records",
    "report": "draw records as one page: bars, curves, tables",
    "gpu": "all that needs a GPU, in two parts for a machine that is lent for minutes",
    "figures": "write the table of docs/benchmarks.md from the committed records",
    "cluster": "memory, files and time of a conversion on many hosts, from measured rates",
}

# Old name -> new name, for one release.
RENAMED = {"readme": "figures"}


def entry(command: str) -> Callable[[Sequence[str]], int]:
    """The command's `main`, imported now."""
    run: Callable[[Sequence[str]], int] = importlib.import_module(f"{__name__}.{command}").main
    return run
