"""A run whose accuracy is far below its family's is noticed early, with the likely causes."""
