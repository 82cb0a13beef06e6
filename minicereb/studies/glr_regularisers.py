"""What does a regulariser do for the robustness of networks that learned from loss values alone?"""

from __future__ import annotations

from collections import namedtuple
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.evaluation.settings import CERTIFYING, EvaluatedModel
from minicereb.report.figures import curves
from minicereb.report.formats import short_percent, strength
from minicereb.report.page import Text
from minicereb.studies.results import Blocks, Figures, Results, tabulate
from minicereb.studies.study import MNIST14, Study
from minicereb.studies.tables import accuracy_of, clean_accuracy_of, evaluation_of, interval_in_words, share_at, shares

HIDDEN = (20,)
EPSILONS = {"certified": 0.005, "attacked": 0.05}  # where the networks differ
LINES = {  # noise scale, l1 and l2 along each line of the figure
    "l2": [(2.0, 0.0, l2) for l2 in (0.0, 1e-4, 3e-4, 1e-3)],
    "l1": [(2.0, l1, 0.0) for l1 in (0.0, 3e-5, 1e-4, 3e-4)],
    "noise": [(scale, 0.0, 0.0) for scale in (0.5, 2.0, 4.0)],
    "noise, l1 0.0001": [(scale, 1e-4, 0.0) for scale in (0.5, 2.0, 4.0)],
}

# Per scale: settings; epochs; attacks, images, draws of the gradient.
RegulariserScale = namedtuple("RegulariserScale", "settings epochs attacks images draws")
SIZES = {
    "smoke": RegulariserScale(2, 1, ("apgd-ce",), 4, 2),
    "course": RegulariserScale(None, 8, ("apgd-ce", "square"), 200, 4),
    "paper": RegulariserScale(None, 30, ("apgd-ce", "apgd-t", "fab-t", "fmn-t", "square-ensemble"), 1_000, 16),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[EvaluatedModel]:
    """Train a network with each setting, and evaluate its mean prediction."""
    size, experiments = SIZES[scale], []
    for seed in seeds:
        for noise, l1, l2 in list(dict.fromkeys(chain(*LINES.values())))[: size.settings]:
            model = NoisyModel(HIDDEN, noise_scale=(noise,), last_layer="resample", l1=l1, l2=l2)
            train = Train(model, data, 50, size.epochs, 0.06, "adam", seed=seed, keep="last", schedule="cosine")
            how: dict[str, Any] = {"seed": seed, "answer": "lap", "draws": size.draws}
            experiments.append(EvaluatedModel(train, tuple(EPSILONS.values()), size.images, size.attacks, **how))
    return experiments


def models_of(results: Results) -> dict[tuple[float, float, float], Results]:
    """Group the evaluations by noise scale, l1 and l2."""
    return results.by(lambda config: (config.train.model.noise_scale[0], config.train.model.l1, config.train.model.l2))


def name_of(noise: float, l1: float, l2: float) -> str:
    """Return the name of a setting."""
    return f"noise {noise:g}{f', l1 {l1:g}' * (l1 > 0)}{f', l2 {l2:g}' * (l2 > 0)}"


def table(results: Results) -> Blocks:
    """Show clean, attacked and certified accuracy for each setting."""
    groups = {name_of(*settings): found for settings, found in models_of(results).items()}
    columns = [
        (f"{label} {strength(epsilon)}", partial(share_at, label=label, e=e))
        for e, epsilon in enumerate(EPSILONS.values())
        for label in ("attacked", "certified")
    ]
    config, record = evaluation_of(groups)
    train = config.train
    return [
        tabulate("setting", groups, ("test", accuracy_of), ("clean", clean_accuracy_of), *columns),
        Text(
            f"In % ({interval_in_words(groups)}). Test: without noise, {record['test_images']:,} images. The other columns: the "
            f"mean answer (LAP, {config.replications:,} noisy runs that no attack has seen) on the first {record['images']:,} "
            f"test images of {train.data.name}. Attacked: {', '.join(config.attacks)}, for each image the strongest, along the "
            f"gradient from flips of the mean over {config.draws} draws; Square needs no gradient. Certified: by smoothing with "
            f"the first layer's own noise, {max(config.replications, CERTIFYING):,} runs, each image with confidence 0.999. The "
            f"robust accuracy is between the two. Networks of {HIDDEN[0]} threshold neurons, Gaussian noise of this "
            f"scale on all neurons, cross-entropy; from loss values alone: flips, outputs resampled, K = 1. {train.epochs} "
            f"epoch{'s' * (train.epochs > 1)}, batches of {train.batch_size}, Adam from a rate of {train.learning_rate:g} along "
            "a cosine, the same for all settings. Penalties: l1 Σ|θ| and ½ l2 Σθ² on all weights except biases."
        ),
    ]


def figures(results: Results) -> Figures:
    """Draw robust accuracy against test accuracy as each regulariser becomes stronger."""
    models, panels = models_of(results), []
    for e, (label, epsilon) in enumerate(EPSILONS.items()):
        lines = {}
        for name, settings in LINES.items():
            found = [models[each] for each in settings if each in models]
            x = [group.mean("test_accuracy") for group in found]
            y = [np.mean(shares(group, label, e)) for group in found]
            lines[name] = (100 * np.array(x, dtype=np.float64), 100 * np.array(y, dtype=np.float64))
        panels.append((f"{label}, ε = {strength(epsilon)}", lines))
    left = [(float(np.mean(shares(found, "attacked", e))), name_of(*settings)) for settings, found in models.items()]
    ends = (f"{short_percent(share)}% ({name})" for share, name in (min(left), max(left)))
    said = f"At ε = {strength(epsilon)} the attacks leave {' to '.join(ends)}."
    drawn = curves(panels, "test images, % correct", "% of the evaluated images", from_zero=True, conclusion=said)
    return {"regularisers": drawn}


GLR_REGULARISERS = Study(
    "glr-regularisers",
    "What does a regulariser do for the robustness of networks that learned from loss values alone?",
    plan,
    table,
    figures,
    "The likelihood-ratio paper (Xiao, Peng, Hong and Ke, 2019) leaves regularisation to future work. Published figures: none.",
    captions={
        "regularisers": (
            "Certified and attacked share of the evaluated images, in %, over the accuracy on all test images without noise, in "
            "%. A line for each regulariser, its points joined in ascending order; means over the seeds."
        ),
    },
    dataset=MNIST14,
    seeds={"smoke": (0,), "course": (0, 1, 2), "paper": (0, 1, 2)},
)
