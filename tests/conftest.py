"""What all tests share: the `gpu` marker's rule, and the real images that lie beside a checkout."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _why_no_gpu() -> str:
    """Empty where a GPU test can run, else the reason it can't."""
    import warnings

    import torch

    with warnings.catch_warnings(record=True) as caught:
        # An old driver is told by a warning, which is an error in these tests: here it is the reason.
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        return ""
    return str(caught[0].message).splitlines()[0] if caught else "torch sees no CUDA device"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests run by themselves where CUDA is present and are skipped, with the reason, elsewhere."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    # torch takes seconds to import: only where a test asks for a GPU.
    reason = _why_no_gpu() if marked else ""
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {reason}"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout; a test that needs it is skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images here: {folder} does not exist")
    return folder
