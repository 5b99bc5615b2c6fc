"""The training step and what surrounds it: schedules, optimizer, evaluation, ranks, checkpoints, verdict."""
