"""A run's record: the log (`record.py`), what it says (`history.py`), as text and as one HTML page."""
