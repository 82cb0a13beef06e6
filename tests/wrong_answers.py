"""What students write: the exercise, what the first hint must say (a regular expression), and the function's body."""

CLIP = "e = np.where(targets > 0, np.minimum(e, 0), np.maximum(e, 0))\n"

WRONG = [
    # Derivative of ReLU: relu_input_gradient(d_h, v)
    ("relu-derivative", "special case: at v = 0", "return d_h * (v >= 0)"),
    ("relu-derivative", "not differentiated", "return np.maximum(v, 0)"),
    ("relu-derivative", "missing mask", "return d_h.copy()"),
    ("relu-derivative", "mask inverted", "return np.where(v > 0, 0, d_h)"),
    ("relu-derivative", "d_h left out", "return (v > 0).astype(v.dtype)"),
    ("relu-derivative", "mask of the credit too", "return np.maximum(d_h, 0) * (v > 0)"),
    ("relu-derivative", "sign", "return -d_h * (v > 0)"),
    ("relu-derivative", "leaky.*0.1", "return np.where(v > 0, d_h, 0.1 * d_h)"),
    ("relu-derivative", "factor 1/batch", "return d_h * (v > 0) / len(v)"),
    ("relu-derivative", "changes d_h", "d_h *= v > 0\nreturn d_h"),
    ("relu-derivative", "changes d_h", "d_h[v <= 0] = 0\nreturn d_h"),
    ("relu-derivative", "transposed", "return (d_h * (v > 0)).T"),
    ("relu-derivative", "wrong dtype", "out = np.zeros(v.shape)\nout[v > 0] = d_h[v > 0]\nreturn out"),
    ("relu-derivative", "response for slope", "return d_h * np.maximum(v, 0)"),
    # The delta rule: readout_gradient(h, ltd_mean, outputs, targets)
    ("delta-rule", "factor batch.*a mean belongs", "return (h - ltd_mean).T @ (outputs - targets)"),
    ("delta-rule", "^sign", "return (h - ltd_mean).T @ (targets - outputs) / len(h)"),
    ("delta-rule", "missing mean", "return h.T @ (outputs - targets) / h.shape[0]"),
    ("delta-rule", "transposed", "return (outputs - targets).T @ (h - ltd_mean) / len(h)"),
    ("delta-rule", "squared error", "e = outputs - targets\nreturn (h - ltd_mean).T @ (e ** 2) / len(h)"),
    ("delta-rule", "batch mean", "z = h - h.mean(axis=0)\nreturn z.T @ (outputs - targets) / len(h)"),
    ("delta-rule", "factor 1/classes", "e = outputs - targets\nreturn (h - ltd_mean).T @ e / e.size"),
    ("delta-rule", "averages multiplied", "return np.outer((h - ltd_mean).mean(0), (outputs - targets).mean(0))"),
    ("delta-rule", "not transposed", "return (h - ltd_mean) @ (outputs - targets) / len(h)"),
    ("delta-rule", "factor 2", "return 2 * (h - ltd_mean).T @ (outputs - targets) / len(h)"),
    (
        "delta-rule",
        "softmax",
        "p = np.exp(outputs)\np /= p.sum(1, keepdims=True)\nreturn (h - ltd_mean).T @ (p - targets) / len(h)",
    ),
    ("delta-rule", "returns None", "g = (h - ltd_mean).T @ (outputs - targets) / len(h)"),
    ("delta-rule", "changes h", "h -= ltd_mean\nreturn h.T @ (outputs - targets) / len(h)"),
    ("delta-rule", "factor batch/.batch - 1.", "return (h - ltd_mean).T @ (outputs - targets) / (len(h) - 1)"),
    ("delta-rule", "-ltd_mean|ltd_mean has the wrong sign", "return (h + ltd_mean).T @ (outputs - targets) / len(h)"),
    # The LTD average: ltd_average(ltd_mean, h, decay)
    ("ltd-average", "decay swapped", "return (1 - decay) * ltd_mean + decay * h.mean(axis=0)"),
    ("ltd-average", "summed over the batch", "return decay * ltd_mean + (1 - decay) * h.sum(axis=0)"),
    ("ltd-average", "wrong axis", "return decay * ltd_mean + (1 - decay) * h.mean(axis=1)"),
    ("ltd-average", "one mean for all", "return decay * ltd_mean + (1 - decay) * np.mean(h)"),
    ("ltd-average", "not averaged over the batch", "return decay * ltd_mean + (1 - decay) * h"),
    ("ltd-average", "1 - decay left out", "return decay * ltd_mean + h.mean(axis=0)"),
    ("ltd-average", "changes ltd_mean", "ltd_mean *= decay\nltd_mean += (1 - decay) * h.mean(axis=0)\nreturn ltd_mean"),
    ("ltd-average", "one image after the other", "m = ltd_mean\nfor row in h:\n    m = decay * m + (1 - decay) * row\nreturn m"),
    ("ltd-average", "only the last image", "return decay * ltd_mean + (1 - decay) * h[-1]"),
    # Sparse projection: projection_input_gradient(weights, inputs, d_v, width)
    (
        "sparse-projection",
        "overwritten",
        "d = np.zeros((width, d_v.shape[1]), d_v.dtype)\nd[inputs] += weights[:, :, None] * d_v[:, None]\nreturn d",
    ),
    (
        "sparse-projection",
        "special case: a cell may have two",
        "d = np.zeros((width, d_v.shape[1]), d_v.dtype)\nfor c in range(len(weights)):\n"
        "    d[inputs[c]] += weights[c][:, None] * d_v[c]\nreturn d",
    ),
    (
        "sparse-projection",
        "weights left out",
        "d = np.zeros((width, d_v.shape[1]), d_v.dtype)\nnp.add.at(d, inputs, d_v[:, None] + 0 * weights[:, :, None])\nreturn d",
    ),
    (
        "sparse-projection",
        "transposed",
        "d = np.zeros((width, d_v.shape[1]), d_v.dtype)\nnp.add.at(d, inputs, weights[:, :, None] * d_v[:, None])\nreturn d.T",
    ),
    (
        "sparse-projection",
        "overwritten",
        "d = np.zeros((width, d_v.shape[1]), d_v.dtype)\nfor c in range(len(weights)):\n"
        "    for j in range(weights.shape[1]):\n        d[inputs[c, j]] = weights[c, j] * d_v[c]\nreturn d",
    ),
    ("sparse-projection", "crash.*shape", "return weights.T @ d_v[:width] + inputs"),
    # FGSM: fgsm(x, gradient, epsilon)
    ("fgsm", "not clipped", "return x + epsilon * np.sign(gradient)"),
    ("fgsm", "^descent", "return np.clip(x - epsilon * np.sign(gradient), 0, 1)"),
    ("fgsm", "no sign", "return np.clip(x + epsilon * gradient, 0, 1)"),
    ("fgsm", "only the change", "return epsilon * np.sign(gradient)"),
    ("fgsm", "L2 step", "g = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)\nreturn np.clip(x + epsilon * g, 0, 1)"),
    (
        "fgsm",
        "special case: a pixel whose derivative is 0",
        "return np.clip(x + np.where(gradient > 0, epsilon, -epsilon), 0, 1)",
    ),
    ("fgsm", "epsilon left out|step of 1", "return np.clip(x + np.sign(gradient), 0, 1)"),
    ("fgsm", "half of epsilon|½ epsilon", "return np.clip(x + epsilon / 2 * np.sign(gradient), 0, 1)"),
    ("fgsm", "changes x", "x += epsilon * np.sign(gradient)\nreturn np.clip(x, 0, 1)"),
    ("fgsm", "half a box", "return np.minimum(x + epsilon * np.sign(gradient), 1)"),
    # PGD's projection: project(z, x, epsilon)
    ("pgd-projection", "box left out", "return np.clip(z, x - epsilon, x + epsilon)"),
    ("pgd-projection", "ball left out", "return np.clip(z, 0, 1)"),
    ("pgd-projection", "only the change", "return np.clip(z - x, -epsilon, epsilon)"),
    ("pgd-projection", "ball around 0", "return np.clip(np.clip(z, -epsilon, epsilon), 0, 1)"),
    ("pgd-projection", "to the corner", "return np.clip(x + epsilon * np.sign(z - x), 0, 1)"),
    (
        "pgd-projection",
        "L2 ball",
        "d = z - x\nn = np.linalg.norm(d, axis=1, keepdims=True)\nreturn np.clip(x + d * np.minimum(1, epsilon / n), 0, 1)",
    ),
    ("pgd-projection", "z and x swapped", "return np.clip(np.clip(x, z - epsilon, z + epsilon), 0, 1)"),
    ("pgd-projection", "sent back", "return np.clip(np.where(np.abs(z - x) <= epsilon, z, x), 0, 1)"),
    # The score: score(r, scale)
    ("noise-score", "^sign", "return -np.tanh(r / (2 * scale)) / scale"),
    ("noise-score", "factor scale", "return np.tanh(r / (2 * scale))"),
    ("noise-score", "Gaussian", "return r / scale ** 2"),
    ("noise-score", "1/2 left out", "return np.tanh(r / scale) / scale"),
    (
        "noise-score",
        "special case|not finite",
        "F = 1 / (1 + np.exp(-r / scale))\ne = np.exp(r / scale)\nreturn (e - 1) / (e + 1) / scale",
    ),
    ("noise-score", "not divided by f", "F = 1 / (1 + np.exp(-r / scale))\nreturn (2 * F - 1) * F * (1 - F) / scale ** 2"),
    ("noise-score", "factor 1/scale", "return np.tanh(r / (2 * scale)) / scale ** 2"),
    ("noise-score", "distribution", "return 1 / (1 + np.exp(-r / scale))"),
    ("noise-score", "Laplace", "return np.sign(r) / scale"),
    # The likelihood-ratio estimator: glr_gradient(losses, x, r, scale)
    ("glr-estimator", "factor replications", "return (losses[:, None] * r / scale ** 2).T @ x"),
    ("glr-estimator", "factor scale", "return (losses[:, None] * r / scale).T @ x / len(losses)"),
    ("glr-estimator", "transposed", "return x.T @ (losses[:, None] * r / scale ** 2) / len(losses)"),
    ("glr-estimator", "baseline", "a = losses - losses.mean()\nreturn (a[:, None] * r / scale ** 2).T @ x / len(a)"),
    ("glr-estimator", "losses left out", "return (r / scale ** 2).T @ x / len(losses)"),
    ("glr-estimator", "^sign", "return -(losses[:, None] * r / scale ** 2).T @ x / len(losses)"),
    ("glr-estimator", "wrong axis", "return (losses * r / scale ** 2).T @ x / len(losses)"),
    ("glr-estimator", "means are multiplied", "return losses.mean() * (r / scale ** 2).T @ x / len(losses)"),
    # Rao-Blackwell: conditional_score(fires, drive, scale)
    (
        "rao-blackwell",
        "factor scale",
        "a = drive / scale\np, f = ndtr(a), np.exp(-a * a / 2) / np.sqrt(2 * np.pi)\nreturn (fires - p) * f / (p * (1 - p))",
    ),
    (
        "rao-blackwell",
        "drive not divided",
        "a = drive\np, f = ndtr(a), np.exp(-a * a / 2) / np.sqrt(2 * np.pi)\nreturn (fires - p) * f / (p * (1 - p)) / scale",
    ),
    (
        "rao-blackwell",
        "not finite",
        "a = drive / scale\np, f = ndtr(a), np.exp(-a * a / 2) / np.sqrt(2 * np.pi)\n"
        "return (fires - p) * f / (p * (1 - p)) / scale",
    ),
    ("rao-blackwell", "f left out", "p = ndtr(drive / scale)\nreturn (fires - p) / (p * (1 - p)) / scale"),
    ("rao-blackwell", "as if it fired", "a = drive / scale\nreturn np.exp(-a * a / 2) / np.sqrt(2 * np.pi) / ndtr(a) / scale"),
    (
        "rao-blackwell",
        "p.1 - p. left out",
        "a = drive / scale\nreturn (fires - ndtr(a)) * np.exp(-a * a / 2) / np.sqrt(2 * np.pi) / scale",
    ),
    ("rao-blackwell", "√.2π.", "a = drive / scale\np = ndtr(a)\nreturn (fires - p) * np.exp(-a * a / 2) / (p * (1 - p)) / scale"),
    # im2col: windows(x, size, stride)
    (
        "im2col",
        "stride left out",
        "b, h, w, c = x.shape\nreturn np.array([x[n, i:i + size, j:j + size].ravel() for n in range(b)"
        " for i in range(h - size + 1) for j in range(w - size + 1)])",
    ),
    (
        "im2col",
        "channels first",
        "b, h, w, c = x.shape\nreturn np.array([x[n, i:i + size, j:j + size].transpose(2, 0, 1).ravel() for n in range(b)"
        " for i in range(0, h - size + 1, stride) for j in range(0, w - size + 1, stride)])",
    ),
    (
        "im2col",
        "last windows missing",
        "b, h, w, c = x.shape\nreturn np.array([x[n, i:i + size, j:j + size].ravel() for n in range(b)"
        " for i in range(0, h - size, stride) for j in range(0, w - size, stride)])",
    ),
    (
        "im2col",
        "windows by column",
        "b, h, w, c = x.shape\nreturn np.array([x[n, i:i + size, j:j + size].ravel() for n in range(b)"
        " for j in range(0, w - size + 1, stride) for i in range(0, h - size + 1, stride)])",
    ),
    (
        "im2col",
        "images last",
        "b, h, w, c = x.shape\nreturn np.array([x[n, i:i + size, j:j + size].ravel()"
        " for i in range(0, h - size + 1, stride) for j in range(0, w - size + 1, stride) for n in range(b)])",
    ),
    (
        "im2col",
        "transposed",
        "b, h, w, c = x.shape\nreturn np.array([x[n, i:i + size, j:j + size].ravel() for n in range(b)"
        " for i in range(0, h - size + 1, stride) for j in range(0, w - size + 1, stride)]).T",
    ),
    # A shared weight: shared_gradient(losses, x, r, scale)
    ("shared-weight", "positions", "return np.einsum('k,kp,kpq->q', losses, r, x) / (scale**2 * r.size)"),
    ("shared-weight", "one weight for each position", "return np.einsum('k,kp,kpq->pq', losses, r, x) / (scale**2 * len(r))"),
    ("shared-weight", "sums multiplied", "return (losses * r.sum(axis=1)) @ x.sum(axis=1) / (scale**2 * len(r))"),
    ("shared-weight", "factor scale", "return np.einsum('k,kp,kpq->q', losses, r, x) / (scale * len(r))"),
    ("shared-weight", "baseline", "L = losses - losses.mean()\nreturn np.einsum('k,kp,kpq->q', L, r, x) / (scale**2 * len(r))"),
    ("shared-weight", "first position only", "return (losses * r[:, 0]) @ x[:, 0] / (scale**2 * len(r))"),
    ("shared-weight", "losses left out", "return np.einsum('kp,kpq->q', r, x) / (scale**2 * len(r))"),
    # A certificate: layer_bounds(weight, bias, low, high)
    (
        "certificate",
        "no ReLU",
        "c, r = (low + high) / 2, (high - low) / 2\nm, d = c @ weight.T + bias, r @ np.abs(weight).T\nreturn m - d, m + d",
    ),
    ("certificate", "no absolute value", "return np.maximum(low @ weight.T + bias, 0), np.maximum(high @ weight.T + bias, 0)"),
    (
        "certificate",
        "width for radius",
        "c, r = (low + high) / 2, high - low\nm, d = c @ weight.T + bias, r @ np.abs(weight).T\n"
        "return np.maximum(m - d, 0), np.maximum(m + d, 0)",
    ),
    (
        "certificate",
        "bias left out",
        "c, r = (low + high) / 2, (high - low) / 2\nm, d = c @ weight.T, r @ np.abs(weight).T\n"
        "return np.maximum(m - d, 0), np.maximum(m + d, 0)",
    ),
    (
        "certificate",
        "bounds swapped",
        "c, r = (low + high) / 2, (high - low) / 2\nm, d = c @ weight.T + bias, r @ np.abs(weight).T\n"
        "return np.maximum(m + d, 0), np.maximum(m - d, 0)",
    ),
    ("certificate", "wrong type.*2 arrays", "return np.maximum(low @ weight.T + bias, 0)[:, :, None]"),
    (
        "certificate",
        "ReLU of one end",
        "c, r = (low + high) / 2, (high - low) / 2\nm, d = c @ weight.T + bias, r @ np.abs(weight).T\n"
        "return np.maximum(m - d, 0), m + d",
    ),
    # The pessimistic rule: pessimistic_gradient(low, high, ltd_mean, readout, targets)
    *(
        (
            "pessimistic-rule",
            hint,
            f"true = targets[:, None] > 0\nz = np.where({least}, low[:, :, None], high[:, :, None]){minus}\n"
            f"e = (z * readout).sum(axis=1) - targets\n{clip}return np.einsum('nij,nj->ij', z, e){over}",
        )
        for hint, least, minus, clip, over in (
            ("best for worst", "(readout > 0) != true", " - ltd_mean[:, None]", CLIP, " / len(low)"),
            ("missing mean", "(readout > 0) == true", "", CLIP, " / len(low)"),
            ("not clipped", "(readout > 0) == true", " - ltd_mean[:, None]", "", " / len(low)"),
            ("sign left out", "(readout > 99) | true", " - ltd_mean[:, None]", CLIP, " / len(low)"),
            ("factor batch", "(readout > 0) == true", " - ltd_mean[:, None]", CLIP, ""),
            ("weight 0", "(readout >= 0) == true", " - ltd_mean[:, None]", CLIP, " / len(low)"),
        )
    ),
    (
        "pessimistic-rule",
        "middle of the bounds",
        f"z = (low + high) / 2 - ltd_mean\ne = z @ readout - targets\n{CLIP}return z.T @ e / len(low)",
    ),
    # Of any exercise
    ("fgsm", "crash.*NameError", "return np.clip(x + eps * np.sign(gradient), 0, 1)"),
    ("fgsm", "not finite", "return x + gradient / 0 * np.nan"),
    ("fgsm", "wrong type.*str", "return str(epsilon)"),
    ("fgsm", "wrong shape|summed over", "return np.clip(x + epsilon * np.sign(gradient), 0, 1).sum()"),
    ("fgsm", "exits", "raise SystemExit"),
    ("fgsm", "precision", "return np.clip(x + epsilon * np.sign(gradient), 0, 1).astype(np.float32)"),
    ("relu-derivative", "wrong type.*list", "return (d_h * (v > 0)).tolist()"),
    ("pgd-projection", "wrong dtype.*fractions", "return np.clip(np.clip(z, x - epsilon, x + epsilon), 0, 1).astype(int)"),
    ("ltd-average", "crash.*itself", "return ltd_average(ltd_mean, h, decay)"),
    (
        "delta-rule",
        "not a function",
        "calls.append(1)\nreturn (h - ltd_mean).T @ (outputs - targets) / len(h) * (1 + 1e-9 * len(calls))",
    ),
]
