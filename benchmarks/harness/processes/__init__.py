"""Processes: a side is started, asked, timed and ended in one; and what else the machine did meanwhile."""
