"""A run's state on disk: written whole or not at all, resumed, copied to a URL."""
