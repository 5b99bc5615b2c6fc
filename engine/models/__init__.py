"""Networks by name (`build.py`) and what is done to them (`blurpool.py`); knows nothing of data."""

from engine.without_compiler import import_torchvision

import_torchvision()
