"""Measurements that anyone can repeat: `python -m benchmarks STAGE`, each against real peers on the same images."""
