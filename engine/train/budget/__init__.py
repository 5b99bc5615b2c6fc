"""A run that keeps to its time limit: what is left of the schedule, how fast the machine is, and the new plan."""
