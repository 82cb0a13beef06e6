"""The kinds of experiments; each is a frozen dataclass of settings with a generator that runs the experiment."""
