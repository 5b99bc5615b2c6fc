"""Convert a data set of images into train.beton and val.beton: python write_dataset.py --help."""

import sys

from engine.config.load import load_write_config
from engine.data.convert.conversion import convert
from engine.errors import run_cli


def main() -> int:
    """Parse the command line and convert; 0 when both files are written."""
    convert(load_write_config(sys.argv[1:]))
    return 0


if __name__ == "__main__":
    run_cli(main)
