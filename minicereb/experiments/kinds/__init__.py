"""The kinds of experiments: for each its settings, a frozen dataclass, and the generator that carries it out."""
