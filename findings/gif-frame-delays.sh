#!/usr/bin/env bash
# How fast an animation runs: GIF counts hundredths of a second, and Pillow cuts a frame's delay off instead of rounding it.
#
# Seen 2026-11-28 (Python 3.11, Linux x86_64) with matplotlib 3.11.2 and pillow 13.0.0. PillowWriter(fps=...) and what the file says:
#
#   fps asked   delay in the file   frames a second in the file
#          25                40 ms                          25
#          30                30 ms                        33.3
#          60                10 ms                         100
#
# Equal frames in a row are merged first, and the sum of their delays is cut off once: at 60 fps a pause of three frames is 40 ms, not 30.
# So a simulation drawn in real time at 60 frames a second plays 1.67 times too fast, and its pauses do not. Rates that divide 100 are exact.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0
cat > "$folder/delays.py" <<'PYTHON'
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.animation import PillowWriter
from PIL import Image


def delays(fps, levels):
    figure = pyplot.figure(figsize=(1, 1), dpi=32)
    writer, name = PillowWriter(fps=fps), sys.argv[1]
    with writer.saving(figure, name, dpi=32):
        for level in levels:
            figure.set_facecolor(str(level))
            writer.grab_frame(facecolor=str(level))
    pyplot.close(figure)
    with Image.open(name) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(image.info["duration"])
    return found


moving = [0.0, 0.2, 0.4, 0.6, 0.8]
for fps, expected in ((25, 40), (30, 30), (60, 10)):
    found = delays(fps, moving)
    print(f"{fps} frames a second asked: {found} ms, {1000 / found[1]:.1f} a second")
    assert found == [expected] * 5
paused = delays(60, [0.0, 0.5, 0.5, 0.5, 1.0])
print("three equal frames at 60 a second:", paused, "ms")
assert paused == [10, 40, 10]
PYTHON
"$folder/venv/bin/python" "$folder/delays.py" "$folder/film.gif"
