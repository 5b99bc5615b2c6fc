"""`python -m engine VERB [OPTIONS]`: the table of verbs; a verb's module is imported only when it is asked for."""

import sys

# Before anything that an older Python can't read: it would show a traceback instead of this line.
if sys.version_info < (3, 11):  # noqa: UP036 - this is the check that the linter relies on
    print("error: Python 3.11 to 3.13 is needed: `make setup`, then .venv/bin/python", file=sys.stderr)
    sys.exit(2)

from engine.ctrl_c import importing

with importing():
    import importlib
    from typing import NoReturn

    from engine.errors import EXIT_DONE, EXIT_USER, UserError, run_cli
    from engine.registry import nearest

# verb: a line of what it does. The verb find-lr is engine/cli/find_lr.py; its main(arguments) returns the exit code.
VERBS = {
    "audit": "check whether the labels of a training and a validation file can be trusted",
    "average": "average the weights of runs (soup) or of one run's checkpoints (SWA), and measure it",
    "build": "compile the C decoders for this machine",
    "checkpoint": "show the content of a weights file or checkpoint, or write a changed copy",
    "compare": "compare runs side by side: accuracy, time, differing options, curves",
    "demo": "a page in the browser for trying trained networks on pictures, side by side",
    "doctor": "check this machine and installation, with advice for each problem",
    "export": "trained weights as a package for other programs (ONNX, ...), with proof",
    "extract": "write one image of a .beton file as a JPEG or PNG",
    "find-lr": "find a learning rate for a recipe by a range test",
    "inspect": "summarise a .beton file and draw a contact sheet of its images",
    "leaderboard": "finished runs and published points by accuracy, time and cost",
    "merge": "join .beton files, such as the shards of a conversion, into one",
    "mistakes": "a page of what a trained network gets wrong: images, confused classes, Grad-CAM",
    "plan": "which run reaches an accuracy in a time on a machine, before it begins",
    "predict": "say which classes images are of, by trained weights",
    "recipes": "list the recipes as a table, or show one in full",
    "report": "draw a run's report.html again from its log",
    "schedules": "draw learning rate, resolution and batch size of every recipe",
    "speedrun": "the whole job on Fashion-MNIST: convert, measure, plan, train, report",
    "subset": "write some classes or a fraction of a .beton file to a new file",
    "verify": "check that .beton files are complete and their images unchanged",
}

WRITERS = {
    "average",
    "build",
    "demo",
    "export",
    "extract",
    "find-lr",
    "merge",
    "mistakes",
    "report",
    "schedules",
    "speedrun",
    "subset",
}
"""Verbs whose result is files or a page: they finish when what they print is lost. The others print their result."""


def usage() -> str:
    """The usage line, and a line for each verb."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    last = "`python -m engine VERB --help` lists a verb's options."
    return "\n".join(["usage: python -m engine VERB [options]", "", *lines, "", last])


def main(arguments: list[str]) -> int:
    """Run the verb that the first argument names; returns its exit code. Raises UserError for an unknown verb."""
    if not arguments:
        print(usage(), file=sys.stderr)
        return EXIT_USER
    verb, *rest = arguments
    if verb in ("-h", "--help", "help"):
        print(usage())
        return EXIT_DONE
    if verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}{nearest(verb, VERBS)}; choices: {', '.join(VERBS)}")
    with importing():
        module = importlib.import_module(f"engine.cli.{verb.replace('-', '_')}")
    return int(module.main(rest))


def command() -> NoReturn:
    """The program `imagenet-engine`, and `python -m engine`."""
    run_cli(lambda: main(sys.argv[1:]), prints=WRITERS.isdisjoint(sys.argv[1:2]))


if __name__ == "__main__":
    command()
