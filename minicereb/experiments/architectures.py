"""Settings of each kind of model, from which the model and its learning rule are built; and the stored arrays of a model.

Each kind has a `family`, the prefix of the names of its run folders, and a `description` for tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minicereb.attacks.adversarial_training import AdversarialTraining
from minicereb.backend import Array, to_device, to_numpy
from minicereb.calculus.activations import ACTIVATIONS, Activation
from minicereb.calculus.losses import DESCENDED
from minicereb.calculus.noise import LAWS, law_named
from minicereb.calculus.replicated import LOSSES, loss_named
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, require
from minicereb.experiments.identity import config_kind
from minicereb.learning.backprop import Backpropagation, statistics_of
from minicereb.learning.estimators import LEARNED_BY
from minicereb.learning.glr import GLR, LAST_LAYER, PLACEMENTS, estimator_named, estimator_with
from minicereb.learning.history import ALLOCATIONS, BASELINES
from minicereb.learning.interval_backprop import IntervalBackpropagation
from minicereb.learning.least_squares import least_squares_readout
from minicereb.learning.optimizers import Optimizer, make_optimizer
from minicereb.learning.pessimistic import PessimisticDeltaRule
from minicereb.learning.plasticity import DeltaRule
from minicereb.learning.probes import PROBES
from minicereb.learning.rules import LEAST_SQUARES, PESSIMISTIC, rule_named, rule_names
from minicereb.learning.training import Learner, Split
from minicereb.models.cerebellum import CerebellarNetwork, initial_cerebellum
from minicereb.models.convolutional import initial_convolutional
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy import NoisyNetwork, check_scales, initial_noisy
from minicereb.models.noisy_convolution import POOLING, initial_noisy_convolutional
from minicereb.models.noisy_time import PRESENTATIONS, initial_noisy_in_time
from minicereb.models.sequential import Sequential
from minicereb.models.visual import VisualCerebellum, encoder_of, with_encoder
from minicereb.models.wiring import KINDS, draw_wiring
from minicereb.parallel import blocks
from minicereb.settings import Setting, field_of, setting

if TYPE_CHECKING:
    from minicereb.experiments.configs import Train

L2 = Setting("Weight penalty ½ l2 Σθ² on all parameters except biases.", at_least=0)
L1 = Setting("Weight penalty l1 Σ|θ| on all parameters except biases.", at_least=0)
MOSSY = ("graded", "threshold")
NETWORKS = ("dense", "cnn", "recurrent", "spiking")  # with neuronal noise
IN_TIME = ("recurrent", "spiking")


def require_with(name: str, value: float | None, used: bool, option: str) -> None:
    """Raise :class:`InputError` if a setting has a value without the `option` that uses it, or no value with that option."""
    require(
        (value is not None) == used, name, value, f"a value with {option}" if used else f"no value: it is used only with {option}"
    )


@config_kind
@dataclass(frozen=True)
class CerebellumModel:
    """Settings of a cerebellum; see :func:`minicereb.models.wiring.draw_wiring`."""

    family: ClassVar[str] = "cerebellum"
    wiring: str = setting(help="Inputs of a granule cell: all fibres, random fibres, or neighbouring fibres.", choices=KINDS)
    cells: int = setting(help="Number of granule cells.", at_least=1)
    inputs_per_cell: int | None = setting(
        None, "Number of mossy fibres per granule cell.", at_least=1, usual="all fibres; for full wiring only"
    )
    replacement: bool = setting(
        False, "For random wiring: whether a cell's inputs are drawn with replacement, as in the authors' code."
    )
    patch: bool = setting(
        False,
        "For local wiring: whether a cell receives a patch of the image instead of consecutive pixels of the flattened image.",
    )
    field: int | None = setting(
        None,
        "For local wiring: side of the square of pixels from which a cell's inputs are drawn.",
        at_least=1,
        usual="neighbouring pixels only",
        added=True,
    )
    codons: float | None = setting(
        None,
        "Share of a granule cell's inputs that fire in its codon, the pattern that the cell recognises.",
        at_least=0,
        at_most=1,
        usual="gaussian weights",
        added=True,
    )
    ltd: bool = setting(True, "Whether long-term depression centres the activity of the granule cells.")
    ltd_decay: float = setting(0.99, "Decay of the moving average that LTD subtracts.", at_least=0, below=1)
    rule: str = setting(
        "delta", "How the readout is learned: by a local rule, or (least-squares) in closed form.", choices=rule_names
    )
    loss: str = setting("mse", "Loss whose derivative the climbing fibres carry.", choices=DESCENDED, added=True)
    mossy_fibres: str = setting(
        "graded",
        "Whether mossy fibres transmit pixel values, or fire if their pixel is above a threshold.",
        choices=MOSSY,
        added=True,
    )
    threshold: float | None = setting(
        None, "Brightness of a pixel above which its mossy fibre fires.", above=0, below=1, usual="graded fibres", added=True
    )
    uncertainty: float | None = setting(
        None,
        "For the pessimistic rule: L∞ bound ε for the worst activity.",
        at_least=0,
        usual="another rule",
        option="epsilon",
        added=True,
    )
    pessimism: float | None = setting(
        None,
        "For the pessimistic rule: weight of the worst activity in the weight change.",
        at_least=0,
        at_most=1,
        usual="another rule",
        added=True,
    )

    def __post_init__(self) -> None:
        if self.wiring == "full":
            none = self.inputs_per_cell is None
            require(none, "inputs-per-cell", self.inputs_per_cell, "no value: with full wiring every cell receives all fibres")
        elif self.inputs_per_cell is None or self.inputs_per_cell < 1:
            raise InputError("inputs-per-cell", self.inputs_per_cell, f"a whole number of at least 1 for {self.wiring} wiring")
        require(not self.replacement or self.wiring == "random", "replacement", self.replacement, "only with --wiring random")
        require(not self.patch or self.wiring == "local", "patch", self.patch, "only with --wiring local")
        least = self.loss == "mse" or self.rule != LEAST_SQUARES
        require(least, "loss", self.loss, f"mse, which --rule {LEAST_SQUARES} minimises")
        local = self.wiring == "local" and not self.patch
        require(
            self.field is None or local, "field", self.field, "no value: it is used only with --wiring local, without --patch"
        )
        fires, expects = self.mossy_fibres == "threshold", self.rule == PESSIMISTIC
        require_with("threshold", self.threshold, fires, "--mossy-fibres threshold")
        require_with("epsilon", self.uncertainty, expects, f"--rule {PESSIMISTIC}")
        require_with("pessimism", self.pessimism, expects, f"--rule {PESSIMISTIC}")

    @property
    def description(self) -> str:
        """A short description."""
        wiring = self.wiring if self.inputs_per_cell is None else f"{self.wiring} k={self.inputs_per_cell}"
        loss = "" if self.loss == "mse" else f", {self.loss}"
        wiring += "" if self.field is None else f" of {self.field}x{self.field}"
        wiring += "" if self.codons is None else f", codons {self.codons:g}"
        fires = "" if self.threshold is None else f", fibres fire above {self.threshold:g}"
        expects = "" if self.rule != PESSIMISTIC else f", {self.pessimism:g} pessimistic to {self.uncertainty:g}"
        return f"{wiring}, {self.cells:,} cells, {'LTD' if self.ltd else 'no LTD'}{fires}{loss}{expects}"

    def build(self, dataset: Dataset, seed: int, encoder: Any = None) -> CerebellarNetwork | VisualCerebellum:
        """Return the untrained model, preceded by the convolutions of any `encoder`; equal settings give identical models."""
        convolutions, shape = None, dataset.image_shape
        if encoder is not None:
            convolutions, features = encoder_of(encoder)
            shape = (features,)
        variants: dict[str, Any] = {name: getattr(self, name) for name in ("replacement", "patch", "field", "codons")}
        wiring = draw_wiring(self.wiring, self.cells, shape, self.inputs_per_cell, seed, **variants)
        cerebellum = initial_cerebellum(wiring, dataset.classes, seed, self.threshold)
        return cerebellum if convolutions is None else with_encoder(convolutions, cerebellum)

    def learner(self, model: Any, optimizer: Optimizer, batch_size: int, seed: int, total_steps: int, images: int) -> Learner:
        """Return the learning rule of `model`; if the model has an encoder, the rule learns from its features."""
        moves = self.ltd and self.rule != LEAST_SQUARES  # the closed form computes the mean together with the readout
        decay = self.ltd_decay if moves else None
        cerebellum, error = getattr(model, "cerebellum", model), DESCENDED[self.loss]
        if self.uncertainty is not None and self.pessimism is not None:
            share = self.pessimism
            return PessimisticDeltaRule(cerebellum, optimizer, batch_size, decay, self.uncertainty, share, total_steps, error)
        return DeltaRule(cerebellum, optimizer, batch_size, decay, error, rule_named(self.rule))


def penalties_of(model: PerceptronModel | NoisyModel) -> str:
    """Return a description of the weight penalties, beginning with a comma, or an empty string if there are none."""
    return "".join(f", {name} {value:g}" for name, value in (("l2", model.l2), ("l1", model.l1)) if value)


@config_kind
@dataclass(frozen=True)
class PerceptronModel:
    """Settings of a multilayer perceptron, trained by backpropagation."""

    family: ClassVar[str] = "mlp"
    hidden: tuple[int, ...] = setting(help="Units of each hidden layer; none for a linear classifier.", at_least=1)
    l2: float = field_of(L2, 0.0, added=True)
    l1: float = field_of(L1, 0.0, added=True)
    loss: str = setting("cross-entropy", "Loss to minimise; mse is the loss of the cerebellum.", choices=DESCENDED, added=True)
    interval_bounds: float | None = setting(
        None,
        "Also learn from interval bounds on the outputs, for all images within ε in L∞.",
        at_least=0,
        usual="no interval bounds",
        added=True,
    )
    pessimism: float | None = setting(
        None, "Weight of the loss at the interval bounds.", at_least=0, at_most=1, usual="no bounds", added=True
    )

    def __post_init__(self) -> None:
        require_with("pessimism", self.pessimism, self.interval_bounds is not None, "--interval-bounds")

    @property
    def description(self) -> str:
        """A short description."""
        loss = "" if self.loss == "cross-entropy" else f", {self.loss}"
        bounds = "" if self.interval_bounds is None else f", {self.pessimism:g} interval bounds {self.interval_bounds:g}"
        return f"perceptron {'-'.join(map(str, self.hidden))}{loss}{penalties_of(self)}{bounds}"

    def build(self, dataset: Dataset, seed: int, encoder: Any = None) -> Sequential:
        """Return the untrained model; equal settings give identical models."""
        return initial_mlp(dataset.inputs, self.hidden, dataset.classes, seed)

    def learner(self, model: Any, optimizer: Optimizer, batch_size: int, seed: int, total_steps: int, images: int) -> Learner:
        """Return the learning rule of `model`."""
        how: dict[str, Any] = {"l2": self.l2, "l1": self.l1, "loss": self.loss}
        if self.interval_bounds is None or self.pessimism is None:
            return Backpropagation(model, optimizer, batch_size, **how)
        how |= {"epsilon": self.interval_bounds, "pessimism": self.pessimism, "total_steps": total_steps}
        return IntervalBackpropagation(model, optimizer, batch_size, **how)


@config_kind
@dataclass(frozen=True)
class NoisyModel:
    """Settings of a network with neuronal noise and of its learning rule; see :mod:`minicereb.learning.glr`."""

    family: ClassVar[str] = "glr"
    hidden: tuple[int, ...] = setting(help="Neurons of each hidden layer.", at_least=1)
    activation: str = setting("threshold", "Activation of the neurons.", choices=ACTIVATIONS)
    slope: float = setting(1.0, "Slope of the sigmoid.")
    noise: str = setting("gaussian", "Distribution of the noise.", choices=(*LAWS, "none"))
    noise_scale: tuple[float, ...] = setting((2.0,), "Scale σ of the noise: one for all layers, or one for each.")
    noise_degrees: float | None = setting(None, "Degrees of freedom of Student's t.", usual="3")
    output_noise: bool = setting(True, "Whether the outputs have noise too.")
    output_activation: bool = setting(False, "Whether the outputs have an activation too.", off="no-output-activation")
    loss: str = setting("cross-entropy", "Loss from whose values the network learns.", choices=LOSSES)
    estimator: str = setting("flip", "How gradients are estimated.", choices=LEARNED_BY)
    replications: int = setting(1, "Noise samples per image.", at_least=1)
    last_layer: str = setting(
        "derivative",
        "How the last layer learns: from loss values (score, resample), or from the derivative of the loss (derivative).",
        choices=LAST_LAYER,
    )
    l2: float = field_of(L2, 0.0)
    l1: float = field_of(L1, 0.0)
    learn_scale: bool = setting(False, "Whether the noise scales learn as well.")
    network: str = setting(
        "dense",
        "Kind of network: dense layers only, or a network that begins with convolutions, recurrent neurons or spiking neurons.",
        choices=NETWORKS,
        added=True,
    )
    channels: tuple[int, ...] = setting((), "Channels of each convolution (cnn).", at_least=1, added=True)
    kernel: int = setting(5, "Side of the kernels of the convolutions (cnn).", at_least=1, unit="pixels", added=True)
    stride: int = setting(
        2, "Distance between neighbouring windows of a convolution (cnn).", at_least=1, unit="pixels", added=True
    )
    pool: int = setting(
        1, "Side of the squares of units that are pooled after a convolution (cnn).", at_least=1, unit="units", added=True
    )
    pooling: str = setting("mean", "How the units of a square are pooled.", choices=POOLING, added=True)
    placement: str = setting(
        "all",
        "Whether all layers have noise at once, or one layer at a time, each in its own runs.",
        choices=PLACEMENTS,
        added=True,
    )
    probes: int = setting(
        PROBES,
        "Number of units changed by flip or resample, per image and noise sample, in a convolution, in a recurrent layer (where "
        "a unit is one neuron in one time step) and, for resample, in a spiking layer.",
        at_least=1,
        added=True,
    )
    output_draws: int = setting(
        1,
        "Draws of the outputs' noise for each run; the hidden layers learn from the mean loss over them (--last-layer score).",
        at_least=1,
        added=True,
    )
    baseline: str = setting(
        "mean",
        "What estimators with a baseline subtract from the loss: the mean over the image's other noise samples, or a running "
        "mean over earlier steps, for the image's class or for the image itself.",
        choices=BASELINES,
        added=True,
    )
    allocation: str = setting(
        "equal",
        "Whether every image has the same number of noise samples, or a larger number if its gradient has varied more.",
        choices=ALLOCATIONS,
        added=True,
    )
    presentation: str = setting(
        "rows",
        "Whether a time step shows the next row of the image, or the whole image (recurrent, spiking).",
        choices=PRESENTATIONS,
        added=True,
    )
    steps: int = setting(8, "Number of time steps with --presentation whole.", at_least=1, added=True)
    leak: float = setting(
        0.8,
        "Share of the membrane potential that remains after a time step without a spike (spiking).",
        at_least=0,
        at_most=1,
        added=True,
    )
    persistence: float = setting(
        0.0,
        "For recurrent neurons: with 0, all recurrent weights are random at first; otherwise each neuron is at first connected "
        "only to itself, with this weight.",
        at_least=0,
        unit="noise scales",
        added=True,
    )

    def __post_init__(self) -> None:
        convolves = self.network == "cnn"
        require(len(self.hidden) >= 1 or convolves, "hidden", list(self.hidden), "at least one layer")
        expected = "at least one convolution with --network cnn" if convolves else "no value: it is used only with --network cnn"
        require(bool(self.channels) == convolves, "channels", list(self.channels), expected)
        Activation(self.activation, self.slope)
        self._check_time()
        named = estimator_named(self.estimator, self.last_layer, self.placement, self.probes, self.output_draws)
        estimator_with(named, self.baseline, self.allocation)
        if self.noise == "none":
            require(not self.noise_scale, "noise-scale", self.noise_scale, "nothing without noise")
            able = self.estimator in ("backprop", "surrogate")
            require(
                able, "noise", self.noise, f"a noise distribution, or --estimator backprop or surrogate; not {self.estimator}"
            )
            require(self.replications == 1, "replications", self.replications, "1 without noise, because all runs would be equal")
            require(not self.learn_scale, "learn-scale", self.learn_scale, "no learning of scales without noise")
            require(self.allocation == "equal", "allocation", self.allocation, "equal without noise")
        else:
            law_named(self.noise, self.noise_degrees)
            check_scales(self.noise_scale, len(self.channels) + len(self.hidden) + 1)

    def _check_time(self) -> None:
        """Check the settings of recurrent and spiking layers, and the other settings that such layers restrict."""
        if self.network not in IN_TIME:
            expected = "rows: other values need --network recurrent or spiking"
            require(self.presentation == "rows", "presentation", self.presentation, expected)
        recurrent = self.network == "recurrent"
        require(recurrent or not self.persistence, "persistence", self.persistence, "0, or --network recurrent")
        if self.network not in IN_TIME:
            return
        expected = f"one number with --network {self.network}: it has one layer with time steps"
        require(len(self.hidden) == 1, "hidden", ",".join(map(str, self.hidden)), expected)
        expected = f"all with --network {self.network}"
        require(self.placement == "all", "placement", self.placement, expected)
        if self.network == "spiking":
            able = self.activation == "threshold"
            require(able, "activation", self.activation, "threshold with --network spiking, whose neurons spike or are silent")
        score = "rao-blackwell, antithetic or baseline" if self.activation == "threshold" else "antithetic, baseline or backprop"
        fits = f"{'flip, ' if self.activation == 'threshold' else ''}resample, {score} with --network {self.network}"
        require(self.estimator != "exact", "estimator", self.estimator, fits)

    @property
    def description(self) -> str:
        """A short description."""
        noise = "no noise" if self.noise == "none" else f"{self.noise} {','.join(f'{scale:g}' for scale in self.noise_scale)}"
        layers = "-".join(map(str, self.hidden))
        if self.channels:
            layers = f"convolutional {'-'.join(map(str, self.channels))}; {layers}"
        if self.network in IN_TIME:
            shown = "rows as steps" if self.presentation == "rows" else f"{self.steps} steps"
            leak = f", leak {self.leak:g}" if self.network == "spiking" else ""
            kept = f", persistence {self.persistence:g}" if self.persistence else ""
            layers = f"{self.network} {layers}, {shown}{leak}{kept}"
        turn = "" if self.placement == "all" else ", noise in turn"
        how = "" if self.output_draws == 1 else f", {self.output_draws} output draws"
        how += "" if self.baseline == "mean" else f", baseline by {self.baseline}"
        how += ("" if self.allocation == "equal" else ", allocated") + penalties_of(self)
        return f"{self.activation} {layers}, {noise}, {self.loss}, {self.estimator} K={self.replications}{turn}{how}"

    def build(self, dataset: Dataset, seed: int, encoder: Any = None) -> NoisyNetwork:
        """Return the untrained model; equal settings give identical models."""
        how: dict[str, Any] = {
            "activation": Activation(self.activation, self.slope),
            "law": None if self.noise == "none" else law_named(self.noise, self.noise_degrees),
            "scales": self.noise_scale,
            "output_noise": self.output_noise,
            "output_activation": self.output_activation,
        }
        if self.network == "dense":
            return initial_noisy(dataset.inputs, self.hidden, dataset.classes, seed, **how)
        if self.network in IN_TIME:
            how |= {name: getattr(self, name) for name in ("presentation", "steps", "leak", "persistence")}
            spiking = self.network == "spiking"
            return initial_noisy_in_time(dataset.image_shape, self.hidden, dataset.classes, seed, spiking=spiking, **how)
        how |= {name: getattr(self, name) for name in ("kernel", "stride", "pool", "pooling")}
        return initial_noisy_convolutional(dataset.image_shape, self.channels, self.hidden, dataset.classes, seed, **how)

    def learner(self, model: Any, optimizer: Optimizer, batch_size: int, seed: int, total_steps: int, images: int) -> Learner:
        """Return the learning rule of `model`."""
        loss = loss_named(self.loss)
        estimator = estimator_named(self.estimator, self.last_layer, self.placement, self.probes, self.output_draws)
        how: dict[str, Any] = {name: getattr(self, name) for name in ("learn_scale", "l2", "l1", "baseline", "allocation")}
        how["images"] = images
        return GLR(model, loss, estimator, optimizer, batch_size, self.replications, seed, **how)


@config_kind
@dataclass(frozen=True)
class ConvolutionalModel:
    """Settings of a convolutional network; see :func:`minicereb.models.convolutional.initial_convolutional`.

    A stage is a tuple with the number of output channels of each of its convolutions.
    """

    family: ClassVar[str] = "cnn"
    stages: tuple[tuple[int, ...], ...] = setting(
        help="Numbers of outputs of the 3x3 convolutions in each stage; a stage ends with pooling.", at_least=1
    )
    hidden: tuple[int, ...] = setting(help="Units of each dense hidden layer.", at_least=1)
    batch_norm: bool = setting(
        False, "Whether each convolution is normalised by the statistics of its batch.", off="no-batch-norm"
    )
    dropout: tuple[float, float] = setting(
        (0.25, 0.5), "Dropout rates, after pooling and after dense layers.", at_least=0, below=1
    )
    l2: float = field_of(L2, 0.0)

    def __post_init__(self) -> None:
        require(all(self.stages), "stages", [list(stage) for stage in self.stages], "at least one convolution per stage")

    @property
    def description(self) -> str:
        """A short description."""
        stages = ", ".join("-".join(map(str, stage)) for stage in self.stages)
        return f"convolutional {stages}; {'-'.join(map(str, self.hidden))}{', batch norm' if self.batch_norm else ''}"

    def build(self, dataset: Dataset, seed: int, encoder: Any = None) -> Sequential:
        """Return the untrained model; equal settings give identical models."""
        return initial_convolutional(
            dataset.image_shape,
            dataset.classes,
            seed,
            stages=self.stages,
            hidden=self.hidden,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
            normalisation=dataset.channel_statistics,
        )

    def learner(self, model: Any, optimizer: Optimizer, batch_size: int, seed: int, total_steps: int, images: int) -> Learner:
        """Return the learning rule of `model`."""
        return Backpropagation(model, optimizer, batch_size, l2=self.l2, seed=seed)


Model = CerebellumModel | PerceptronModel | ConvolutionalModel | NoisyModel


# -- from settings to models, and from models to named arrays -----------------------------------------------------------------


def build_model(config: Train, dataset: Dataset) -> Any:
    """Return the untrained model of a training run; equal settings give identical models."""
    encoder = None if config.encoder is None else build_model(config.encoder, dataset)
    return config.model.build(dataset, config.seed, encoder)


def build_learner(config: Train, dataset: Dataset) -> Learner:
    """Return the learning rule of a training run, with the untrained model; an encoder's features replace the images."""
    total = total_steps(config, dataset)
    optimizer = make_optimizer(config.optimizer, config.learning_rate, None if config.schedule == "constant" else total)
    given = (build_model(config, dataset), optimizer, config.batch_size, config.seed, total, len(dataset.x_train))
    rule = config.model.learner(*given)
    return rule if config.adversary is None else AdversarialTraining(rule, config.adversary, config.seed, total)


