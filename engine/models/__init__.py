"""Networks by name (`build.py`) and what is done to them (`blurpool.py`); knows nothing of data."""
