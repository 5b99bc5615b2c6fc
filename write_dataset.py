"""Convert a data set of images into train.beton and val.beton: `python write_dataset.py --help` lists every option."""

from engine.ctrl_c import importing

with importing():
    import sys
    from typing import NoReturn

    from engine.config.load import load_write_config
    from engine.errors import EXIT_DONE, run_cli


def main() -> int:
    """Parse the command line and convert; 0 when both files are written. Raises UserError."""
    config = load_write_config(sys.argv[1:])
    with importing():
        if config.run.in_shards:
            from engine.data.cluster.sharded_conversion import convert_in_shards as convert
        else:
            from engine.data.convert.conversion import convert

    convert(config)
    return EXIT_DONE


def command() -> NoReturn:
    """The program `write-dataset` of an installed package."""
    run_cli(main, prints=False)


if __name__ == "__main__":
    command()
