"""Charts, axes and pages as SVG and HTML text."""
