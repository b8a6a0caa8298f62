"""Benchmarks on loopback, with real processes: `python -m benchmarks`. See README.md."""
