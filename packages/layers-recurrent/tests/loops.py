"""The cells and layers, reimplemented in float64 NumPy as loops over steps and sequences.

They follow the papers' formulas; a cell's parameters are a dict, as in its module.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def affine(params, name, x):
    own = {k: np.asarray(v, np.float64) for k, v in params[name].items()}
    return np.asarray(x @ own["kernel"] + own.get("bias", 0.0))


def lstm(params, carry, x):
    c, h = carry
    i, f, g, o = (affine(params, f"i{n}", x) + affine(params, f"h{n}", h) for n in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h


def gru(params, h, x):
    r = sigmoid(affine(params, "ir", x) + affine(params, "hr", h))
    z = sigmoid(affine(params, "iz", x) + affine(params, "hz", h))
    n = np.tanh(affine(params, "in", x) + r * affine(params, "hn", h))
    h = (1 - z) * n + z * h
    return h, h


def mgu(params, h, x):
    f = sigmoid(affine(params, "if", x) + affine(params, "hf", h))
    n = np.tanh(affine(params, "in", x) + f * affine(params, "hn", h))
    h = (1 - f) * n + f * h
    return h, h


def mgu_without_reset(params, h, x):
    f = sigmoid(affine(params, "if", x) + affine(params, "hf", h))
    n = np.tanh(affine(params, "in", x) + affine(params, "hn", h))
    h = (1 - f) * n + f * h
    return h, h


def simple(params, h, x):
    h = np.tanh(affine(params, "i", x) + affine(params, "h", h))
    return h, h


def residual(params, h, x):
    h = np.tanh(affine(params, "i", x) + affine(params, "h", h) + h)
    return h, h


def convolution(params, name, x):
    """One dimension, same padding; an even kernel has its extra padding at the end."""
    kernel = np.asarray(params[name]["kernel"], np.float64)  # [K, D, F]
    width = kernel.shape[0]
    padded = np.pad(x, ((0, 0), ((width - 1) // 2, width // 2), (0, 0)))
    windows = [padded[:, k : k + x.shape[1]] @ kernel[k] for k in range(width)]
    return np.asarray(sum(windows) + np.asarray(params[name].get("bias", 0.0), np.float64))


def conv_lstm(params, carry, x):
    c, h = carry
    gates = convolution(params, "ih", x) + convolution(params, "hh", h)
    i, g, f, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h


def entries(carry):
    return list(carry) if isinstance(carry, tuple) else [carry]


def run(step, params, carry, xs, *, lengths=None, reverse=False, keep_order=False):
    """Runs the sequences xs [B, T, ...] one by one; returns the last carry's entries and outputs.

    Outputs after a sequence's end are NaN: they are unspecified.
    """
    xs = np.asarray(xs, np.float64)
    size, time = xs.shape[:2]
    lengths = [time] * size if lengths is None else [int(n) for n in lengths]
    starts = [np.asarray(e, np.float64) for e in entries(carry)]
    lasts, outputs = [], []
    for b, n in enumerate(lengths):
        state = [e[b : b + 1] for e in starts]
        order = range(n - 1, -1, -1) if reverse else range(n)
        ys = np.full((time, *starts[-1].shape[1:]), np.nan)
        for done, t in enumerate(order):
            after, y = step(params, tuple(state) if len(state) > 1 else state[0], xs[b : b + 1, t])
            state = entries(after)
            ys[t if reverse and keep_order else done] = y[0]
        lasts.append(state)
        outputs.append(ys)
    return [np.concatenate(e) for e in zip(*lasts, strict=True)], np.stack(outputs)
