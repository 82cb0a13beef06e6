"""Pictures of eyelid conditioning, and animations."""

import numpy as np
import pytest
from PIL import Image

from minicereb.errors import InputError
from minicereb.report.eyelid_figures import Film, lids, preferred_times, raster, synapses
from minicereb.report.figures import save_animation

TIME = np.arange(-50, 300, 5)


def granule():
    cells = np.zeros((4, len(TIME)))
    for cell, at in enumerate((250, 100, 20)):
        cells[cell] = np.maximum(0, 1 - np.abs(TIME - at) / 30)
    return cells


def test_a_cells_preferred_time_is_that_of_its_largest_activity():
    assert preferred_times(TIME, granule())[:3].tolist() == [250, 100, 20]
    assert np.isnan(preferred_times(TIME, granule())[3])


def test_the_raster_holds_active_cells_in_the_order_of_their_times():
    (axes,) = raster(TIME, granule(), (0, 220), 200).axes
    drawn = axes.images[0].get_array()
    assert drawn.shape == (2, len(TIME))  # one prefers a time after the US, one is silent
    assert (drawn == (granule()[[2, 1]] > 0)).all()
    (silent,) = raster(TIME, np.zeros((3, len(TIME))), (0, 220), 200).axes
    assert not silent.images


def test_synapses_are_drawn_where_their_cells_are_most_active():
    before, after = np.full(4, 0.5), np.array([0.5, 0.45, 0.52, 0.5])
    (axes,) = synapses(TIME, granule(), before, after, 200).axes
    first, second = axes.lines[:2]
    assert first.get_ydata().tolist() == before.tolist()
    assert second.get_ydata().tolist() == after.tolist()
    assert second.get_xdata()[:3].tolist() == [250, 100, 20]
    assert axes.get_ylim() == pytest.approx((0.445, 0.555))


def test_what_stands_above_a_figure_follows_from_its_numbers():
    before, after = np.full(4, 0.5), np.array([0.5, 0.45, 0.52, 0.5])
    traces = [np.zeros(len(TIME)), np.where(TIME == 180, 40.0, 0.0)]
    window = (0, 220), 200
    assert title(raster(TIME, granule(), *window)) == "2 of 3 active granule cells prefer a time before the US (200 ms)."
    assert title(synapses(TIME, granule(), before, after, 200)).endswith("those of cells that prefer 100 ms (median).")
    assert title(synapses(TIME, granule(), before, before, 200)) == "No weight changes."
    assert (
        title(lids(TIME, traces, ["1", "2"], *window)) == "The last lid closes by 40%, most at 180 ms; the US begins at 200 ms."
    )
    assert title(lids(TIME, traces[:1], ["1"], *window)) == "The last lid closes by 0%; the US begins at 200 ms."


def title(figure):
    return " ".join(figure.get_suptitle().split())


def test_every_lid_stands_on_its_own_line():
    traces = [np.full(len(TIME), value) for value in (0.0, 40.0)]
    (axes,) = lids(TIME, traces, ["1", "2"], (0, 220), 200).axes
    assert [line.get_ydata()[0] for line in axes.lines[:2]] == [0, 90]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2"]


def test_an_animation_has_a_picture_for_each_trial_and_is_written_whole(tmp_path):
    film = Film(TIME, granule(), (0, 220), 200)
    shown = [(f"trial {number}", np.full(len(TIME), 30.0 * number), np.full(4, 0.5 - 0.1 * number)) for number in range(3)]
    save_animation(film.figure, film.frames(shown), tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as written:
        assert written.n_frames == 3
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]


def test_an_animation_that_fails_leaves_nothing(tmp_path):
    film = Film(TIME, granule(), (0, 220), 200)

    def broken():
        yield
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_animation(film.figure, broken(), tmp_path / "film.gif")
    with pytest.raises(InputError, match=r"animate: .*\.gif"):
        save_animation(film.figure, iter([None]), tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())
