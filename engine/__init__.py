"""Train an image classifier from `.beton` files: the fastest way that can be trusted."""

__version__ = "0.1.0"
