"""The LTD average: the old average decays, and the batch's mean is added."""


def ltd_average(ltd_mean, h, decay):
    """Return the average after the batch."""
    return decay * ltd_mean + (1 - decay) * h.mean(axis=0)
