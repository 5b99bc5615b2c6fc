"""Training: runs, trainer, step, schedules, optimizers, augmentations, ranks, checkpoints, evaluation."""
