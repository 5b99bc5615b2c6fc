"""`python -m engine speedrun`: the whole job on real images, through the two scripts that a user would run.

Fashion-MNIST comes from Debian's package if it is installed, else from torchvision's download. Files of an earlier
speedrun are used again.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
RECIPE = Path("rn50_configs") / "demo.yaml"
FOLDER = ROOT / "data" / "fashion-mnist"

_DESCRIPTION = """Convert Fashion-MNIST, train the demo recipe on it and write the report.

The images come from Debian's package dataset-fashion-mnist if it is installed, else from torchvision's download.
Files of an earlier speedrun are used again. The exit code is the training run's."""


def main(argv: Sequence[str]) -> int:
    """Convert, train, report; returns the training run's exit code. Raises UserError without the data."""
    parser = CommandParser("python -m engine speedrun", _DESCRIPTION, "[--folder DIR] [-- OPTION...]")
    parser.add_argument(
        "--folder",
        type=Path,
        default=FOLDER,
        metavar="DIR",
        help="folder for the data [default: data/fashion-mnist]",
    )
    parser.add_argument(
        "override", nargs="*", metavar="OPTION", help="after a --: options for train_imagenet.py"
    )
    arguments = parser.parse_args(argv)
    train, val = (arguments.folder / f"{split}.beton" for split in ("train", "val"))
    if not (_is_whole(train) and _is_whole(val)):
        source = DEBIAN_FOLDER if DEBIAN_FOLDER.is_dir() else _download(arguments.folder)
        output = [f"--output.folder={arguments.folder}", "--output.overwrite=true"]
        code = _run("write_dataset.py", f"--source.path={source}", *output)
        if code:
            return code
    data = [f"--data.train_dataset={train}", f"--data.val_dataset={val}"]
    return _run("train_imagenet.py", "-C", str(RECIPE), *data, *arguments.override)


def _is_whole(path: Path) -> bool:
    """Whether an earlier speedrun wrote this file completely; a damaged one is written again."""
    if not path.exists():
        return False
    with importing():
        from engine.data.beton.reader import open_beton

    try:
        open_beton(path)
    except UserError as error:
        print(f"note: writing {path.name} again: {error}", flush=True)
        return False
    return True


def _download(folder: Path) -> Path:
    # torchvision takes seconds to import and is needed only here.
    with importing():
        from torchvision.datasets import FashionMNIST

    try:
        for train in (True, False):
            FashionMNIST(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"can't download Fashion-MNIST: {reason}; on Debian or Ubuntu install the package "
            f"dataset-fashion-mnist, or connect to the network"
        ) from None
    return folder / "FashionMNIST" / "raw"


def _run(script: str, *options: str) -> int:
    print(f"$ python {script} {shlex.join(options)}", flush=True)
    return subprocess.run([sys.executable, script, *options], cwd=ROOT, check=False).returncode
