"""Data sets: images as rows of uint8, labels, and where they come from."""

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.registry import load
from minicereb.datasets.transforms import pool_2x2, to_unit

__all__ = ["Dataset", "load", "pool_2x2", "to_unit"]
