"""The circuit in closed loop: Golgi cells, eligibility, lesions, and the same rule as for images."""

import numpy as np
import pytest

from minicereb.backend import to_numpy
from minicereb.errors import InputError
from minicereb.models.wiring import draw_wiring
from minicereb.tasks.circuit import BIN, BOUND, LESIONS, SPONTANEOUS, Circuit, eligibility, respond

BINS, FIBRES, CELLS = 60, 8, 300
SPAN = slice(10, 40)


def states():
    time = np.arange(BINS) - 10.0
    return np.where(time[:, None] >= 0, np.exp(-(((time[:, None] - np.arange(FIBRES) * 7) / 6) ** 2)), 0)


def stimulus():
    c = np.zeros(BINS)
    c[10:40] = 1
    return c


def puff():
    us = np.zeros(BINS, dtype=np.float32)
    us[45:49] = 1
    return us


def circuit(**options):
    return Circuit(draw_wiring("random", CELLS, (FIBRES,), 4, 0), states(), stimulus(), SPAN, **options)


def drive(wiring):
    data, inputs, _ = wiring.csr()
    return np.einsum("ck,ckt->ct", data.reshape(CELLS, 4), states().T[inputs.reshape(CELLS, 4)])


@pytest.mark.parametrize("level", [0.02, 0.1, 0.4])
def test_golgi_cells_leave_just_the_share_of_cells_active_that_was_asked_for(level):
    wiring = draw_wiring("random", CELLS, (FIBRES,), 4, 0)
    out = respond(wiring, states(), level, np.full((CELLS, 64), np.nan, dtype=np.float32))
    v = drive(wiring)
    counts = (out[:, 10:BINS] > 0).sum(axis=0)
    assert counts.max() == round(level * CELLS)
    assert (counts == np.minimum(round(level * CELLS), (v[:, 10:] > 0).sum(axis=0))).mean() > 0.9
    threshold = np.maximum(np.sort(v, axis=0)[CELLS - 1 - round(level * CELLS)], 0)
    assert np.allclose(out[:, :BINS], np.maximum(v - threshold, 0), atol=1e-5)
    assert not out[:, BINS:].any()


def test_granule_cells_that_never_respond_make_no_circuit():
    wiring = draw_wiring("random", 2, (FIBRES,), 4, 0)
    with pytest.raises(InputError, match="cells: 2 .* no cell responds"):
        Circuit(wiring, np.zeros_like(states()), stimulus(), SPAN)


def test_without_golgi_cells_the_response_is_that_of_the_cerebellum():
    wiring = draw_wiring("random", CELLS, (FIBRES,), 4, 0)
    out = respond(wiring, states(), None, np.empty((CELLS, 64), dtype=np.float32))
    assert np.allclose(out[:, :BINS], np.maximum(drive(wiring), 0), atol=1e-5)


