#!/usr/bin/env bash
# ART's SquareAttack: max_iter counts steps of three queries each, and images of up to 4 by 4 pixels cannot be attacked with the defaults.
#
# Seen 2026-11-29 (Python 3.11, Linux x86_64) with adversarial-robustness-toolbox 1.20.1, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1: a
# linear classifier of one image, ε too small to change its answer, one restart.
#
#   max_iter 50, 100, 200    154, 304, 604 queries: 3 max_iter + 4, where the paper and AutoAttack count one query a step
#   sides 5 to 28            as above
#   sides 3 and 4            ValueError: high <= 0. The first square of p_init = 0.8 is as wide as the image, and a corner is drawn from 0 places
#   side 4, p_init = 0.3     as above
#
# It imports packaging, which it does not declare: without it nothing of ART can be imported.
#
# For whoever compares attacks at equal numbers of queries: count them in the model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 adversarial-robustness-toolbox==1.20.1 packaging==25.0
cat > "$folder/square.py" <<'PYTHON'
import warnings

warnings.filterwarnings("ignore")

import numpy as np
from art.attacks.evasion import SquareAttack
from art.estimators.classification import BlackBoxClassifierNeuralNetwork


def queries(side, steps, **settings):
    rng, asked = np.random.default_rng(0), []
    weights, x = rng.standard_normal((side * side, 3)), rng.random((1, 1, side, side)).astype(np.float32)

    def outputs(images):
        asked.append(len(images))
        return images.reshape(len(images), -1) @ weights

    model = BlackBoxClassifierNeuralNetwork(outputs, x.shape[1:], 3, channels_first=True, clip_values=(0, 1))
    SquareAttack(model, eps=1e-6, max_iter=steps, nb_restarts=1, verbose=False, **settings).generate(x)
    return sum(asked)


for steps in (50, 100, 200):
    print(f"max_iter {steps}: {queries(28, steps)} queries")
    assert queries(28, steps) == 3 * steps + 4
for side in (5, 8):
    assert queries(side, 100) == 304
for side in (3, 4):
    try:
        queries(side, 100)
    except ValueError as error:
        print(f"side {side}: ValueError: {error}")
        assert str(error) == "high <= 0"
    else:
        raise AssertionError("it ran")
assert queries(4, 100, p_init=0.3) == 304
PYTHON
"$folder/venv/bin/python" "$folder/square.py"
