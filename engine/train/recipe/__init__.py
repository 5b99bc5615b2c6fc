"""A whole recipe: where it starts from, its stages, and the runs that carry them out."""
