"""Torch's own kernels: elementwise, reductions, indexing, sorting, copies."""

from __future__ import annotations

from functools import partial
from itertools import product

import torch
from inputs import REAL, WHOLE, Cases, Inputs, short

UNARY = """
    abs acos acosh asin asinh atan atanh ceil cos cosh digamma erf erfc erfinv exp exp2 expm1 floor frac isfinite isinf isnan lgamma
    log log10 log1p log2 logit nan_to_num neg reciprocal relu round rsqrt sigmoid sign signbit sin sinc sinh sqrt square tan tanh trunc
""".split()
SPECIAL = """
    airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 entr erfcx i0 i0e i1 i1e log_ndtr modified_bessel_i0 modified_bessel_k0 ndtr ndtri
    scaled_modified_bessel_k1 spherical_bessel_j0
""".split()
BINARY = """
    add atan2 copysign div eq fmax fmin fmod ge gt hypot le logaddexp logaddexp2 lt maximum minimum mul ne nextafter pow remainder sub
    true_divide xlogy
""".split()
BITS = "bitwise_and bitwise_or bitwise_xor bitwise_left_shift gcd lcm".split()
REDUCTIONS = """
    all amax amin any argmax argmin cumprod cumsum logcumsumexp logsumexp log_softmax max mean median min mode nanmean nansum norm prod
    softmax std sum var
""".split()
WHOLE_REDUCTIONS = "sum prod amax amin argmax cumsum sort argsort unique count_nonzero any".split()
SIDE = 96


def cases(make: Inputs) -> Cases:
    """Yield all of them."""
    yield from _unary(make)
    yield from _binary(make)
    yield from _reductions(make)
    yield from _indexing(make)
    yield from _ordering(make)
    yield from _copies(make)
    yield from _lists(make)


def _unary(make: Inputs) -> Cases:
    for name, dtype in product(UNARY, REAL):
        yield f"{name} {short(dtype)}", lambda name=name, dtype=dtype: getattr(torch, name)(make.positive(SIDE, SIDE, dtype=dtype))
    for name, dtype in product(SPECIAL, REAL[:2]):
        yield (
            f"special.{name} {short(dtype)}",
            lambda name=name, dtype=dtype: getattr(torch.special, name)(make.positive(SIDE, dtype=dtype)),
        )
    for name, dtype in product("abs angle conj exp log sin sqrt tanh reciprocal".split(), (torch.complex64, torch.complex128)):
        yield f"{name} {short(dtype)}", lambda name=name, dtype=dtype: getattr(torch, name)(make(SIDE, SIDE, dtype=dtype)) * 1
    yield "polygamma", lambda: torch.polygamma(2, make.positive(SIDE))
    yield "special.zeta", lambda: torch.special.zeta(1 + make.positive(SIDE), make.positive(SIDE))


def _binary(make: Inputs) -> Cases:
    for name, dtype in product(BINARY, REAL):
        if dtype in REAL[:2] or name not in ("copysign", "hypot", "logaddexp", "logaddexp2", "nextafter", "xlogy"):
            yield f"{name} {short(dtype)}", lambda name=name, dtype=dtype: _pair(make, name, dtype)
    for name, dtype in product(BITS, WHOLE[:2]):
        yield (
            f"{name} {short(dtype)}",
            lambda name=name, dtype=dtype: getattr(torch, name)(make(SIDE, dtype=dtype), make(SIDE, dtype=dtype) % 8),
        )
    for name, dtype in product("add sub mul floor_divide remainder maximum eq".split(), WHOLE):
        yield (
            f"{name} {short(dtype)}",
            lambda name=name, dtype=dtype: getattr(torch, name)(make(SIDE, dtype=dtype), make(SIDE, dtype=dtype) + 1),
        )
    for name in "addcmul addcdiv lerp clamp".split():
        yield name, lambda name=name: getattr(torch, name)(make(SIDE, 7), make.positive(SIDE, 1), make.positive(1, 7))
    yield "broadcast in three dimensions", lambda: make(5, 1, 9) * make(7, 1) - make(5, 7, 9)
    yield "polar", lambda: torch.polar(make.positive(SIDE), make(SIDE))


