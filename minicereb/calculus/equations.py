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
_GLR = "Xiao, Peng, Hong and Ke, Training Artificial Neural Networks by Generalized Likelihood Ratio Method (2019)"

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
    Equation(
        "M-COSINE",
        "η_t = ½ η (1 + cos(π (t - 1)/T)) min(1, 20 t/T)",
        "t step from 1, T steps in all, η learning rate; 0 after T steps",
        "Loshchilov and Hutter (2017), Eq. 5, without restarts, after a linear rise",
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
    Equation("G1", "v = θᵀ[1; x] + r,  x' = φ(v)", "r = σe noise of the neuron, φ activation", f"{_GLR}, Sec. 2.1"),
    Equation(
        "G3",
        "δ_l = φ'(v_l) ⊙ (θ_{l+1}ᵀ δ_{l+1}),  ∂L/∂θ_l = δ_l x_lᵀ",
        "δ of the last layer: ∂L/∂x' ⊙ φ'(v)",
        f"{_GLR}, Eq. 3",
    ),
    Equation(
        "G5",
        "∂E[L]/∂θ_ab = E[L x_b s(r_a)],  s(r) = -f'(r)/f(r)",
        "f density of the noise, s its score",
        f"{_GLR}, Theorem 1 and Eq. 5",
    ),
    Equation("G6", "s(r) = r/σ²", "Gaussian noise of standard deviation σ", f"{_GLR}, Eq. 6"),
    Equation(
        "G-A1",
        "θ_n = θ_{n-1} - λ_n G_n",
        "G_n the mean of the estimator over K replications and the batch, λ step",
        f"{_GLR}, Eq. 1 and Algorithm 1",
    ),
    Equation("G-SIGMOID", "φ(v) = 1/(1 + exp(-sv))", "s slope", f"{_GLR}, Sec. 2.1 and Fig. 2"),
    Equation("G-THRESHOLD", "φ(v) = [v > 0]", "0 at v = 0", f"{_GLR}, Sec. 2.1 and Fig. 2"),
    Equation("G-ABS", "φ(v) = |v|", "slope 0 at v = 0", f"{_GLR}, Fig. 7(a)"),
    Equation("G-ARCTAN", "φ(v) = arctan(1/v)", "-π/2 at v = 0", f"{_GLR}, Fig. 7(b)"),
    Equation(
        "G-LOG", "φ(v) = ln max(|v|, 1e-6)", "1e-6 keeps it finite at v = 0", f"{_GLR}, Tables 1 and 2 (printed there as ln -x)"
    ),
    Equation("G-LOGMINUS", "φ(v) = ln max(|v|, 1e-6) - v", "as G-LOG", f"{_GLR}, Fig. 7(c)"),
    Equation(
        "G-ZEROONE",
        "L = [z_y < max_j z_j]",
        "z outputs, y label",
        f"{_GLR}, Sec. 2.1 (its formula is inverted; its Sec. 3.4 is not)",
    ),
    Equation(
        "M-LOO",
        "∂E[L]/∂v = E[(L - b) s(r)],  b = mean of L over the other groups",
        "groups of replications that are independent: single ones, antithetic pairs, scrambles",
        "control variates; Kool, van Hoof and Welling (2019)",
    ),
    Equation(
        "M-RB",
        "E[s(e) | h] = (h - p) f(a)/(p(1 - p)),  p = F(a),  a = u/σ",
        "h whether a threshold neuron fires, u its drive without noise, F distribution of e",
        "Rao and Blackwell on G5",
    ),
    Equation(
        "M-FLIP",
        "∂E[L]/∂u_a = E[f(u_a/σ)/σ · (L(h_a = 1) - L(h_a = 0))]",
        "the other noise held fixed",
        "M-RB averaged over h_a",
    ),
    Equation(
        "M-RESAMPLE",
        "∂E[L]/∂v_a = E[(1/2Q) Σ_q (L(e_q) - L(-e_q)) s(e_q)/σ]",
        "e_q in the q-th of Q equal parts of the law's upper half in place of e_a, all other noise held fixed",
        "stratified antithetic form of G5, one neuron at a time",
    ),
    Equation(
        "M-ZEROONE",
        "E[L] = 1 - E_t[∏_{j≠y} F((u_y - u_j)/σ + t)]",
        "0-1 loss over noise σt on the label's and independent noise on every other output, u outputs without noise",
        "probability that the label's output is the largest",
    ),
    Equation(
        "M-SOBOL", "q = (Lx ⊕ d + ½)/2³²", "x digits of a Sobol point, L random lower triangular, d random", "Matoušek (1998)"
    ),
    Equation(
        "M-EXACT",
        "E[L] = Σ_h P(h) L(h),  P(h) = ∏_a F(u_a/σ)^h_a F(-u_a/σ)^(1-h_a)",
        "h all patterns of a hidden layer",
        "definition of the mean",
    ),
    Equation("M-PENALTY", "L + ½ λ₂ Σθ² + λ₁ Σ|θ|", "θ weights, biases apart", "ridge and lasso"),
)


def equation(tag: str) -> Equation:
    """Return the equation with this tag; KeyError if there is none."""
    return {entry.tag: entry for entry in EQUATIONS}[tag]
