"""What torch carries for compiling, exporting and training models, and does not need to run one.

Proved with torch 2.13 (CPU) and transformers 5.23 on the MiniLM example: ten sets of arguments, output identical.
"""

from __future__ import annotations

from .model import ModuleSet

COMPILERS = ModuleSet(
    why="it compiles models, for which a frozen application has no compiler",
    modules=(
        # The back end of `torch.compile`. torch imports its configuration when it starts, and the rest where something is compiled.
        "torch._inductor",
        # Other back ends, and what reports on failed compilations.
        "torch._dynamo.backends",
        "torch._dynamo.repro",
        "torch._dynamo.debug_utils",
        "torch._dynamo.profiler",
        "torch._dynamo.package",
        "torch._dynamo.precompile_context",
        # Partitions graphs of compiled training steps; it alone imports networkx.
        "torch._functorch._activation_checkpointing",
        "torch._functorch._activation_offloading",
        "torch._functorch.partitioners",
        "torch._functorch.compile_utils",
        "torch._functorch.compilers",
        "torch._functorch.fx_minifier",
        "torch._functorch.benchmark_utils",
        "networkx",
        "torch.utils._triton",
        "torch.utils._runtime_estimation",
        "torch.nativert",
        "triton",
        "llvmlite",
        "numba",
        # Kernels in a language that only a GPU's compiler knows, and that compiler's helpers.
        "torch._vendor.quack",
    ),
    but=("torch.utils._triton",),  # says whether Triton is there: asked by much that runs without
    signs=("torch.compile", "torch._inductor", "torch._dynamo"),
)
TORCH_EXPORT = ModuleSet(
    why="it exports models into other formats",
    modules=(
        "torch.onnx._internal",
        "torch.onnx.testing",
        "torch.onnx.verification",
        "torch.export",
        "torch._export",
        "torch.jit.mobile",
        "torch.jit.supported_ops",
        "torch.utils.mobile_optimizer",
        "torch.utils.model_dump",
        "torch.contrib",
        "torch.fx.passes.graph_drawer",
        "torch.fx.passes.net_min_base",
        "torch.fx.passes.splitter_base",
        "torch._lazy",
        "transformers.exporters",
        "transformers.convert_graph_to_onnx",
        "transformers.onnx",
    ),
    signs=("torch.export", "torch.onnx"),
)
TORCH_TRAINING = ModuleSet(
    why="it trains models",
    modules=(
        "torch.utils.tensorboard",
        "torch.distributed._composable",
        "torch.distributed._shard.sharded_optim",
        "torch.distributed._tools",
        "torch.distributed.algorithms",
        "torch.distributed.benchmarks",
        "torch.distributed.checkpoint",
        "torch.distributed.elastic",
        "torch.distributed.examples",
        "torch.distributed.fsdp",
        "torch.distributed.launch",
        "torch.distributed.launcher",
        "torch.distributed.optim",
        "torch.distributed.pipelining",
        "torch.distributed.rpc",
        "torch.distributed.run",
        "torch.distributed.tensor.debug",
        "torch.distributed.tensor.examples",
        "torch.distributed.tensor.experimental",
        # Preparing models for quantization-aware training, and observing them. Running a quantized one needs `torch.ao.nn`.
        "torch.ao.ns",
        "torch.ao.pruning",
        "torch.ao.quantization",
        "torch.quantization",
        # Measuring training steps. The profiler itself stays.
        "torch.profiler._pattern_matcher",
    ),
    signs=("torch.quantization", "torch.ao"),
)
