"""The equations of the motor tasks: tag, formula, symbols and source of each, as :mod:`minicereb.calculus.equations` has them."""

MOTOR: tuple[tuple[str, str, str, str], ...] = (
    (
        "M-DELAY",
        "dm/dt = A m + B u,  A_ij = (2i + 1)/θ · (-1 if i < j, else (-1)^(i-j+1)),  B_i = (2i + 1)(-1)^i/θ",
        "u signal, m its last θ milliseconds as coefficients of Legendre polynomials, i and j from 0",
        "Voelker, Kajić and Eliasmith (2019)",
    ),
    (
        "M-EXACT-STEP",
        "m(t + Δ) = Ā m(t) + B̄ u,  exp([A B; 0 0] Δ) = [Ā B̄; 0 1]",
        "u constant over the step Δ",
        "solution of a linear system",
    ),
    (
        "M-GOLGI",
        "h = max(Jᵀm - γ, 0),  γ = max(v_(k+1), 0)",
        "v_(k+1) the (k + 1)-th largest of all Jᵀm at that moment, k the number of cells that may be active",
        "inhibition that every granule cell shares",
    ),
    (
        "M-PURKINJE",
        "P = max(1 + Wᵀh, 0),  -½ ≤ W ≤ ½",
        "1 the rate at rest; W + ½ the synapses from parallel fibres, less the same drive by interneurons",
        "C2 with a rate that is never negative",
    ),
    (
        "M-NUCLEI",
        "N = max(b + v c - P, 0)",
        "b tonic drive, v mossy fibre synapses, c the conditioned stimulus",
        "what inhibition leaves of excitation",
    ),
    (
        "M-OLIVE",
        "e = max(u - κ K N, -e₀)",
        "u unconditioned stimulus, K mean of 50 to 150 ms earlier, e₀ spontaneous climbing fibre activity",
        "C3's error, which cannot fall below the silence of the climbing fibre",
    ),
    (
        "M-ELIGIBLE",
        "W ← clip((1 - λ)(W - η hᵀ Kᵀ e), ±½)",
        "rows of h are time bins, Kᵀ e the climbing fibre's error 50 to 150 ms later, λ share forgotten in a trial",
        "C4, derivative of ½‖u - κ K N‖² by W where nothing is at its bound",
    ),
    (
        "M-LTDLTP",
        "W ← clip((1 - λ)(W - η [h > 0]ᵀ Kᵀ e), ±½)",
        "as M-ELIGIBLE; where the climbing fibre is silent but for u, LTD within K's window is about nine times LTP outside it",
        "M-ELIGIBLE for synapses that know only whether their fibre is active",
    ),
    (
        "M-SAVINGS",
        "Δv = 2·10⁻⁴ #{c > 0, P ≤ 0.5} - 5·10⁻⁶ #{c > 0, P ≥ 0.9},  0 ≤ v ≤ 0.4",
        "# number of 5 ms bins of the trial",
        "plasticity of the nuclei, gated by Purkinje cells; after Medina, Garcia and Mauk (2001)",
    ),
    (
        "M-LID",
        "g ← g exp(-1/11) + 0.012 s,  l ← l - 0.02 l + max(g - 0.1, 0)(100 - l)",
        "each millisecond; s nuclear spikes, g conductance, l closure in percent",
        "a leaky lid with a threshold",
    ),
    (
        "M-POLE",
        "θ̈ = (g sin θ - cos θ p)/(l (4/3 - m cos²θ/(M + m))),  ẍ = p - m l θ̈ cos θ/(M + m),  p = (F + m l θ̇² sin θ)/(M + m)",
        "θ angle from upright, x place of the cart, F force on it, M and m masses of cart and pole, l half the pole's length",
        "Barto, Sutton and Anderson (1983), without friction, g above 0",
    ),
    (
        "M-POLE-ENERGY",
        "E = ½(M + m)ẋ² + m l ẋ θ̇ cos θ + ⅔ m l² θ̇² + m g l cos θ",
        "as in M-POLE; constant while F = 0",
        "a uniform pole's kinetic and potential energy",
    ),
    (
        "M-TUNING",
        "r_i = exp(-(s - s_i)²/2σ²)",
        "s a variable, held within its range, s_i the fibre's preferred value, σ the distance of two neighbours",
        "Gaussian tuning curves",
    ),
    (
        "M-ZONES",
        "u = ŷ_left - ŷ_right",
        "ŷ Purkinje outputs, which inhibit: a zone pushes to its side the more, the lower its output is",
        "opposing microzones",
    ),
    (
        "M-OUTWARD",
        "P(e = 1) = τ f min(1, |s|/s_max) if s ds/dt > 0, else 0",
        "s the pole's angle or the cart's place, s_max its limit, f a frequency, τ the step; e of the zone on the side of s",
        "a climbing fibre that tells of what moves outward",
    ),
    (
        "M-TD",
        "δ = r + γ V(t+1) - V(t),  Δv = α_v δ ē_v,  Δw = α_w δ ē_w,  ē ← γ λ ē + ∂",
        "r = -1 at failure, V = vᵀz, V = 0 after failure, γ = exp(-τ/T); ∂ = z for the critic, (a - u) z/σ for the actor, "
        "whose command u has noise of standard deviation σ on it and is a",
        "Barto, Sutton and Anderson (1983); Doya (2000)",
    ),
)
