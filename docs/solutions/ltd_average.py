"""The LTD average: the old one fades, the batch's mean comes in."""


def ltd_average(ltd_mean, h, decay):
    """Return the average after the batch."""
    return decay * ltd_mean + (1 - decay) * h.mean(axis=0)
