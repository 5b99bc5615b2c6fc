"""A run's folder: its names, the schema of its log, the writer, the reader, and further logs (listeners)."""
