"""The equations of the likelihood-ratio paper and its estimators: tag, formula, symbols and source of each, as
:mod:`minicereb.calculus.equations` has them.
"""

_GLR = "Xiao, Peng, Hong and Ke, Training Artificial Neural Networks by Generalized Likelihood Ratio Method (2019)"

LIKELIHOOD_RATIO: tuple[tuple[str, str, str, str], ...] = (
    ("G1", "v = θᵀ[1; x] + r,  x' = φ(v)", "r = σe noise of the neuron, φ activation", f"{_GLR}, Sec. 2.1"),
    (
        "G3",
        "δ_l = φ'(v_l) ⊙ (θ_{l+1}ᵀ δ_{l+1}),  ∂L/∂θ_l = δ_l x_lᵀ",
        "δ of the last layer: ∂L/∂x' ⊙ φ'(v)",
        f"{_GLR}, Eq. 3",
    ),
    (
        "G5",
        "∂E[L]/∂θ_ab = E[L x_b s(r_a)],  s(r) = -f'(r)/f(r)",
        "f density of the noise, s its score",
        f"{_GLR}, Theorem 1 and Eq. 5",
    ),
    ("G6", "s(r) = r/σ²", "Gaussian noise of standard deviation σ", f"{_GLR}, Eq. 6"),
    (
        "G-A1",
        "θ_n = θ_{n-1} - λ_n G_n",
        "G_n the mean of the estimator over K replications and the batch, λ step",
        f"{_GLR}, Eq. 1 and Algorithm 1",
    ),
    ("G-SIGMOID", "φ(v) = 1/(1 + exp(-sv))", "s slope", f"{_GLR}, Sec. 2.1 and Fig. 2"),
    ("G-THRESHOLD", "φ(v) = [v > 0]", "0 at v = 0", f"{_GLR}, Sec. 2.1 and Fig. 2"),
    ("G-ABS", "φ(v) = |v|", "slope 0 at v = 0", f"{_GLR}, Fig. 7(a)"),
    ("G-ARCTAN", "φ(v) = arctan(1/v)", "-π/2 at v = 0", f"{_GLR}, Fig. 7(b)"),
    ("G-LOG", "φ(v) = ln max(|v|, 1e-6)", "1e-6 keeps it finite at v = 0", f"{_GLR}, Tables 1 and 2 (printed there as ln -x)"),
    ("G-LOGMINUS", "φ(v) = ln max(|v|, 1e-6) - v", "as G-LOG", f"{_GLR}, Fig. 7(c)"),
    (
        "G-ZEROONE",
        "L = [z_y < max_j z_j]",
        "z outputs, y label",
        f"{_GLR}, Sec. 2.1 (its formula is inverted; its Sec. 3.4 is not)",
    ),
    (
        "M-LOO",
        "∂E[L]/∂v = E[(L - b) s(r)],  b = mean of L over the other groups",
        "groups of replications that are independent: single ones, antithetic pairs, scrambles",
        "control variates; Kool, van Hoof and Welling (2019)",
    ),
    (
        "M-RB",
        "E[s(e) | h] = (h - p) f(a)/(p(1 - p)),  p = F(a),  a = u/σ",
        "h whether a threshold neuron fires, u its drive without noise, F distribution of e",
        "Rao and Blackwell on G5",
    ),
    (
        "M-FLIP",
        "∂E[L]/∂u_a = E[f(u_a/σ)/σ · (L(h_a = 1) - L(h_a = 0))]",
        "the other noise held fixed",
        "M-RB averaged over h_a",
    ),
    (
        "M-RESAMPLE",
        "∂E[L]/∂v_a = E[(1/2Q) Σ_q (L(e_q) - L(-e_q)) s(e_q)/σ]",
        "e_q in the q-th of Q equal parts of the law's upper half in place of e_a, all other noise held fixed",
        "stratified antithetic form of G5, one neuron at a time",
    ),
    (
        "M-ZEROONE",
        "E[L] = 1 - E_t[∏_{j≠y} F((u_y - u_j)/σ + t)]",
        "0-1 loss over noise σt on the label's and independent noise on every other output, u outputs without noise",
        "probability that the label's output is the largest",
    ),
    ("M-SOBOL", "q = (Lx ⊕ d + ½)/2³²", "x digits of a Sobol point, L random lower triangular, d random", "Matoušek (1998)"),
    (
        "M-EXACT",
        "E[L] = Σ_h P(h) L(h),  P(h) = ∏_a F(u_a/σ)^h_a F(-u_a/σ)^(1-h_a)",
        "h all patterns of a hidden layer",
        "definition of the mean",
    ),
    ("M-PENALTY", "L + ½ λ₂ Σθ² + λ₁ Σ|θ|", "θ weights, biases apart", "ridge and lasso"),
)
