"""The decoders in C: source, build (`python -m engine build`) and what Python calls. Without them, ../portable.py."""
