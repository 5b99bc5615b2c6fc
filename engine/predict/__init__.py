"""Trained weights put to use: read from any file, asked about images."""
