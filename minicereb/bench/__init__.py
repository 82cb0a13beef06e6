"""Benchmarks: medians of interleaved runs in one process, beside the floors measured there."""

from minicereb.bench.timing import Row, run_benchmarks

__all__ = ["Row", "run_benchmarks"]