def test_what_is_eligible_comes_from_50_to_150_ms_before():
    kernel = eligibility(100)
    assert np.flatnonzero(kernel[60]).tolist() == list(range(60 - 150 // BIN, 60 - 50 // BIN))
    assert kernel[60].sum() == pytest.approx(1)
    assert not kernel[:10].any()


def test_a_trial_is_a_step_of_the_delta_rule_with_time_bins_as_rows(xp_device):
    whole = circuit(forgetting=0.0)
    h = to_numpy(whole.activity)[:, :BINS].astype(np.float64).T
    rate = whole.rule.optimizer.learning_rate
    weights = np.zeros(CELLS)
    for number in range(3):
        signals = whole.trial(puff(), number)
        purkinje = np.maximum(1 + h @ weights, 0)
        assert np.allclose(signals.purkinje, purkinje, atol=1e-4)
        nuclei = np.maximum(0.5 + signals.nuclear_synapses * stimulus() - purkinje, 0)
        error = np.maximum(puff() - 2 * eligibility(BINS) @ nuclei, -0.02)
        assert np.allclose(signals.climbing_fibre, error, atol=1e-3)
        weights -= rate * h.T @ (eligibility(BINS).T @ error) / BINS  # [C4]
        assert np.allclose(whole.weights - BOUND, weights, atol=1e-5)
    assert np.abs(weights).max() > 1e-3
    assert type(whole.model.readout) is type(whole.activity) is xp_device.ndarray


def test_the_rule_descends_the_squared_error_of_what_the_olive_hears():
    whole = circuit(forgetting=0.0, lesions=("nuclear-plasticity",))
    losses = [0.5 * (whole.trial(puff(), number).climbing_fibre ** 2).sum() for number in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_settings_give_the_same_bits_and_another_seed_another_circuit():
    one, other = circuit(), circuit()
    for number in range(5):
        one.trial(puff(), number)
        other.trial(puff(), number)
    assert (one.weights == other.weights).all()
    assert (one.weights != 0.5).any()


def test_by_the_all_or_none_rule_active_fibres_change_alike_and_ltd_is_nine_times_ltp():
    """If the climbing fibre fires only at the US, there is LTD in the fully eligible 100 ms, and LTP far from them."""
    whole = circuit(forgetting=0.0, rule="ltd-ltp")
    active = to_numpy(whole.activity)[:, :BINS] > 0
    error = np.full(BINS, -SPONTANEOUS)
    error[45:49] = 1
    credit = eligibility(BINS).T @ error
    whole.rule.error = lambda outputs, us: (whole._climbing_fibre(outputs, us)[0], credit[:, None].astype(np.float32))
    whole.trial(puff(), 0)
    change = whole.weights - 0.5
    assert np.allclose(change, -whole.rule.optimizer.learning_rate / BINS * (active @ credit), atol=1e-6)
    assert 9 < credit[30] / -credit[5] < 9.5


def test_weights_stay_within_their_bounds():
    whole = circuit(lesions=("nucleo-olivary",))
    whole.rule.optimizer = type(whole.rule.optimizer)(1e4)
    for number in range(3):
        whole.trial(puff(), number)
        assert 0 <= whole.weights.min() <= whole.weights.max() <= 1
    assert whole.weights.min() == 0


def test_without_an_error_a_trial_takes_away_what_is_forgotten():
    whole = circuit(forgetting=0.25)
    readout = whole.model.readout
    readout[...] = np.linspace(-0.001, 0.001, CELLS, dtype=np.float32)[:, None]
    before = readout.copy()
    whole.trial(np.zeros(BINS, dtype=np.float32), 0)
    assert np.allclose(readout, 0.75 * before, atol=1e-9)


def trained(*lesions, trials=30):
    whole = circuit(lesions=lesions)
    for number in range(trials):
        signals = whole.trial(puff(), number)
    return whole, signals


def test_every_lesion_takes_away_what_it_says():
    intact, signals = trained()
    assert signals.nuclei.max() > 0.05
    assert signals.purkinje.min() < 0.5
    assert intact.nuclear_synapses > 0
    found = {lesion: trained(lesion) for lesion in LESIONS}
    assert not to_numpy(found["granule"][0].activity).any()
    assert (to_numpy(found["golgi"][0].activity)[:, SPAN] > 0).mean() > 0.3
    assert not found["purkinje"][1].purkinje.any()
    assert not found["nuclei"][1].nuclei.any()
    assert found["nuclear-plasticity"][0].nuclear_synapses == 0
    assert (found["pf-plasticity"][0].weights == 0.5).all()
    assert (found["olive"][1].climbing_fibre == -0.02).all()
    assert (found["olive"][0].weights >= 0.5).all()
    assert (found["nucleo-olivary"][1].climbing_fibre == puff()).all()
    assert found["nucleo-olivary"][1].purkinje.min() < signals.purkinje.min()


def test_shuffling_keeps_every_cells_activity_and_changes_its_time_anew(xp_device):
    whole = circuit(lesions=("granule-shuffle",))
    original = to_numpy(whole.granule)[:, :BINS]
    seen = []
    for number in (0, 1, 0):
        whole.trial(puff(), number)
        turned = to_numpy(whole.activity)[:, :BINS].copy()
        assert np.allclose(np.sort(turned, axis=1), np.sort(original, axis=1))
        seen.append(turned)
    assert (seen[0] == seen[2]).all()
    active = original.any(axis=1)
    assert (seen[0] != seen[1]).any(axis=1)[active].mean() > 0.9
    assert active.sum() > CELLS / 10


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"level": 0.0}, "level"),
        ({"level": 0.6}, "level"),
        ({"forgetting": -0.1}, "forgetting"),
        ({"forgetting": 1.0}, "forgetting"),
        ({"lesions": ("liver",)}, "lesion"),
    ],
)
def test_settings_that_make_no_circuit_are_refused(options, named):
    with pytest.raises(InputError, match=f"^{named}: "):
        circuit(**options)
