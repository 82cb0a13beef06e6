"""Data sets: images as rows of uint8, their labels, and the functions that load them."""

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.registry import load
from minicereb.datasets.transforms import pool_2x2, to_unit

__all__ = ["Dataset", "load", "pool_2x2", "to_unit"]
