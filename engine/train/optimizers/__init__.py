"""One file for each value of training.optimizer, and optimizer.py, which builds the one that a recipe names."""
