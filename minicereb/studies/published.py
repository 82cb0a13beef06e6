"""Published numbers from the papers, for tables that show them next to our measurements."""

from __future__ import annotations

from typing import NamedTuple

from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Train


class Logged(NamedTuple):
    """The cerebellum paper's printed or logged accuracies for a model on MNIST, in percent, means of two seeds.

    All attacks ascend the squared error.
    """

    test: float | None = None  # best accuracy on the test images, which were used to choose the epoch
    pgd: float | None = None  # at ε = 0.1
    pgd_far: float | None = None  # at ε = 0.3
    fgsm: float | None = None  # at ε = 0.1


PRINTED = {("fgsm", 0.1): "fgsm", ("pgd", 0.1): "pgd", ("pgd", 0.3): "pgd_far"}  # fields by method and ε

# Yuezhang, Li and Chen, by inputs per granule cell (None: all), cells, LTD. Trained image by image, inputs with replacement.
CEREBELLUM = {
    (None, 1_000, False): Logged(93.14, 9.3, None, 20.3),
    (None, 2_000, False): Logged(94.97, 13.4, None, 27.0),
    (None, 5_000, False): Logged(96.43, 14.7, None, 33.6),
    (None, 5_970, False): Logged(96.60, None, 1.7),
    (None, 10_000, False): Logged(97.24, 12.7, None, 34.4),
    (None, 20_000, False): Logged(97.48, 16.7, None, 41.1),
    (None, 50_000, False): Logged(97.75, 13.0, None, 37.6),
    (None, 100_000, False): Logged(97.83, 14.4, None, 46.3),
    (None, 200_000, False): Logged(97.92, 15.4, None, 48.8),
    (None, 1_000, True): Logged(93.68, 70.0),
    (None, 2_000, True): Logged(95.37, 81.0),
    (None, 5_000, True): Logged(96.71, 86.4),
    (None, 5_970, True): Logged(96.93, None, 24.6),
    (None, 10_000, True): Logged(97.38, 83.7),
    (None, 20_000, True): Logged(97.70, 70.3),
    (None, 50_000, True): Logged(97.83, 77.0),
    (None, 100_000, True): Logged(97.96, 70.0),
    (None, 200_000, True): Logged(98.09, 66.0),
    (4, 200_000, False): Logged(96.95, None, 3.3),
    (1, 228_571, True): Logged(84.88, 55.6),
    (2, 218_182, True): Logged(96.16, 94.1),
    (4, 200_000, True): Logged(97.20, 95.2, 48.0),
    (10, 160_000, True): Logged(97.73, 88.3),
    (20, 120_000, True): Logged(98.02, 83.9),
    (50, 68_571, True): Logged(97.96, 75.8),
    (100, 40_000, True): Logged(97.86, 73.6),
    (200, 21_818, True): Logged(97.78, 72.1),
    (400, 11_429, True): Logged(97.51, 85.1),
    (784, 5_970, True): Logged(96.98, 83.7),
}


def logged_for(train: Train) -> Logged | None:
    """Return the authors' printed or logged accuracies for a model, however it is trained here; None if there are none."""
    model = train.model
    if not isinstance(model, CerebellumModel) or model.wiring == "local" or train.data.name != "mnist":
        return None
    return CEREBELLUM.get((model.inputs_per_cell, model.cells, model.ltd))


# Tables 1 and 2 of the likelihood-ratio paper, Xiao, Peng, Hong and Ke (2019), by (loss, activation, trained by): accuracies
# between 0 and 1, with the two digits that are printed. In Table 1 the images are attacked via a substitute with two hidden
# layers, in Table 2 via one with five. The three columns are «Acc_Orig», which by the authors' code counts only images that the
# substitute classifies correctly, and «Acc_OT» and «Acc_LAP» on adversarial images. The rows log-absolute are printed as
# «y = ln -x», in a copy of the paper in which |x| has lost its bars too; it may be ln |-x| or the ln |x| - x of Fig. 7.
GLR_TABLES: dict[tuple[str, str, str], tuple[tuple[float | None, ...], tuple[float | None, ...]]] = {
    ("cross-entropy", "sigmoid", "BP"): ((0.99, 0.28, None), (0.99, 0.62, None)),
    ("cross-entropy", "sigmoid", "GLR"): ((0.98, 0.45, 0.45), (0.98, 0.83, 0.84)),
    ("cross-entropy", "threshold", "GLR"): ((0.95, 0.52, 0.53), (0.95, 0.81, 0.83)),
    ("cross-entropy", "absolute", "GLR"): ((0.96, 0.53, 0.53), (0.96, 0.83, 0.84)),
    ("cross-entropy", "arctan-inverse", "GLR"): ((0.98, 0.45, 0.45), (0.98, 0.82, 0.84)),
    ("cross-entropy", "log-absolute", "GLR"): ((0.97, 0.41, 0.42), (0.97, 0.81, 0.83)),
    ("zero-one", "sigmoid", "GLR"): ((0.87, 0.58, 0.59), (0.87, 0.78, 0.79)),
    ("zero-one", "threshold", "GLR"): ((0.86, 0.56, 0.58), (0.86, 0.77, 0.79)),
    ("zero-one", "log-absolute", "GLR"): ((0.88, 0.51, 0.53), (0.88, 0.78, 0.79)),
}
