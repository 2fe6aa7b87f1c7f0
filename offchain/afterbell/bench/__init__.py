"""Benchmarks of the parts: `afterbell bench`. Each number stands beside what was run beside it in the same run."""

from afterbell.bench.command import bench

__all__ = ["bench"]
