"""Data sets: images as rows of uint8, labels, and where they come from."""

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.registry import load

__all__ = ["Dataset", "load"]
