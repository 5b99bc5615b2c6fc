"""`python -m engine checkpoint FILE`: what a file of weights or a checkpoint holds, and a changed copy of it."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from engine.errors import UserError
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.checkpoint_file import EpochState
from engine.train.weights import AVERAGED, COUNTER, RAW, is_state, state_key, without_prefix

_CHANGES = (
    "use_ema",
    "strip_ema",
    "strip_optimizer",
    "weights_only",
    "reset_schedule",
    "strip_prefix",
    "add_prefix",
)


_OF_PLACE = ("epoch", "step", "best")


def main(argv: Sequence[str]) -> int:
    """Print what the file holds, or write the changed copy; 0 when done. Raises UserError."""
    asked = _parser().parse_args(argv)
    content = checkpoint_file.load(asked.file)
    if asked.output is None:
        _refuse(asked, _CHANGES, "would be changed: say where to with --output FILE")
        for name, value in summary(content, whole=asked.shapes):
            print(f"{name:<12} {value}")
        return 0
    if asked.output.exists():
        raise UserError(f"--output {asked.output} exists: choose another name or remove it")
    checkpoint_file.save(asked.output, rewritten(content, asked))
    print(f"wrote {asked.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine checkpoint", description=__doc__)
    parser.add_argument(
        "file", type=Path, help="a run's weights.pt or checkpoint; torchvision's or timm's too"
    )
    parser.add_argument("--shapes", action="store_true", help="every weight's name, shape and type too")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the copy that the options below describe"
    )
    parser.add_argument("--use-ema", action="store_true", help="put the moving average in the weights' place")
    parser.add_argument("--strip-ema", action="store_true", help="leave the moving average out")
    parser.add_argument("--strip-optimizer", action="store_true", help="leave the optimizer's state out")
    parser.add_argument("--weights-only", action="store_true", help="a plain state_dict, and nothing else")
    parser.add_argument(
        "--reset-schedule",
        action="store_true",
        help="count no epoch as done: its schedule begins anew "
        "where the copy is checkpoints/epoch_001_step_000000.pt of a run's folder, alone",
    )
    parser.add_argument(
        "--strip-prefix", metavar="TEXT", default="", help="take TEXT (such as `module.`) off all names"
    )
    parser.add_argument("--add-prefix", metavar="TEXT", default="", help="put TEXT before all names")
    return parser


def summary(content: Mapping[str, Any], *, whole: bool = False) -> list[tuple[str, str]]:
    """Name and text of each line; with `whole` a line for every weight."""
    if is_state(content):
        rows, states = [("kind", "weights alone")], {"weights": content}
    else:
        keys = [key for key in (*RAW, *AVERAGED) if is_state(content.get(key))]
        rows = [("kind", "checkpoint of a run" if "config" in content else "checkpoint")]
        rows.append(("keys", ", ".join(map(str, content))))
        states = {key: content[key] for key in keys}
    rows += _place(content)
    for key, value in content.items():
        if isinstance(value, (bool, int, float, str)) and not (_is_of_run(content) and key in _OF_PLACE):
            rows.append((str(key), str(value)))
    config = content.get("config")
    if isinstance(config, dict) and config.get("model", {}).get("arch"):
        rows.append(("network", config["model"]["arch"]))
    for key, state in states.items():
        rows.append((key, _describe(state)))
        rows += [(f"  {name}", f"{_shape(value)} {_type(value)}") for name, value in state.items() if whole]
    return rows


def _place(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far a run was, in the words that it tells it in itself."""
    if not _is_of_run(content):
        return []
    place = str(EpochState(epoch=content["epoch"], step=content["step"]))
    # It was saved before the validation of what it holds.
    best = [("best before", f"{100 * content['best']:.2f}% top-1")] if content.get("best") else []
    return [("saved after", place), *best]


def _is_of_run(content: Mapping[str, Any]) -> bool:
    return "config" in content and all(isinstance(content.get(key), int) for key in ("epoch", "step"))


def _describe(state: Mapping[str, torch.Tensor]) -> str:
    """Counts; what batch-norm gathers (statistics and their counters) is told apart by its names."""
    gathered = ("running_mean", "running_var", "num_batches_tracked", COUNTER)
    learnt = [value for name, value in state.items() if not name.endswith(gathered)]
    parameters = sum(value.numel() for value in learnt)
    types = ", ".join(dict.fromkeys(_type(value) for value in learnt))
    plain, names = without_prefix(state), [name for name in state if name != COUNTER]
    prefix = names[-1].removesuffix(list(plain)[-1])
    ends = f"{names[0]} {_shape(state[names[0]])} to {names[-1]} {_shape(state[names[-1]])}"
    text = f"{len(state)} tensors, {parameters:,} parameters, {types}; {ends}"
    but = f" but {COUNTER}" if COUNTER in state else ""
    return f"{text}; every name{but} begins with {prefix}" if prefix else text


def _shape(value: torch.Tensor) -> str:
    return "x".join(map(str, value.shape)) or "one number"


def _type(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def rewritten(content: Mapping[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """The changed copy. Raises UserError for a change that the file has no place for."""
    if is_state(content):
        _refuse(asked, ("use_ema", "strip_ema", "strip_optimizer", "reset_schedule"), "holds weights alone")
        return _renamed(content, asked)
    copy = dict(content)
    averaged, raw = state_key(content, AVERAGED), state_key(content, RAW)
    if averaged is None:
        _refuse(asked, ("use_ema", "strip_ema"), "holds no moving average")
    if raw is None and not asked.use_ema:
        _refuse(asked, ("weights_only",), "holds no weights but perhaps an average: see --use-ema")
    if "epoch" not in content:
        _refuse(asked, ("reset_schedule",), "counts no epochs")
    if asked.use_ema and averaged:
        raw = raw or RAW[0]
        copy[raw] = without_prefix(content[averaged])
    for key in (raw, averaged):
        if key:
            copy[key] = _renamed(copy[key], asked)
    if asked.weights_only and raw:
        return dict(copy[raw])
    if asked.reset_schedule:
        copy.update(asdict(EpochState()), elapsed=0.0, best=0.0)
    left_out = [averaged] if asked.strip_ema else []
    left_out += ["optimizer", "scaler"] if asked.strip_optimizer else []
    return {key: value for key, value in copy.items() if key not in left_out}


def _refuse(asked: argparse.Namespace, options: tuple[str, ...], reason: str) -> None:
    """Raises UserError when one of these options was given."""
    for name in options:
        if getattr(asked, name):
            raise UserError(f"--{name.replace('_', '-')}: {asked.file} {reason}")


def _renamed(state: Mapping[str, torch.Tensor], asked: argparse.Namespace) -> dict[str, torch.Tensor]:
    """`state` with other prefixes."""
    bare = next((name for name in state if not name.startswith(asked.strip_prefix)), None)
    if bare is not None:
        raise UserError(f"--strip-prefix: {bare} in {asked.file} does not begin with {asked.strip_prefix}")
    return {
        f"{asked.add_prefix}{name.removeprefix(asked.strip_prefix)}": value for name, value in state.items()
    }
