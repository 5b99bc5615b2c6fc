"""`python -m engine recipes`: the shelf of recipes as a table, and each of them in full."""
