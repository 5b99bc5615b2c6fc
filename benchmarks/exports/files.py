"""A folder tree as torchvision's ImageFolder, timm and DALI read it: `label/sample.jpg`, numbers of fixed width."""

from pathlib import Path

from benchmarks.exports import exported_files, jpegs


def write(beton: Path, folder: Path) -> None:
    """One file for each sample."""
    for sample, (jpeg, label) in enumerate(jpegs(beton)):
        path = folder / f"{label:05d}" / f"{sample:08d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg)


def paths_and_labels(folder: Path) -> tuple[list[Path], list[int]]:
    """All files in the order of the samples, and their labels."""
    paths = sorted(
        (path for path in exported_files(folder) if path.suffix == ".jpg"), key=lambda path: path.name
    )
    return paths, [int(path.parent.name) for path in paths]
