"""Packed crops -> a normalised batch, on the device: one Triton kernel, or plain PyTorch where that can't run."""
