#!/usr/bin/env bash
# Where the random start of an L2 attack lies, library by library.
#
# Seen 2026-11-28 (Python 3.11, Linux x86_64, CPU) with torch 2.13.0, torchattacks 3.5.1, foolbox 3.3.4, cleverhans 4.0.0, pyautoattack 0.2.0
# and adversarial-robustness-toolbox 1.20.1. With ε = 0.2 and 64 pixels, the distance of the start from the image:
#
#   torchattacks PGDL2           the radius is uniform: median 0.09, so most starts are close to the image
#   foolbox L2PGD                uniform in the ball: median 0.198
#   ART random_sphere            uniform in the ball: median 0.197
#   cleverhans PGD, norm 2       always on the surface: 0.200 for every image
#   AutoAttack APGD, L2          always on the surface: 0.200 for every image
#
# A uniform point of the ball has the median radius ε (1/2)^(1/pixels). What a restart is worth therefore differs between libraries.
# How it is seen: the model is constant, so no gradient moves the start; where a step cannot be 0 it is 1e-9.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 torch==2.13.0 torchattacks==3.5.1 foolbox==3.3.4 cleverhans==4.0.0 \
  pyautoattack==0.2.0 adversarial-robustness-toolbox==1.20.1
cat > "$folder/starts.py" <<'PYTHON'
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
import eagerpy
import foolbox
import torchattacks
from art.utils import random_sphere
from cleverhans.torch.attacks.projected_gradient_descent import projected_gradient_descent

torch.manual_seed(0)
np.random.seed(0)
images, pixels, epsilon = 512, 64, 0.2
constant = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(pixels, 10)).eval()
torch.nn.init.zeros_(constant[1].weight)
torch.nn.init.zeros_(constant[1].bias)
x, y = torch.full((images, 1, 8, 8), 0.5), torch.zeros(images, dtype=torch.long)


def radii(points):
    points = points.detach() if torch.is_tensor(points) else points
    return np.sort(np.linalg.norm(np.asarray(points).reshape(images, -1) - 0.5, axis=1))


starts = {
    "torchattacks PGDL2": radii(torchattacks.PGDL2(constant, eps=epsilon, alpha=0.0, steps=1, random_start=True)(x, y)),
    "foolbox L2PGD": radii(foolbox.attacks.L2PGD().get_random_start(eagerpy.astensor(x), epsilon).raw),
    "ART random_sphere": radii(0.5 + random_sphere(images, pixels, epsilon, 2)),
    "cleverhans PGD, norm 2": radii(
        projected_gradient_descent(constant, x, epsilon, 1e-9, 1, 2, clip_min=0, clip_max=1, rand_init=True, sanity_checks=False)
    ),
}
from pyautoattack.autopgd_base import APGDAttack

attack = APGDAttack(constant, n_iter=1, norm="L2", eps=epsilon, n_restarts=1, loss="ce", device="cpu", seed=0)
attack.init_hyperparam(x)
seen = []
hook = constant.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
attack.attack_single_run(x, y)
hook.remove()
starts["AutoAttack APGD, L2"] = radii(seen[0])

for name, r in starts.items():
    print(f"{name:24s} smallest {r[0]:.4f}  median {np.median(r):.4f}  largest {r[-1]:.4f}")
uniform = epsilon * 0.5 ** (1 / pixels)
assert 0.08 < np.median(starts["torchattacks PGDL2"]) < 0.12, "torchattacks no longer draws the radius uniformly"
for name in ("foolbox L2PGD", "ART random_sphere"):
    assert abs(np.median(starts[name]) - uniform) < 0.001, f"{name} is no longer uniform in the ball"
for name in ("cleverhans PGD, norm 2", "AutoAttack APGD, L2"):
    assert starts[name][0] > 0.1999, f"{name} no longer starts on the surface"
PYTHON
"$folder/venv/bin/python" "$folder/starts.py"
