"""`python -m engine checkpoint FILE`: the content of a weights file or checkpoint, or a changed copy of it."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError

if TYPE_CHECKING:
    import torch

_DESCRIPTION = """Show the content of a weights file or checkpoint; with --output, write a copy with the changes below.

The file may be a run's weights.pt or checkpoint, or weights of torchvision or timm. The original is never changed."""

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
    """Print the content of the file, or write the changed copy; returns 0. Raises UserError."""
    asked = _parser().parse_args(argv)
    with importing():
        from engine.train.checkpoints import checkpoint_file

    content = checkpoint_file.load(asked.file)
    if asked.output is None:
        _refuse(asked, _CHANGES, "would be changed: name the copy with --output FILE")
        for name, value in summary(content, whole=asked.shapes):
            print(f"{name:<12} {value}")
        return EXIT_DONE
    if asked.output.exists():
        raise UserError(f"--output {asked.output} exists: choose another name, or remove it")
    checkpoint_file.save(asked.output, rewritten(content, asked))
    print(f"wrote {asked.output}")
    return EXIT_DONE


def _parser() -> CommandParser:
    parser = CommandParser("python -m engine checkpoint", _DESCRIPTION, "FILE [options]")
    parser.add_argument("file", type=Path, metavar="FILE", help="a weights file or checkpoint")
    parser.add_argument(
        "--shapes", action="store_true", help="also list name, shape and type of every weight"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write a copy, changed by the options below"
    )
    parser.add_argument(
        "--use-ema", action="store_true", help="replace the weights by their moving average (EMA)"
    )
    parser.add_argument("--strip-ema", action="store_true", help="leave out the moving average")
    parser.add_argument("--strip-optimizer", action="store_true", help="leave out the optimizer's state")
    parser.add_argument(
        "--weights-only", action="store_true", help="write a plain state_dict and nothing else"
    )
    parser.add_argument(
        "--reset-schedule",
        action="store_true",
        help="set the epoch to 0: a run resumed from the copy (saved as the only checkpoint of a run's folder, "
        "checkpoints/epoch_001_step_000000.pt) starts its schedule from the beginning",
    )
    parser.add_argument(
        "--strip-prefix",
        metavar="TEXT",
        default="",
        help="remove TEXT (such as module.) from the start of every name",
    )
    parser.add_argument("--add-prefix", metavar="TEXT", default="", help="put TEXT in front of every name")
    return parser


def summary(content: Mapping[str, Any], *, whole: bool = False) -> list[tuple[str, str]]:
    """Name and text of each line of the summary; with `whole` also a line for every weight."""
    with importing():
        from engine.train.checkpoints.weights_file import AVERAGED, RAW, classes_in, is_state

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
    if names := classes_in(content):
        rows.append(("classes", f"{len(names):,}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"))
    for key, state in states.items():
        rows.append((key, _describe(state)))
        rows += [(f"  {name}", f"{_shape(value)} {_type(value)}") for name, value in state.items() if whole]
    return rows


def _place(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far the run had come, in the words of its own log."""
    if not _is_of_run(content):
        return []
    from engine.train.checkpoints.checkpoint_file import EpochState

    place = str(EpochState(epoch=content["epoch"], step=content["step"]))
    # The checkpoint was saved before its weights were validated.
    best = [("best before", f"{100 * content['best']:.2f}% top-1")] if content.get("best") else []
    return [("saved after", place), *best]


def _is_of_run(content: Mapping[str, Any]) -> bool:
    return "config" in content and all(isinstance(content.get(key), int) for key in ("epoch", "step"))


def _describe(state: "Mapping[str, torch.Tensor]") -> str:
    """Number of tensors and parameters; batch norm's statistics, known by their names, are not parameters."""
    from engine.train.checkpoints.weights_file import COUNTER, without_prefix

    gathered = ("running_mean", "running_var", "num_batches_tracked", COUNTER)
    learnt = [value for name, value in state.items() if not name.endswith(gathered)]
    parameters = sum(value.numel() for value in learnt)
    types = ", ".join(dict.fromkeys(_type(value) for value in learnt))
    plain, names = without_prefix(state), [name for name in state if name != COUNTER]
    prefix = names[-1].removesuffix(list(plain)[-1])
    ends = f"{names[0]} {_shape(state[names[0]])} to {names[-1]} {_shape(state[names[-1]])}"
    text = f"{len(state)} tensors, {parameters:,} parameters, {types}; {ends}"
    but = f" but {COUNTER}" if COUNTER in state else ""
    return f"{text}; every name{but} starts with {prefix}" if prefix else text


def _shape(value: "torch.Tensor") -> str:
    return "x".join(map(str, value.shape)) or "one number"


def _type(value: "torch.Tensor") -> str:
    return str(value.dtype).removeprefix("torch.")


def rewritten(content: Mapping[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """The changed copy. Raises UserError for a change that does not apply to this file."""
    with importing():
        from engine.train.checkpoints.checkpoint_file import EpochState
        from engine.train.checkpoints.weights_file import (
            AVERAGED,
            RAW,
            classes_in,
            is_state,
            state_key,
            with_classes,
            without_prefix,
        )

    if is_state(content):
        _refuse(asked, ("use_ema", "strip_ema", "strip_optimizer", "reset_schedule"), "holds weights alone")
        return with_classes(_renamed(content, asked), classes_in(content))
    copy = dict(content)
    averaged, raw = state_key(content, AVERAGED), state_key(content, RAW)
    if averaged is None:
        _refuse(asked, ("use_ema", "strip_ema"), "holds no moving average")
    if raw is None and not asked.use_ema:
        _refuse(asked, ("weights_only",), "holds no weights, at most an average: see --use-ema")
    if "epoch" not in content:
        _refuse(asked, ("reset_schedule",), "counts no epochs")
    if asked.use_ema and averaged:
        raw = raw or RAW[0]
        copy[raw] = without_prefix(content[averaged])
    for key in (raw, averaged):
        if key:
            copy[key] = _renamed(copy[key], asked)
    if asked.weights_only and raw:
        return with_classes(copy[raw], classes_in(content))
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


def _renamed(state: "Mapping[str, torch.Tensor]", asked: argparse.Namespace) -> "dict[str, torch.Tensor]":
    """`state` with the prefixes removed and added that were asked for. Raises UserError."""
    bare = next((name for name in state if not name.startswith(asked.strip_prefix)), None)
    if bare is not None:
        raise UserError(f"--strip-prefix: {bare} in {asked.file} does not start with {asked.strip_prefix}")
    return {
        f"{asked.add_prefix}{name.removeprefix(asked.strip_prefix)}": value for name, value in state.items()
    }
