"""Models to attack."""

import numpy as np
import pytest
from quick_attacks import rows_and_labels

from minicereb.models.mlp import initial_mlp


@pytest.fixture(params=["cerebellum", "perceptron"])
def victim(request, build_cerebellum):
    """A model in float32 with images and labels."""
    model = build_cerebellum(cells=80, dtype=np.float32) if request.param == "cerebellum" else initial_mlp(30, (20,), 3, 0)
    return model, *rows_and_labels(model)
