"""The training step: loss, precision, compilation, non-finite values, memory."""