def _pair(make: Inputs, name: str, dtype: torch.dtype) -> torch.Tensor:
    left, right = make.positive(SIDE, SIDE, dtype=dtype), make.positive(SIDE, SIDE, dtype=dtype)
    result: torch.Tensor = getattr(torch, name)(left, right)
    return result


def _reductions(make: Inputs) -> Cases:
    for name, dtype, dimension in product(REDUCTIONS, REAL, (0, 1)):
        yield (
            f"{name} of {dimension} {short(dtype)}",
            lambda n=name, t=dtype, d=dimension: getattr(torch, n)(make(SIDE, 77, dtype=t), dim=d),
        )
    for name, dtype in product(WHOLE_REDUCTIONS, WHOLE):
        yield f"{name} {short(dtype)}", lambda name=name, dtype=dtype: getattr(torch, name)(make(SIDE, 33, dtype=dtype), dim=0)
    for dtype in REAL:
        yield f"sum of all {short(dtype)}", lambda dtype=dtype: make(1000, 33, dtype=dtype).sum()
        yield f"dist {short(dtype)}", lambda dtype=dtype: torch.dist(make(SIDE, dtype=dtype), make(SIDE, dtype=dtype))
    for order in (1, 2, 3, float("inf")):
        yield f"cdist {order}", lambda order=order: torch.cdist(make(40, 17), make(30, 17), p=order)
    yield "pdist", lambda: torch.pdist(make(40, 17))
    yield "cov, corrcoef", lambda: [torch.cov(make(9, SIDE)), torch.corrcoef(make(9, SIDE))]
    yield "trace, trapezoid, diff", lambda: [make(9, 9).trace(), torch.trapezoid(make(9, 30)), make(9, 30).diff()]


def _indexing(make: Inputs) -> Cases:
    def scattered(name: str, dtype: torch.dtype) -> torch.Tensor:
        return getattr(make(50, 20, dtype=dtype), name)(0, make.index(30, 20, below=50), make(30, 20, dtype=dtype))  # type: ignore[no-any-return]

    for dtype in (*REAL, torch.int64, torch.bool):
        rows = partial(make.index, 30, below=50)
        yield f"index_select {short(dtype)}", lambda t=dtype, rows=rows: make(50, 20, dtype=t).index_select(0, rows())
        yield f"gather {short(dtype)}", lambda t=dtype: make(50, 20, dtype=t).gather(0, make.index(30, 20, below=50))
        yield f"take {short(dtype)}", lambda t=dtype: make(50, 20, dtype=t).take(make.index(300, below=1000))
        yield f"masked_select {short(dtype)}", lambda t=dtype: make(50, 20, dtype=t).masked_select(make(50, 20, dtype=torch.bool))
        yield f"where {short(dtype)}", lambda t=dtype: torch.where(make(50, dtype=torch.bool), make(50, dtype=t), make(50, dtype=t))
        yield f"nonzero {short(dtype)}", lambda t=dtype: make(50, 20, dtype=t).nonzero()
        yield f"indexed by two {short(dtype)}", lambda t=dtype: make(50, 20, dtype=t)[make.index(30, below=50), make.index(30, below=20)]
    for name, dtype in product(("scatter", "scatter_add", "index_put_"), REAL):
        if name != "index_put_":
            yield f"{name} {short(dtype)}", lambda name=name, dtype=dtype: scattered(name, dtype)
        else:
            yield (
                f"{name} {short(dtype)}",
                lambda t=dtype: make(50, dtype=t).index_put_((make.index(90, below=50),), make(90, dtype=t), accumulate=True),
            )
    for reduce in ("sum", "prod", "amax", "mean"):
        yield (
            f"scatter_reduce {reduce}",
            lambda r=reduce: make(50, 20).scatter_reduce(0, make.index(30, 20, below=50), make(30, 20), r),
        )
    yield "index_add", lambda: make(50, 20).index_add(0, make.index(70, below=50), make(70, 20))
    yield "bincount, histc", lambda: [torch.bincount(make.index(999, below=50)), torch.histc(make.positive(999), 30, 0, 1)]
    yield "searchsorted", lambda: torch.searchsorted(make(50).sort().values, make(99))
    yield "tril, triu, diag", lambda: [make(50, 50).tril(), make(50, 50).triu(3), make(50).diag()]


