"""`python -m engine VERB [ARGS]`: a table of verbs, each imported only when it is asked for."""

import importlib
import sys

# Before anything that an older Python can't read: it would show a traceback instead of this line.
if sys.version_info < (3, 11):  # noqa: UP036 - this is the check that the linter relies on
    print("error: Python 3.11 to 3.13 is needed: `make setup`, then .venv/bin/python", file=sys.stderr)
    sys.exit(2)

from engine.errors import UserError, run_cli
from engine.registry import nearest

# verb: (module:function, what it does). The function takes the remaining arguments and returns the exit code.
VERBS: dict[str, tuple[str, str]] = {
    "audit": (
        "engine.cli.audit:main",
        "whether the labels of a training and a validation file can be believed",
    ),
    "build": ("engine.cli.build:main", "compile the C decoders for this machine"),
    "checkpoint": ("engine.cli.checkpoint:main", "what a file of weights holds, and a changed copy of it"),
    "compare": ("engine.cli.compare:main", "runs side by side, in figures and as curves"),
    "doctor": ("engine.cli.doctor:main", "check this machine and installation, and say what to do"),
    "extract": ("engine.cli.extract:main", "one image of a .beton as a file"),
    "find-lr": ("engine.cli.find_lr:main", "which learning rate suits a recipe, by a range test"),
    "inspect": ("engine.cli.inspect:main", "what a .beton holds, with a picture of some of its images"),
    "merge": ("engine.cli.merge:main", "one .beton of several, such as a conversion's shards"),
    "recipes": ("engine.cli.recipes:main", "the recipes as a table, or one of them in full"),
    "report": ("engine.cli.report:main", "draw a run's report.html anew from its log"),
    "schedules": (
        "engine.cli.schedules:main",
        "draw every recipe's learning rate, resolution and batch by epoch",
    ),
    "speedrun": ("engine.cli.speedrun:main", "the whole job on Fashion-MNIST: convert, train, report"),
    "subset": (
        "engine.cli.subset:main",
        "some classes, or a share, of a .beton's images as one of their own",
    ),
    "verify": ("engine.cli.verify:main", "whether .betons are whole and their images what was written"),
}


def usage() -> str:
    """The verbs with a line each."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(["usage: python -m engine VERB [ARGS]", "", *lines, "", "VERB --help tells more."])


def main(arguments: list[str]) -> int:
    """Run the verb that the first argument names. Raises UserError when there is none of that name."""
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    verb, *rest = arguments
    if verb in ("-h", "--help", "help"):
        print(usage())
        return 0
    if verb not in VERBS:
        raise UserError(f"no verb {verb!r}{nearest(verb, VERBS)}; choices: {', '.join(sorted(VERBS))}")
    module, _, function = VERBS[verb][0].partition(":")
    code = getattr(importlib.import_module(module), function)(rest)
    return int(code)


if __name__ == "__main__":
    run_cli(lambda: main(sys.argv[1:]))
