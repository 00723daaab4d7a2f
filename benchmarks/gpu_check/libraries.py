"""What torch asks other libraries for: cuBLAS and cuBLASLt, cuFFT, cuSPARSE and cuSPARSELt, cuSOLVER, MAGMA, NVRTC, NCCL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import torch
from inputs import REAL, Cases, Inputs, short
from torch.nn import functional

COMPLEX = (torch.complex64, torch.complex128)
SHAPES = ((1, 64, 64), (64, 64, 64), (128, 256, 64), (513, 257, 129), (1024, 512, 768))
SOLVED = (torch.float32, torch.float64, torch.complex64)
DISTRIBUTIONS = "normal_ uniform_ exponential_ cauchy_ log_normal_ bernoulli_".split()


def cases(make: Inputs) -> Cases:
    """Yield all of them."""
    yield from _products(make)
    yield from _fourier(make)
    yield from _sparse(make)
    yield from _linear_algebra(make)
    yield from _random(make)
    yield from _compiled(make)
    yield from _nccl(make)


def _products(make: Inputs) -> Cases:
    for (rows, inner, columns), dtype in product(SHAPES, (*REAL, *COMPLEX)):
        size = f"{rows}x{inner}x{columns}"
        yield f"product {size} {short(dtype)}", lambda r=rows, i=inner, c=columns, t=dtype: make(r, i, dtype=t) @ make(i, c, dtype=t)
        yield (
            f"transposed product {size} {short(dtype)}",
            lambda r=rows, i=inner, c=columns, t=dtype: make(i, r, dtype=t).t() @ make(c, i, dtype=t).t(),
        )
    for dtype in REAL:
        yield f"batched product {short(dtype)}", lambda t=dtype: torch.bmm(make(9, 30, 40, dtype=t), make(9, 40, 50, dtype=t))
        yield f"linear {short(dtype)}", lambda t=dtype: functional.linear(make(33, 64, dtype=t), make(96, 64, dtype=t), make(96, dtype=t))
        yield (
            f"addmm and gelu {short(dtype)}",
            lambda t=dtype: torch._addmm_activation(make(96, dtype=t), make(64, 64, dtype=t), make(64, 96, dtype=t), use_gelu=True),  # noqa: SLF001
        )
        yield f"matrix by vector {short(dtype)}", lambda t=dtype: make(99, 77, dtype=t) @ make(77, dtype=t)
        yield f"dot {short(dtype)}", lambda t=dtype: torch.dot(make(999, dtype=t), make(999, dtype=t))
        yield (
            f"einsum {short(dtype)}",
            lambda t=dtype: torch.einsum("bij,bjk,k->bi", make(3, 9, 9, dtype=t), make(3, 9, 9, dtype=t), make(9, dtype=t)),
        )
    yield "product in TF32", lambda: _in_tf32(make)
    yield "product of int8", lambda: torch._int_mm(make(64, 64, dtype=torch.int8), make(64, 64, dtype=torch.int8))  # noqa: SLF001
    yield "product of float8", lambda: _in_float8(make)


def _in_tf32(make: Inputs) -> Any:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return make(512, 256) @ make(256, 512)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _in_float8(make: Inputs) -> Any:
    left, right = (make(64, 64).clamp(-2, 2).to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device=make.device)
    return torch._scaled_mm(left, right.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)  # noqa: SLF001


def _fourier(make: Inputs) -> Cases:
    for name, size, dtype in product(("fft", "ifft", "rfft", "hfft"), (64, 97, 1000, 4096), REAL[:2]):
        yield f"fft.{name} {size} {short(dtype)}", lambda n=name, s=size, t=dtype: getattr(torch.fft, n)(make(3, s, dtype=t))
    for name, dtype in product(("fft2", "ifft2", "rfft2", "fftn", "rfftn"), REAL[:2]):
        yield f"fft.{name} {short(dtype)}", lambda n=name, t=dtype: getattr(torch.fft, n)(make(4, 30, 42, dtype=t))
    for size, dtype in product((64, 99, 1024), COMPLEX):
        yield f"fft.irfft {size} {short(dtype)}", lambda s=size, t=dtype: torch.fft.irfft(make(3, s, dtype=t))
    yield "fft.fft float16", lambda: torch.fft.fft(make(3, 256, dtype=torch.float16))
    yield "stft, istft", lambda: _short_time(make)


def _short_time(make: Inputs) -> Any:
    window = torch.hann_window(64, device=make.device)
    found = torch.stft(make(2, 1024), 64, window=window, return_complex=True)
    return [found, torch.istft(found, 64, window=window)]


def _sparse(make: Inputs) -> Cases:
    def thin(rows: int, columns: int, dtype: torch.dtype) -> Any:
        full = make(rows, columns, dtype=dtype)
        return torch.where(make.positive(rows, columns) < 0.2, full, torch.zeros_like(full))

    for dtype in (*REAL[:2], torch.complex64):
        name = short(dtype)
        yield f"COO by dense {name}", lambda t=dtype: torch.sparse.mm(thin(60, 80, t).to_sparse(), make(80, 30, dtype=t))
        yield f"COO sum {name}", lambda t=dtype: (thin(60, 80, t).to_sparse() + thin(60, 80, t).to_sparse()).to_dense()
        yield f"COO by COO {name}", lambda t=dtype: torch.sparse.mm(thin(60, 80, t).to_sparse(), thin(80, 30, t).to_sparse()).to_dense()
        yield f"CSR by dense {name}", lambda t=dtype: thin(60, 80, t).to_sparse_csr() @ make(80, 30, dtype=t)
        yield f"CSR by vector {name}", lambda t=dtype: thin(60, 80, t).to_sparse_csr() @ make(80, dtype=t)
        yield f"CSR by CSR {name}", lambda t=dtype: (thin(60, 80, t).to_sparse_csr() @ thin(80, 30, t).to_sparse_csr()).to_dense()
        yield f"BSR by dense {name}", lambda t=dtype: thin(64, 64, t).to_sparse_bsr((8, 8)) @ make(64, 32, dtype=t)
        yield (
            f"sampled product {name}",
            lambda t=dtype: torch.sparse.sampled_addmm(
                thin(40, 50, t).to_sparse_csr(), make(40, 9, dtype=t), make(9, 50, dtype=t)
            ).to_dense(),
        )
    for dtype in (torch.float16, torch.bfloat16):
        yield f"semi-structured {short(dtype)}", lambda t=dtype: _half_sparse(make, t)


def _half_sparse(make: Inputs, dtype: torch.dtype) -> Any:
    from torch.sparse import to_sparse_semi_structured

    mask = torch.tensor([0, 0, 1, 1], device=make.device).tile(128, 32).bool()
    return functional.linear(make(128, 128, dtype=dtype), to_sparse_semi_structured(make(128, 128, dtype=dtype) * mask))


def _linear_algebra(make: Inputs) -> Cases:
    for backend, size, batch, dtype in product(("cusolver", "magma"), (12, 90), (1, 4), SOLVED):
        where = f"{backend} {batch} of {size} {short(dtype)}"
        for name in "cholesky inv det eigh eigvalsh qr svd lu_factor ldl_factor matrix_exp pinv slogdet".split():
            yield f"{name} {where}", lambda n=name, b=backend, s=size, k=batch, t=dtype: _solved(make, n, b, make.definite(s, t, k))
        for name in "solve lstsq".split():
            yield (
                f"{name} {where}",
                lambda n=name, b=backend, s=size, k=batch, t=dtype: _solved(make, n, b, make.definite(s, t, k), make(k, s, 3, dtype=t)),
            )
    for driver, size, dtype in product(("gesvd", "gesvdj", "gesvda"), (12, 90), SOLVED):
        yield f"svd {driver} {size} {short(dtype)}", lambda d=driver, s=size, t=dtype: torch.linalg.svdvals(make.definite(s, t), driver=d)
    for dtype in SOLVED:
        yield f"eig {short(dtype)}", lambda t=dtype: torch.linalg.eigvals(make(30, 30, dtype=t))
        yield (
            f"solve_triangular {short(dtype)}",
            lambda t=dtype: torch.linalg.solve_triangular(make.definite(30, t).tril(), make(1, 30, 4, dtype=t), upper=False),
        )
        yield f"cholesky_inverse {short(dtype)}", lambda t=dtype: torch.cholesky_inverse(torch.linalg.cholesky(make.definite(30, t)))
        yield f"householder_product {short(dtype)}", lambda t=dtype: torch.linalg.householder_product(*torch.geqrf(make(30, 20, dtype=t)))


def _solved(make: Inputs, name: str, backend: str, *operands: Any) -> Any:
    with _prefer(backend, make.device):
        return getattr(torch.linalg, name)(*operands)


@contextmanager
def _prefer(backend: str, device: str) -> Iterator[None]:
    if device != "cuda":
        yield
        return
    before = torch.backends.cuda.preferred_linalg_library()
    torch.backends.cuda.preferred_linalg_library(backend)
    try:
        yield
    finally:
        torch.backends.cuda.preferred_linalg_library(before)


def _random(make: Inputs) -> Cases:
    for name, dtype in product(DISTRIBUTIONS, REAL):
        yield f"{name} {short(dtype)}", lambda n=name, t=dtype: getattr(torch.empty(999, dtype=t, device=make.device), n)()
    for dtype in (torch.int32, torch.int64, torch.uint8):
        yield f"randint {short(dtype)}", lambda t=dtype: torch.randint(0, 99, (999,), dtype=t, device=make.device)
    for size in (50, 5000, 200_000):
        yield f"randperm {size:,}", lambda size=size: torch.randperm(size, device=make.device)
    for dtype in REAL[:2]:
        yield f"poisson, gamma, binomial {short(dtype)}", lambda t=dtype: _drawn(make, t)
        yield f"multinomial {short(dtype)}", lambda t=dtype: torch.multinomial(make.positive(5, 40, dtype=t), 20)
        yield f"dropout {short(dtype)}", lambda t=dtype: functional.dropout(make(999, dtype=t), 0.3)
    yield "geometric_", lambda: torch.empty(999, device=make.device).geometric_(0.3)


def _drawn(make: Inputs, dtype: torch.dtype) -> Any:
    rates = make.positive(999, dtype=dtype) * 9
    return [torch.poisson(rates), torch._standard_gamma(rates), torch.binomial(rates.ceil(), make.positive(999, dtype=dtype))]  # noqa: SLF001


def _compiled(make: Inputs) -> Cases:
    def jiterated() -> Any:
        code = "template <typename T> T mix(T x, T y) { return x * y + x; }"
        return torch.cuda.jiterator._create_jit_fn(code)(make(999), make(999))  # noqa: SLF001

    def captured() -> Any:
        data, graph = make(64, 64), torch.cuda.CUDAGraph()
        (data @ data).relu()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            result = (data @ data).relu().sum(0)
        for _ in range(3):
            graph.replay()
        return result

    yield "kernel compiled by NVRTC", jiterated
    yield "graph of products", captured
    yield "two streams", lambda: _in_streams(make)


def _in_streams(make: Inputs) -> Any:
    streams, data = [torch.cuda.Stream() for _ in range(2)], make(256, 256)
    results = []
    for stream in streams:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            results.append(data @ data)
    torch.cuda.synchronize()
    return results


def _nccl(make: Inputs) -> Cases:
    import torch.distributed as group

    def started() -> None:
        if not group.is_initialized():
            place = Path(tempfile.mkdtemp(), "store")
            group.init_process_group("nccl" if make.device == "cuda" else "gloo", init_method=f"file://{place}", rank=0, world_size=1)

    def reduced(dtype: torch.dtype, operation: Any) -> Any:
        started()
        data = make(3000, dtype=dtype)
        group.all_reduce(data, op=operation)
        return data

    def gathered(dtype: torch.dtype) -> Any:
        started()
        data = make(3000, dtype=dtype)
        received = [torch.empty_like(data)]
        group.all_gather(received, data)
        group.broadcast(data, 0)
        return [*received, data]

    operations = {"sum": group.ReduceOp.SUM, "product": group.ReduceOp.PRODUCT, "max": group.ReduceOp.MAX}
    for dtype, (name, operation) in product((*REAL, torch.int64), operations.items()):
        yield f"all_reduce {name} {short(dtype)}", lambda t=dtype, o=operation: reduced(t, o)
    for dtype in REAL:
        yield f"all_gather, broadcast {short(dtype)}", lambda t=dtype: gathered(t)
