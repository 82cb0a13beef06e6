"""Submissions of a class, for tests."""

LONG = 120.0  # seconds; what ends does so much earlier, also on a machine that is busy
RIGHT = "import numpy as np\ndef fgsm(x, gradient, epsilon):\n    return np.clip(x + epsilon * np.sign(gradient), 0, 1)\n"


def hand_in(folder, student, source, name="fgsm.py"):
    (folder / student).mkdir(parents=True, exist_ok=True)
    (folder / student / name).write_text(source, encoding="utf-8")
