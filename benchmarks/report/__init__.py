"""Records as one page: what was compared, how it came out, and what it takes to repeat it."""
