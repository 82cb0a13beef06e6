"""Every equation of the project: tag, formula, symbols and source. The code that computes one names its tag."""

from __future__ import annotations

from typing import NamedTuple


class Equation(NamedTuple):
    """One line of the table."""

    tag: str
    formula: str
    symbols: str
    source: str


_CEREBELLUM = "Liu, Li and Chen, Evaluating Adversarial Robustness in Simulated Cerebellum (2020)"

EQUATIONS = (
    Equation(
        "C1",
        "h = max(Jᵀx, 0)",
        "x mossy fibres (d), J projection (d × m, fixed, k inputs a cell), h granule cells (m)",
        f"{_CEREBELLUM}, Eq. 1",
    ),
    Equation(
        "C-J", "J_ij ~ N(0, 1/k) at the k inputs of cell j, 0 elsewhere", "k inputs per granule cell", f"{_CEREBELLUM}, Sec. 3.2"
    ),
    Equation(
        "C2", "z = h - μ,  ŷ = Wᵀz", "μ mean activity (m), W readout (m × c), ŷ Purkinje outputs (c)", f"{_CEREBELLUM}, Eq. 2"
    ),
    Equation(
        "C-LTD",
        "μ_t = β μ_{t-1} + (1 - β) h_t",
        "h_t mean response over the batch, β = 0.99, μ_0 = 0; frozen outside training",
        f"{_CEREBELLUM}, Sec. 3.2",
    ),
    Equation("C3", "l = ½‖ŷ - y‖²", "y one-hot target (c); e = ŷ - y is the climbing fibre's error", f"{_CEREBELLUM}, Eq. 3"),
    Equation(
        "C4",
        "∂l/∂W = z eᵀ",
        "pre-synaptic activity z times post-synaptic error e, averaged over the batch",
        f"{_CEREBELLUM}, Eq. 4 (printed there as eᵀz)",
    ),
    Equation("M-DX", "∂l/∂x = J ((W ∂l/∂ŷ) ⊙ [h > 0])", "⊙ product by element", "chain rule through C1 and C2"),
    Equation("M-LS", "W = (ZᵀZ + λI)⁻¹ ZᵀY", "rows of Z are z, rows of Y are y; λ ridge", "normal equations of C3"),
    Equation(
        "M-BP",
        "δ_l = (δ_{l+1} θ_{l+1}) ⊙ [v_l > 0],  ∂l/∂θ_l = δ_lᵀ x_l",
        "θ_l weights (outputs × inputs), v_l pre-activation",
        "Rumelhart, Hinton and Williams (1986)",
    ),
    Equation(
        "M-RMSPROP",
        "V = ρV + (1 - ρ)g²,  W = W - η g / (√V + ϵ)",
        "g gradient, ρ = 0.99, ϵ = 1e-8, η learning rate",
        "Tieleman and Hinton (2012), as the paper uses it (Table 1)",
    ),
    Equation(
        "M-ADAM",
        "M = β₁M + (1 - β₁)g,  V = β₂V + (1 - β₂)g²,  W = W - η (M/(1 - β₁ᵗ)) / (√(V/(1 - β₂ᵗ)) + ϵ)",
        "t step from 1, β₁ = 0.9, β₂ = 0.999, ϵ = 1e-8",
        "Kingma and Ba (2015), Algorithm 1",
    ),
    Equation("M-CE", "l = log Σ_j exp(z_j) - z_y", "z outputs, y label", "negative log-likelihood of a softmax"),
    Equation(
        "M-MARGIN",
        "l = max_{j≠y} z_j - z_y",
        "z outputs, y label; positive just when misclassified",
        "Carlini and Wagner (2017), f₆ without its floor",
    ),
    Equation(
        "M-FGSM",
        "x' = clip(x + ε sign(∂l/∂x), 0, 1)",
        "ε bound in L∞, l the objective ascended",
        "Goodfellow, Shlens and Szegedy (2015)",
    ),
    Equation(
        "M-PGD",
        "x_{t+1} = clip(x_t + α sign(∂l/∂x_t), max(x - ε, 0), min(x + ε, 1))",
        "α step size, x_0 uniform in the ball",
        "Madry et al. (2018)",
    ),
)


def equation(tag: str) -> Equation:
    """Return the equation with this tag; KeyError if there is none."""
    return {entry.tag: entry for entry in EQUATIONS}[tag]
