"""The recipes that come with the source: as a table, in full, and as pictures of their schedules."""
