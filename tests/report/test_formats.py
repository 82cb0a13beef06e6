"""How numbers are written."""

import pytest

from minicereb.report.formats import in_words, mean_share, number, p_value, strength


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


def test_numbers_have_three_digits():
    assert [number(value) for value in (1.2345, 99.94, 123.4, 849_825, 0.5)] == ["1.23", "99.9", "123", "850,000", "0.5"]


def test_shares_have_the_interval_over_images_or_over_seeds():
    assert mean_share([0.5], 100) == "50.0 (39.8-60.2)"
    assert mean_share([0.4, 0.6], 100) == "50.0 (0.0-100.0)"
    assert mean_share([0.49, 0.51], 100) == "50.0 (37.3-62.7)"
    assert mean_share([], 100) == "-"


def test_seeds_that_agree_have_the_interval_of_the_images():
    assert mean_share([0.0, 0.0], 500) == mean_share([0.0], 500) == "0.0 (0.0-0.7)"
    assert mean_share([0.998, 0.998], 500) == mean_share([0.998], 500)
    assert mean_share([0.0, 0.1], 500) == "5.0 (0.0-68.5)"


def test_p_values_and_seeds():
    assert [p_value(p) for p in (1e-5, 0.0123, 0.5)] == ["< 0.0001", "0.012", "0.50"]
    assert [in_words([0]), in_words([0, 123])] == ["seed 0", "seeds 0, 123"]
