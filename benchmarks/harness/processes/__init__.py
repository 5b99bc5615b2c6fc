"""A side in a process of its own: started, asked, timed and ended; and what else the machine did meanwhile."""