def total_steps(config: Train, dataset: Dataset) -> int:
    """Return the number of updates in a training run."""
    images = len(Split(dataset, config.validation, config.seed).training)
    return config.epochs * -(-images // config.batch_size)


def solve(model: CerebellarNetwork, split: Split, ltd: bool) -> CerebellarNetwork:
    """Return `model` with the readout that fits the training images by least squares."""
    data = split.dataset
    groups = [split.training[group] for group in blocks(len(split.training), 1024)]
    batches = ((to_unit(to_device(data.x_train[ids])), to_device(data.y_train[ids])) for ids in groups)
    return least_squares_readout(model, batches, centre=ltd)


def model_arrays(model: Any) -> dict[str, Array]:
    """Return the arrays of a model that change during learning; the keys are their names in files."""
    if isinstance(model, CerebellarNetwork):
        return {"ltd_mean": model.ltd_mean, "readout": model.readout}
    if isinstance(model, NoisyNetwork):
        return model.parameters
    dense = [layer.parameters for layer in model.layers if hasattr(layer, "parameters")]
    learned = {f"{name}_{number}": array for number, layer in enumerate(dense) for name, array in layer.items()}
    learned |= statistics_of(model)
    return learned | model_arrays(model.cerebellum) if isinstance(model, VisualCerebellum) else learned


def exported_arrays(model: Any) -> dict[str, np.ndarray]:
    """Return all arrays of a model for use by other programs, named as in docs/formats.md.

    A cerebellum's projection is a CSR matrix, cells × inputs, even if its wiring is full.
    """
    arrays = {name: to_numpy(array) for name, array in model_arrays(model).items()}
    if isinstance(model, (CerebellarNetwork, VisualCerebellum)):
        data, indices, indptr = model.wiring.csr()
        arrays |= {"projection_data": data, "projection_indices": indices, "projection_indptr": indptr}
        if model.wiring.rest is not None:
            arrays["projection_rest"] = to_numpy(model.wiring.rest)
        if isinstance(model, CerebellarNetwork) and model.fires_above is not None:
            arrays["fires_above"] = np.array(model.fires_above, dtype=np.float32)
        arrays["projection_shape"] = np.array([model.wiring.cells, model.wiring.width], dtype=np.int64)
    return arrays
