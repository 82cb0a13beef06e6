"""Benchmarks: medians of interleaved runs in one process, beside the floors measured there."""

from minicereb.bench.timing import Timing, run_benchmarks

__all__ = ["Timing", "run_benchmarks"]
