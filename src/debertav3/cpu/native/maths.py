"""The functions of a model's forward pass, in numpy and fp32."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_ERF_TOP = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_BOTTOM = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip
"""The rational function of 13th degree of ``kernel/epilogue.h``, right to fp32's last digits on [-4, 4]."""


def erf(x: Floats) -> Floats:
    """The error function."""
    x = np.clip(x, np.float32(-4), np.float32(4))
    square = x * x
    top, bottom = np.full_like(x, _ERF_TOP[0]), np.full_like(x, _ERF_BOTTOM[0])
    for factor in _ERF_TOP[1:]:
        top = top * square + np.float32(factor)
    for factor in _ERF_BOTTOM[1:]:
        bottom = bottom * square + np.float32(factor)
    return x * top / bottom


def gelu(x: Floats) -> Floats:
    """GELU, x Φ(x), in the exact form: every released DeBERTa."""
    y: Floats = np.float32(0.5) * x * (np.float32(1) + erf(x * np.float32(0.5**0.5)))
    return y


def tanh_gelu(x: Floats) -> Floats:
    """The approximation of `gelu` by tanh."""
    inner = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1) + tanh(inner))


def tanh(x: Floats) -> Floats:
    """The hyperbolic tangent."""
    return np.tanh(x, dtype=np.float32)


def silu(x: Floats) -> Floats:
    """SiLU, x σ(x); σ(x) = (1 + tanh(x / 2)) / 2."""
    return x * np.float32(0.5) * (np.float32(1) + tanh(np.float32(0.5) * x))


ACTIVATION: dict[str, Callable[[Floats], Floats]] = {
    "gelu": gelu,
    "gelu_new": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
    "linear": lambda x: x,
}
"""By the names that ``config.json`` uses."""


def layer_norm(x: Floats, weight: Floats, bias: Floats, epsilon: float) -> Floats:
    """Each row to mean 0 and variance 1, then times ``weight`` plus ``bias``."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    normal: Floats = centred / np.sqrt(variance + np.float32(epsilon)) * weight + bias
    return normal


def softmax(score: Floats) -> Floats:
    """Weights that sum to 1 over the last axis."""
    weight = np.exp(score - score.max(axis=-1, keepdims=True))
    shares: Floats = weight / weight.sum(axis=-1, keepdims=True)
    return shares
