"""One recipe for each augmentation; test_chain.py holds the table to be whole."""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "auto-augment": {"policy": "auto-augment"},
    "rand-augment": {"policy": "rand-augment"},
    "trivial-augment": {"policy": "trivial-augment"},
    "colour-jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "erasing": {"erasing_probability": 0.5, "erasing_fill": "noise"},
    "colout": {"colout_rows": 0.25, "colout_columns": 0.1},
    "mixing": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
}
