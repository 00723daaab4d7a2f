"""Layers of networks: convolutions and recurrent ones (cuDNN), attention, norms, losses, mixed precision, optimizers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from inputs import REAL, Cases, Inputs, short, with_gradients
from torch import nn
from torch.nn import functional

ACTIVATIONS = """
    celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu6 rrelu selu silu softplus
    softshrink softsign tanhshrink
""".split()
CONVOLUTIONS: tuple[tuple[int, int, int, int, int, int, int], ...] = (
    # dimensions, channels in, out, size, kernel, groups, dilation
    (1, 16, 32, 64, 5, 1, 1),
    (2, 3, 16, 32, 3, 1, 1),
    (2, 64, 64, 28, 1, 1, 1),
    (2, 32, 32, 28, 3, 32, 1),
    (2, 32, 64, 28, 3, 4, 2),
    (2, 64, 128, 14, 5, 1, 1),
    (2, 128, 128, 14, 3, 1, 1),
    (2, 3, 32, 56, 7, 1, 1),
    (3, 8, 16, 12, 3, 1, 1),
)


def cases(make: Inputs) -> Cases:
    """Yield all of them."""
    yield from _convolutions(make)
    yield from _recurrent(make)
    yield from _attention(make)
    yield from _norms(make)
    yield from _pooling(make)
    yield from _activations(make)
    yield from _losses(make)
    yield from _training(make)


def _convolutions(make: Inputs) -> Cases:
    for shape, dtype, last in product(CONVOLUTIONS, make.quick, (False, True)):
        if last and shape[0] != 2:
            continue
        where = ", channels last" if last else ""
        yield f"convolution {shape} {short(dtype)}{where}", lambda s=shape, t=dtype, last=last: _convolve(make, s, t, last=last)
    for dimensions, dtype in product((1, 2, 3), make.quick):
        yield f"transposed convolution {dimensions} {short(dtype)}", lambda d=dimensions, t=dtype: _transposed(make, d, t)


def _convolve(make: Inputs, shape: tuple[int, ...], dtype: torch.dtype, *, last: bool) -> Any:
    dimensions, inward, outward, size, kernel, groups, dilation = shape
    data = make(2, inward, *[size] * dimensions, dtype=dtype)
    weight = make(outward, inward // groups, *[kernel] * dimensions, dtype=dtype)
    if last:
        data, weight = (each.contiguous(memory_format=torch.channels_last) for each in (data, weight))
    data.requires_grad_(), weight.requires_grad_()
    convolve = getattr(functional, f"conv{dimensions}d")
    return with_gradients(lambda: convolve(data, weight, padding=kernel // 2, groups=groups, dilation=dilation), data, weight)


def _transposed(make: Inputs, dimensions: int, dtype: torch.dtype) -> Any:
    data, weight = make(2, 12, *[9] * dimensions, dtype=dtype, grad=True), make(12, 8, *[3] * dimensions, dtype=dtype, grad=True)
    return with_gradients(lambda: getattr(functional, f"conv_transpose{dimensions}d")(data, weight, stride=2), data, weight)


def _recurrent(make: Inputs) -> Cases:
    def run(kind: str, dtype: torch.dtype, *, both: bool) -> Any:
        network = getattr(nn, kind)(32, 48, num_layers=2, bidirectional=both).to(make.device, dtype)
        _fill(make, network)
        data = make(11, 5, 32, dtype=dtype, grad=True)
        return with_gradients(lambda: network(data)[0], data, *network.parameters())

    for kind, dtype, both in product(("LSTM", "GRU", "RNN"), make.quick[:3], (False, True)):
        directions = "both directions" if both else "one direction"
        yield f"{kind} {short(dtype)}, {directions}", lambda kind=kind, dtype=dtype, both=both: run(kind, dtype, both=both)


def _fill(make: Inputs, network: nn.Module) -> None:
    """Give a network parameters that do not depend on the device."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(make(*parameter.shape) * 0.1)


def _attention(make: Inputs) -> Cases:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def attend(backend: SDPBackend, dtype: torch.dtype, width: int, *, causal: bool) -> Any:
        query, key, value = (make(2, 4, 128, width, dtype=dtype, grad=True) for _ in range(3))
        with sdpa_kernel(backend):
            return with_gradients(lambda: functional.scaled_dot_product_attention(query, key, value, is_causal=causal), query, key, value)

    backends = [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
    for backend, dtype, width, causal in product(backends, (torch.float32, torch.float16, torch.bfloat16), (32, 64, 128), (False, True)):
        name = f"attention {backend.name.lower()} {short(dtype)}, {width} wide{', causal' if causal else ''}"
        yield name, lambda b=backend, t=dtype, w=width, c=causal: attend(b, t, w, causal=c)

    def encode() -> Any:
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True).to(make.device).eval()
        _fill(make, layer)
        with torch.no_grad():
            return layer(make(2, 30, 64))

    yield "transformer encoder, fast path", encode


def _norms(make: Inputs) -> Cases:
    for dtype in REAL:
        yield f"batch_norm {short(dtype)}", lambda t=dtype: _normed(make, t, lambda x: functional.batch_norm(x, None, None, training=True))
        yield f"layer_norm {short(dtype)}", lambda t=dtype: _normed(make, t, lambda x: functional.layer_norm(x, x.shape[1:]))
        yield f"group_norm {short(dtype)}", lambda t=dtype: _normed(make, t, lambda x: functional.group_norm(x, 4))
        yield f"instance_norm {short(dtype)}", lambda t=dtype: _normed(make, t, functional.instance_norm)
        yield f"rms_norm {short(dtype)}", lambda t=dtype: _normed(make, t, lambda x: functional.rms_norm(x, x.shape[2:]))
        yield f"local_response_norm {short(dtype)}", lambda t=dtype: _normed(make, t, lambda x: functional.local_response_norm(x, 3))
        yield f"normalize {short(dtype)}", lambda t=dtype: _normed(make, t, functional.normalize)


