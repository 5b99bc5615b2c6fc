"""The report: one HTML page that needs nothing beside itself, drawn from the configuration and the log."""

from html import escape
from typing import Any

from engine.report.history import Line
from engine.report.summary import closing_summary, epoch_line


def render(config: dict[str, Any], lines: list[Line]) -> str:
    """The whole page."""
    epochs = "\n".join(epoch_line(line) for line in lines if line.get("kind") == "epoch")
    text = escape(f"{closing_summary(config, lines)}\n\n{epochs}")
    return f"<!doctype html><meta charset=utf-8><title>Run</title><pre>{text}</pre>"
