"""Every equation of the project: tag, formula, symbols and source. The code that computes one names its tag."""

from __future__ import annotations

from typing import NamedTuple

from minicereb.calculus.glr_equations import LIKELIHOOD_RATIO
from minicereb.calculus.motor_equations import MOTOR


class Equation(NamedTuple):
    """One line of the table."""

    tag: str
    formula: str
    symbols: str
    source: str


_CEREBELLUM = "Yuezhang, Li and Chen, Evaluating Adversarial Robustness in Simulated Cerebellum (2020)"

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
    Equation("M-DENSE", "v = x θᵀ + b", "x inputs, θ weights (outputs × inputs), b bias", "affine map"),
    Equation(
        "M-BP",
        "δ_l = (δ_{l+1} θ_{l+1}) ⊙ [v_l > 0],  ∂l/∂θ_l = δ_lᵀ x_l",
        "θ_l weights (outputs × inputs), v_l pre-activation",
        "Rumelhart, Hinton and Williams (1986)",
    ),
    Equation(
        "M-CONV",
        "v[p, o] = Σ_q θ[o, q] x[s p + q - padding] + b[o]",
        "p position of the output, q pixel and channel of the kernel, o output channel, s stride; x is 0 outside the image",
        "LeCun et al. (1998); as networks have it, the kernel is not turned round",
    ),
    Equation(
        "M-CONV-DX",
        "∂l/∂x[s p + q - padding] += Σ_o δ[p, o] θ[o, q]",
        "δ[p, o] credit of an output; summed over all p and q",
        "M-CONV",
    ),
    Equation("M-CONV-DW", "∂l/∂θ[o, q] = Σ_p δ[p, o] x[s p + q - padding]", "summed over the batch too", "M-CONV"),
    Equation(
        "M-WINOGRAD",
        "v = Aᵀ[(GθGᵀ) ⊙ (BᵀxB)]A",
        "for each 2 × 2 outputs: θ a kernel of 3 × 3, x the 4 × 4 pixels it sees; summed over channels between the brackets",
        "Lavin and Gray (2016), F(2 × 2, 3 × 3); equals M-CONV with stride 1 and padding 1",
    ),
    Equation("M-WINOGRAD-DW", "∂l/∂θ = Gᵀ[Σ (AδAᵀ) ⊙ (BᵀxB)]G", "summed over the tiles of the batch", "M-WINOGRAD"),
    Equation("M-POOL", "h[p] = max_q x[n p + q]", "q pixel of a square of n × n, the first among equals wins", "max pooling"),
    Equation(
        "M-BN",
        "h = γ (v - μ) / √(σ² + ϵ) + β",
        "μ, σ² mean and variance of a channel over batch and positions while learning, fixed later; ϵ = 1e-5",
        "Ioffe and Szegedy (2015), Algorithm 1",
    ),
    Equation(
        "M-BN-DX",
        "∂l/∂v = γ/√(σ² + ϵ) (δ - mean δ - u mean(δ u))",
        "u = (v - μ)/√(σ² + ϵ), means over batch and positions",
        "chain rule through M-BN, its mean and variance",
    ),
    Equation("M-DROPOUT", "h = x m,  m = [u ≥ p] / (1 - p)", "u uniform in [0, 1), p share silenced", "Srivastava et al. (2014)"),
    Equation("M-SGD", "W = W - η g", "g gradient, η learning rate", "Robbins and Monro (1951)"),
    Equation(
        "M-MOMENTUM", "V = ρV + g,  W = W - η V", "g gradient, ρ = 0.9, η learning rate", "Polyak (1964); Sutskever et al. (2013)"
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
    Equation("M-MARGIN-T", "l = z_t - z_y", "t the class that y is to be taken for", "Carlini and Wagner (2017), as M-MARGIN"),
    Equation("M-CE-T", "l = z_t - log Σ_j exp(z_j)", "t as in M-MARGIN-T", "log-likelihood of the target, see M-CE"),
    Equation(
        "M-DLR",
        "l = (max_{j≠y} z_j - z_y)/(z_π1 - z_π3 + 1e-12)",
        "π sorts the outputs z, the largest first; with two classes the margin",
        "Croce and Hein (2020), Eq. 6",
    ),
    Equation(
        "M-DLR-T",
        "l = (z_t - z_y)/(z_π1 - ½(z_π3 + z_π4) + 1e-12)",
        "t the target; with fewer than four classes the targeted margin",
        "Croce and Hein (2020), Eq. 7",
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
    Equation(
        "M-MI",
        "g_{t+1} = μ g_t + ∇/‖∇‖,  x_{t+1} = P(x_t + α u(g_{t+1}))",
        "∇ = ∂l/∂x at x_t or, by Nesterov, at P(x_t + αμ g_t), over its mean size in L∞ and its length in L2; u steepest ascent",
        "Dong et al. (2018), Algorithm 1; Lin et al. (2020), Eq. 6 and 7",
    ),
    Equation(
        "M-L2",
        "x' = P(x + α g/‖g‖₂),  P(z) = clip(x + (z - x) min(1, ε/‖z - x‖₂), 0, 1)",
        "steepest ascent and projection in L2, g = ∂l/∂x",
        "Madry et al. (2018)",
    ),
    Equation(
        "M-APGD",
        "z = P(x_k + η u(g_k)),  x_{k+1} = P(x_k + a(z - x_k) + (1 - a)(x_k - x_{k-1}))",
        "u steepest ascent, P projection, a = 1 at first, then 0.75; η = 2ε, halved for an image that makes no progress",
        "Croce and Hein (2020), Algorithm 1",
    ),
    Equation(
        "M-FAB",
        "x_{i+1} = clip((1 - α)(x_i + ηδ_i) + α(x + ηδ_x), 0, 1),  α = min(‖δ_i‖/(‖δ_i‖ + ‖δ_x‖), 0.1)",
        "δ_i, δ_x least moves from x_i and from the image x to the decision's tangent plane within the box, η = 1.05",
        "Croce and Hein (2019), Algorithm 1",
    ),
    Equation(
        "M-FMN",
        "x_{k+1} = clip(P_k(x_k + α ∇/‖∇‖₂), 0, 1),  ε_{k+1} = min((1 - γ) ε_k, ‖δ*‖) where x_k is wrong, else (1 + γ) ε_k",
        "P_k projection onto the ball of ε_k, δ* least change found; before there is one ε is the way to margin 0; α, γ fall",
        "Pintor et al. (2021), Algorithm 1",
    ),
    Equation(
        "M-PLANE",
        "δ_j = sign(r w_j) min(λ a_j, room_j),  Σ_j |w_j| min(λ a_j, room_j) = |r|",
        "least δ with w·δ = r in the box; a_j = 1 in L∞, |w_j| in L2; room_j to the box's face ahead",
        "Croce and Hein (2019), Sec. 3.1; here λ by Newton's method",
    ),
    Equation(
        "M-SQUARE",
        "x' = P(x̂ + δ) if l(x') > l(x̂),  δ = ±2ε on a random square of side √(p h w)",
        "p falls from 0.8; ± for each channel; in L2 the norm of two windows is moved into one",
        "Andriushchenko et al. (2020), Algorithms 1 to 3",
    ),
    Equation(
        "M-STRAIGHT",
        "∂E[φ(v + σe)]/∂v = E[φ(v + σe) s(e)]/σ, for a threshold f(v/σ)/σ",
        "in place of φ'(v) in G3; f density of the noise e, s its score",
        "Bengio, Léonard and Courville (2013), with the slope of the mean response",
    ),
    Equation(
        "M-ADV",
        "min_θ mean over images of max_{x' in the ball} l(x', y; θ)",
        "θ what learns, x' an image within ε of x, found by M-PGD, l the loss",
        "Madry et al. (2018), Eq. 2.1",
    ),
    Equation(
        "M-IBP",
        "v = Wh + b: W c + b - |W| r ≤ v ≤ W c + b + |W| r,  φ(v) within the image of that interval",
        "c, r centre and radius of the intervals of h",
        "interval arithmetic; Gowal et al. (2018), arXiv:1810.12715, Sec. 3",
    ),
    Equation(
        "M-CROWN",
        "Σ_i a_i φ(v_i) ≥ Σ_i max(a_i, 0)(λ_i v_i + κ_i) + min(a_i, 0)(Λ_i v_i + Κ_i), from the last layer to the first",
        "λv + κ and Λv + Κ lines below and above φ on [l, u]",
        "Zhang et al. (2018), arXiv:1811.00866, Theorem 3.2",
    ),
    Equation(
        "M-RELAX",
        "[u > |l|] v ≤ max(v, 0) ≤ u (v - l)/(u - l)",
        "l < 0 < u bounds of v",
        "Zhang et al. (2018), arXiv:1811.00866, Sec. 3.3, adaptive",
    ),
    Equation(
        "M-STEP",
        "[u > |l|] v/u ≤ [v > 0] ≤ 1 + [|l| > u] v/|l|",
        "l ≤ 0 < u bounds of v",
        "of the lines through 0 or 1 at v = 0, the constant or the steepest: the smaller area",
    ),
    Equation(
        "M-ABSLINES",
        "sign(u + l) v ≤ |v| ≤ u + (u + l)(v - u)/(u - l)",
        "l < 0 < u bounds of v",
        "the side of smaller area, and the chord",
    ),
    Equation(
        "M-MAXLINES",
        "v_m ≤ max_i v_i ≤ min(c + Σ_i max(u_i - c, 0)(v_i - l_i)/(u_i - l_i), max_i u_i),  c = max_i l_i",
        "l_i ≤ v_i ≤ u_i; m the one with the largest l + u; of the two above, the one that is lower in the middle",
        "max_i v_i ≤ c + Σ_i max(v_i - c, 0), and the chord of each term",
    ),
    Equation(
        "M-SIGLINES",
        "φ(v) ≤ φ(d) + φ'(d)(v - d),  d ≥ 0 with φ(l) ≤ φ(d) + φ'(d)(l - d); or the chord, if φ'(u) ≥ its slope",
        "φ sigmoid, l, u bounds of v; below by φ(-v) = 1 - φ(v)",
        "Zhang et al. (2018), arXiv:1811.00866, Sec. 3.3",
    ),
    Equation(
        "M-LINEAR",
        "min a·x = a·c - |a|·r",
        "over the box of centre c and radius r: the ball in L∞ within [0, 1]",
        "each pixel at its own end",
    ),
    Equation(
        "M-DUAL",
        "min a·(x + δ) ≥ a·(x + δ_λ) + ½λ(‖δ_λ‖² - ε²),  δ_λ = clip(-a/λ, -x, 1 - x)",
        "over ‖δ‖₂ ≤ ε within the box, for any λ > 0",
        "Lagrange's dual of the ball; equal at the best λ",
    ),
    Equation(
        "M-ROUND",
        "|fl(Wh + b) - (Wh + b)| ≤ γ (|W||h| + |b|),  γ = u min(n, 6√n)",
        "u unit roundoff, n terms of the sum",
        "Higham (2002), Sec. 3.1; for n > 36 Higham and Mary (2019), Theorem 2.4, with λ = 6",
    ),
    Equation("M-CERTIFY", "min_{j≠y} (bound below z_y - z_j) - rounding > 0", "over the ball; z outputs, y label", "definition"),
    Equation(
        "M-SMOOTH",
        "‖Wδ‖₂ < ½σ (Φ⁻¹(p_A) - Φ⁻¹(p_B)),  ‖Wδ‖₂ ≤ ‖W‖₂‖δ‖₂,  ‖Wδ‖₂ ≤ ‖δ‖_∞ √(Σ_a ‖w_a‖₁²)",
        "W first layer, rows w_a, σ its Gaussian noise, p_A ≤ probability of the label, p_B ≥ that of every other class",
        "Cohen, Rosenfeld and Kolter (2019), Theorem 1, at the first signals; mean probabilities: Salman et al. (2019), Lemma 2",
    ),
    Equation(
        "M-BERNSTEIN",
        "E[p] ≤ p̄ + √(2V ln(2/δ)/n) + 7 ln(2/δ)/(3(n - 1)),  E[p] ≤ p̄ + √(ln(1/δ)/2n)",
        "p̄ mean of n independent numbers in [0, 1], V their variance; each with probability 1 - δ",
        "Maurer and Pontil (2009), Theorem 4; Hoeffding (1963), Theorem 1",
    ),
    Equation(
        "M-DIM",
        "D = (tr C)²/tr C² = (Σ_i λ_i)²/Σ_i λ_i²",
        "C covariance of the cells' activity over inputs, λ its eigenvalues; the participation ratio",
        "Litwin-Kumar et al. (2017), Neuron 93",
    ),
    Equation(
        "M-DIM-U",
        "tr C² ≈ mean(G_pq²) - 2 mean(G_pq G_pr) + mean(G_pq G_rs),  (tr C)² ≈ mean(d_pq d_rs)",
        "p, q, r, s different images, G_pq = h_p·h_q, d_pq = ½‖h_p - h_q‖²",
        "U-statistics; Chen, Zhang and Zhong (2010)",
    ),
    Equation(
        "M-DIM-T",
        "D = 1/(1/M + (1 - 1/M) E[(c(p/K)/(f - f²))²]),  c(ρ) = ∫₀^ρ φ₂(θ, θ; r) dr",
        "M cells with K of N inputs each, p ~ Hypergeometric(N, K, K) shared, f = Φ(-θ), φ₂ normal density of correlation r",
        "Litwin-Kumar et al. (2017), Neuron 93, Methods: threshold cells, equal weights, independent normal inputs",
    ),
    *(Equation(*line) for line in (*LIKELIHOOD_RATIO, *MOTOR)),
)


def equation(tag: str) -> Equation:
    """Return the equation with this tag; KeyError if there is none."""
    return {entry.tag: entry for entry in EQUATIONS}[tag]