def _normed(make: Inputs, dtype: torch.dtype, compute: Callable[[Any], Any]) -> Any:
    data = make(4, 16, 9, 9, dtype=dtype, grad=True)
    return with_gradients(lambda: compute(data).square(), data)


def _pooling(make: Inputs) -> Cases:
    for dtype in REAL:
        for name in ("avg_pool2d", "max_pool2d", "lp_pool2d"):
            extra = (2.0,) if name == "lp_pool2d" else ()
            yield f"{name} {short(dtype)}", lambda n=name, t=dtype, e=extra: _normed(make, t, lambda x: getattr(functional, n)(x, *e, 3))
        yield f"adaptive_avg_pool2d {short(dtype)}", lambda t=dtype: _normed(make, t, lambda x: functional.adaptive_avg_pool2d(x, 4))
        yield f"adaptive_max_pool2d {short(dtype)}", lambda t=dtype: _normed(make, t, lambda x: functional.adaptive_max_pool2d(x, 4))
    for mode in ("nearest", "bilinear", "bicubic", "area", "nearest-exact"):
        yield f"interpolate {mode}", lambda m=mode: _normed(make, torch.float32, lambda x: functional.interpolate(x, size=(13, 17), mode=m))
    for mode in ("constant", "reflect", "replicate", "circular"):
        yield f"pad {mode}", lambda m=mode: _normed(make, torch.float32, lambda x: functional.pad(x, (2, 3, 1, 2), mode=m))
    for mode in ("bilinear", "nearest", "bicubic"):
        yield (
            f"grid_sample {mode}",
            lambda m=mode: functional.grid_sample(make(2, 3, 9, 9), make.positive(2, 7, 7, 2), mode=m, align_corners=False),
        )
    yield "unfold, fold", lambda: functional.fold(functional.unfold(make(2, 3, 8, 8), 3), (8, 8), 3)
    yield "pixel_shuffle", lambda: functional.pixel_shuffle(make(2, 8, 5, 5), 2)
    yield "embedding", lambda: functional.embedding(make.index(30, below=50), make(50, 16))
    yield "embedding_bag", lambda: functional.embedding_bag(make.index(6, 5, below=50), make(50, 16), mode="sum")
    yield "one_hot", lambda: functional.one_hot(make.index(30, below=50), 50)


def _activations(make: Inputs) -> Cases:
    for name, dtype in product(ACTIVATIONS, REAL):
        half = {"dim": 1} if name == "glu" else {}  # of an even number
        yield f"{name} {short(dtype)}", lambda n=name, t=dtype, h=half: _normed(make, t, lambda x: getattr(functional, n)(x, **h))
    yield "prelu", lambda: _normed(make, torch.float32, lambda x: functional.prelu(x, make.positive(16)))


def _losses(make: Inputs) -> Cases:
    for name in "mse_loss l1_loss smooth_l1_loss huber_loss soft_margin_loss poisson_nll_loss kl_div".split():
        yield name, lambda name=name: getattr(functional, name)(make(30, 12), make.positive(30, 12))
    for name in "cross_entropy multi_margin_loss nll_loss".split():
        yield name, lambda name=name: getattr(functional, name)(make(30, 12), make.index(30, below=12))
    yield "cross_entropy of images", lambda: functional.cross_entropy(make(3, 5, 8, 8), make.index(3, 8, 8, below=5))
    yield "binary_cross_entropy", lambda: functional.binary_cross_entropy(make.positive(30), make.positive(30))
    yield "cosine_embedding_loss", lambda: functional.cosine_embedding_loss(make(30, 9), make(30, 9), make.index(30, below=2) * 2 - 1)
    yield "triplet_margin_loss", lambda: functional.triplet_margin_loss(make(30, 9), make(30, 9), make(30, 9))
    yield "ctc_loss", lambda: functional.ctc_loss(make(40, 3, 11).log_softmax(2), make.index(3, 9, below=10) + 1, (40, 40, 40), (9, 8, 7))


def _training(make: Inputs) -> Cases:
    def train(optimizer: str, **options: Any) -> Any:
        network = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 5)).to(make.device)
        _fill(make, network)
        step = getattr(torch.optim, optimizer)(network.parameters(), lr=0.01, **options)
        for _ in range(3):
            step.zero_grad()
            network(make(16, 20)).square().mean().backward()
            step.step()
        return list(network.parameters())

    for name, way in product(("Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam"), ("foreach", "fused", "plain")):
        if way == "fused" and name in ("RMSprop", "NAdam"):
            continue
        options = {way: True} if way != "plain" else {"foreach": False}
        yield f"{name}, {way}", lambda name=name, options=options: train(name, **options)
    for dtype in (torch.float16, torch.bfloat16):
        yield f"mixed precision {short(dtype)}", lambda dtype=dtype: _mixed(make, dtype)


def _mixed(make: Inputs, dtype: torch.dtype) -> Any:
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10)).to(make.device)
    _fill(make, network)
    step, scaler = torch.optim.SGD(network.parameters(), lr=0.1), torch.amp.GradScaler(make.device, enabled=dtype is torch.float16)
    for _ in range(2):
        with torch.autocast(make.device, dtype=dtype):
            loss = functional.cross_entropy(network(make(4, 3, 8, 8)), make.index(4, below=10))
        scaler.scale(loss).backward()
        scaler.step(step)
        scaler.update()
    return list(network.parameters())
