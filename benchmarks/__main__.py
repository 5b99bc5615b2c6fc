"""`python -m benchmarks STAGE [OPTIONS]`: look a stage or a command up by its name, import it and run it."""

from engine.ctrl_c import importing

with importing():
    import signal
    import sys

    from benchmarks import commands, stages
    from benchmarks.commands import COMMANDS, RENAMED
    from benchmarks.stages import STAGES
    from engine.errors import UserError, run_cli
    from engine.registry import nearest


def usage() -> str:
    """The stages and commands with a line each."""
    helps = {name: stage.help for name, stage in STAGES.items()}
    width = max(map(len, (*helps, *COMMANDS)))
    groups = [
        [title, *(f"  {name:<{width}}  {text}" for name, text in entries.items())]
        for title, entries in (("stages:", helps), ("commands:", COMMANDS))
    ]
    lines = ["usage: python -m benchmarks STAGE [OPTIONS]", "", *groups[0], "", *groups[1], ""]
    return "\n".join([*lines, "`python -m benchmarks STAGE --help` lists a stage's options."])


def main(arguments: list[str]) -> int:
    """Run what the first argument names; returns the exit code. Raises UserError for an unknown name."""
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name in RENAMED:
        print(f"note: `{name}` is now called `{RENAMED[name]}`", file=sys.stderr)
        name = RENAMED[name]
    if name in STAGES or name in COMMANDS:
        with importing():
            run = stages.entry(name) if name in STAGES else commands.entry(name)
        return int(run(rest))
    known = sorted({*STAGES, *COMMANDS})
    raise UserError(f"no stage {name!r}{nearest(name, known)}; choices: {', '.join(known)}")


if __name__ == "__main__":
    # As Ctrl-C: the processes that a stage has started end with it, and its temporary folders are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run_cli(lambda: main(sys.argv[1:]), prints=False)