def _ordering(make: Inputs) -> Cases:
    for size, dtype in product((17, 1500, 70_000), (*REAL, torch.int64, torch.uint8)):
        yield f"sort {size:,} {short(dtype)}", lambda s=size, t=dtype: make(2, s, dtype=t).sort(stable=True)
        yield f"topk {size:,} {short(dtype)}", lambda s=size, t=dtype: make(2, s, dtype=t).topk(9).values
    for dtype in (torch.float32, torch.int64):
        yield (
            f"unique {short(dtype)}",
            lambda t=dtype: torch.unique((make(999, dtype=t) * 3).round(), return_inverse=True, return_counts=True),
        )
        yield f"kthvalue, msort {short(dtype)}", lambda t=dtype: [make(9, 99, dtype=t).kthvalue(7).values, make(99, dtype=t).msort()]
    yield "unique_consecutive", lambda: torch.unique_consecutive(make.index(999, below=3))
    yield "combinations", lambda: torch.combinations(make(20), 3)


def _copies(make: Inputs) -> Cases:
    every = (*REAL, *WHOLE, torch.int8, torch.bool, torch.complex64)
    for source, target in product(every, every):
        yield (
            f"{short(source)} to {short(target)}",
            lambda s=source, t=target: (make(33, 65, dtype=s).abs() if s.is_signed else make(33, 65, dtype=s)).to(t),
        )
    for kind in ("float8_e4m3fn", "float8_e5m2"):
        dtype = getattr(torch, kind)
        yield f"float32 to {kind} and back", lambda dtype=dtype: make(33, 65).to(dtype).float()
    yield "strided copies", lambda: [make(33, 65).t().contiguous(), make(7, 8, 9).permute(2, 0, 1).contiguous(), make(99)[::7].clone()]
    yield (
        "cat, stack, roll, flip",
        lambda: [torch.cat([make(3, 5), make(4, 5)]), torch.stack([make(5), make(5)]), make(9, 9).roll(3), make(9).flip(0)],
    )
    yield "arange, linspace, eye, full", lambda: _made(make.device)
    yield "repeat_interleave, tile", lambda: [make(9).repeat_interleave(make.index(9, below=5)), make(9, 2).tile(3)]
    yield (
        "rot90, kron, block_diag",
        lambda: [make(5, 7).rot90(), torch.kron(make(3, 3), make(4, 4)), torch.block_diag(make(2, 2), make(3, 3))],
    )
    yield "pinned memory", lambda: make(999).cpu().pin_memory().to(make.device, non_blocking=True) if make.device == "cuda" else make(999)


def _made(device: str) -> list[torch.Tensor]:
    made = [torch.arange(99, device=device), torch.linspace(0, 1, 77, device=device), torch.logspace(0, 2, 33, device=device)]
    return [*made, torch.eye(20, device=device), torch.full((9,), 3.5, device=device), torch.vander(made[1])]


def _lists(make: Inputs) -> Cases:
    def three(dtype: torch.dtype) -> list[torch.Tensor]:
        return [make.positive(size, 9, dtype=dtype) for size in (5, 70, 300)]

    for name, dtype in product("sqrt exp neg abs reciprocal".split(), REAL):
        yield f"foreach {name} {short(dtype)}", lambda name=name, dtype=dtype: getattr(torch, f"_foreach_{name}")(three(dtype))
    for name, dtype in product("add mul div maximum".split(), REAL):
        yield (
            f"foreach {name} {short(dtype)}",
            lambda name=name, dtype=dtype: getattr(torch, f"_foreach_{name}")(three(dtype), three(dtype)),
        )
    for dtype in REAL:
        yield f"foreach norm {short(dtype)}", lambda t=dtype: torch._foreach_norm(three(t))  # noqa: SLF001
