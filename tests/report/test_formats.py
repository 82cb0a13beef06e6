"""How numbers are written."""

import pytest

from minicereb.report.formats import strength


@pytest.mark.parametrize(
    ("epsilon", "written"),
    [
        (0.1, "0.1"),
        (8 / 255, "8/255"),
        (0.5 / 255, "0.5/255"),
        (51 / 255, "0.2"),
        (0.123456, "0.123456"),
        (0, "0"),
        (1e-6, "1e-06"),
    ],
)
def test_an_epsilon_is_written_as_it_was_meant(epsilon, written):
    assert strength(epsilon) == written
