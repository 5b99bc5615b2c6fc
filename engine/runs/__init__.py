"""A run's folder: its file names, the schema of its log, how the log is written and read, and who listens."""
