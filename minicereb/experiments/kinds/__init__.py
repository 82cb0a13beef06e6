"""The kinds of experiments, each with its settings, a frozen dataclass, and the generator that runs it."""
