"""The delta rule: activity times error, averaged over the batch."""


def readout_gradient(h, ltd_mean, outputs, targets):
    """Return the derivative of the mean loss by the readout."""
    z, e = h - ltd_mean, outputs - targets
    return z.T @ e / len(h)
