"""Data files at a URL: downloaded once a machine, into a cache, while they are trained on."""
