"""Benchmarks: stages measure our sides against peers with one harness, and their records become tables and pages."""
