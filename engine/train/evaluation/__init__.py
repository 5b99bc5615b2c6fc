"""Validation: accuracy, per-class statistics, calibration, and the comparison with Pillow's decoding."""
