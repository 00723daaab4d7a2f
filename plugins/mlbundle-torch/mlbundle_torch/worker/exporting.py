"""Export a model to ONNX by torch's exporter, with the axes asked for left free, and compare the file with the model.

Modules and transformers models go through `torch.onnx.export(..., dynamo=True)`. That one refuses TorchScript, which is turned into an
ExportedProgram first (torch._export.converter.TS2EPConverter), or, where that fails, exported by the older TorchScript exporter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from .comparing import compare
from .errors import RefusedError, UnsoundError, innermost
from .loading import Calling, is_torchscript, load_by_factory, load_torchscript
from .samples import Spec, combinations, make_inputs

NEW, CONVERTED, OLD = "torch.export", "TorchScript by way of torch.export", "the TorchScript exporter, deprecated"


def export_model(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write `request["target"]` and return what was made: the exporter, the inputs and outputs, and how they compare."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, specs = _load(request)
    values = make_inputs(specs, combinations(specs)[0], 0)
    try:
        names = model.choose_outputs(values, request["outputs"])
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"the model does not run on the inputs described: {innermost(error)}") from error
    _run_at_each_size(model, specs)
    target = Path(request["target"])
    exporter = _write(model, specs, values, names, request, target)
    _check(target, specs, request["opset"])
    return {
        "exporter": exporter,
        "torch": torch.__version__,
        "parameters": sum(each.numel() for each in model.parameters()),
        "inputs": [{"name": spec["name"], "dtype": spec["dtype"], "shape": _dims(spec)} for spec in specs],
        "outputs": list(names),
        "compared": compare(model, target, specs, names, request["tolerance"]),
    }


def _run_at_each_size(model: Calling, specs: Sequence[Spec]) -> None:
    """Raise RefusedError where the model itself fixes an axis that is to be free: exporters say it less clearly."""
    for sizes in combinations(specs)[1:]:
        try:
            with torch.no_grad():
                model(*make_inputs(specs, sizes, 0))
        except Exception as error:
            told = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise RefusedError(f"the model itself does not run at {told}, so that this axis cannot be free: {innermost(error)}") from error


def _load(request: Mapping[str, Any]) -> tuple[Calling, list[Spec]]:
    source, specs = Path(request["source"]), list(request["inputs"])
    if source.is_dir():
        from .hugging_face import load_folder

        model, found = load_folder(source, tuple(spec["name"] for spec in specs), request["outputs"])
        return model, specs or list(found)
    if request["factory"]:
        return Calling(load_by_factory(request["factory"], source, request["key"], Path(request["project"]))), specs
    if is_torchscript(source):
        return Calling(load_torchscript(source)), specs
    raise RefusedError("is neither a TorchScript archive nor a transformers folder; name the `factory` that makes its module")


def _write(
    model: Calling, specs: Sequence[Spec], values: Sequence[torch.Tensor], names: Sequence[str], request: Mapping[str, Any], target: Path
) -> str:
    asked = {"input_names": [spec["name"] for spec in specs], "output_names": list(names), "opset_version": request["opset"]}
    if not isinstance(model.model, torch.jit.ScriptModule):
        free = tuple({place: axis["name"] for place, axis in enumerate(spec["axes"]) if not isinstance(axis, int)} for spec in specs)
        program = _program(model, tuple(values), asked, (free,))
        _save(program, target, request["single_file"])
        return NEW
    try:
        program = _program(_converted(model.model, tuple(values)), tuple(values), asked, None)
        _name_axes(program, specs)
        _save(program, target, request["single_file"])
        compare(model, target, specs, names, request["tolerance"])
        return CONVERTED
    except (RefusedError, UnsoundError):
        _export_old(model.model, tuple(values), asked, specs, target)
        return OLD


def _program(model: Any, values: tuple[torch.Tensor, ...], asked: Mapping[str, Any], free: Any) -> torch.onnx.ONNXProgram:
    try:
        program = torch.onnx.export(model, values, dynamo=True, dynamic_shapes=free, verbose=False, **asked)
    except Exception as error:
        raise RefusedError(f"torch cannot export it: {innermost(error)}") from error
    if program is None:
        raise RefusedError("torch exported nothing")
    return program


def _converted(module: torch.jit.ScriptModule, values: tuple[torch.Tensor, ...]) -> Any:
    from torch._export.converter import TS2EPConverter

    try:
        return TS2EPConverter(module, values).convert()
    except Exception as error:
        raise RefusedError(f"torch cannot turn this TorchScript into an exported program: {innermost(error)}") from error


def _name_axes(program: torch.onnx.ONNXProgram, specs: Sequence[Spec]) -> None:
    """Give the free axes their names: an exported program has its own (s22), and writes fixed ones as text."""
    import onnx_ir

    graph = program.model.graph
    names: dict[str, int | str] = {}
    for value, spec in zip(graph.inputs, specs, strict=True):
        asked = _dims(spec)
        names |= {str(found): name for found, name in zip(value.shape or (), asked, strict=True)}
        value.shape = onnx_ir.Shape(asked)
    for value in graph.outputs:
        if value.shape is not None:
            value.shape = onnx_ir.Shape([names.get(str(dim), dim if isinstance(dim, int) else str(dim)) for dim in value.shape])


def _save(program: torch.onnx.ONNXProgram, target: Path, single_file: int) -> None:
    """Write the file without the stack traces in it, which name folders of this machine; large weights beside it."""
    model = program.model
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for output in node.outputs:
                output.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    program.save(str(target), external_data=size > single_file)


def _export_old(
    module: torch.nn.Module, values: tuple[torch.Tensor, ...], asked: Mapping[str, Any], specs: Sequence[Spec], target: Path
) -> None:
    free = {spec["name"]: {place: axis["name"] for place, axis in enumerate(spec["axes"]) if not isinstance(axis, int)} for spec in specs}
    for written in target.parent.glob(f"{target.name}*"):
        written.unlink()
    try:
        torch.onnx.export(module, values, str(target), dynamo=False, dynamic_axes=free, **asked)
    except Exception as error:
        raise RefusedError(f"neither exporter of torch takes this TorchScript: {innermost(error)}") from error


def _check(target: Path, specs: Sequence[Spec], opset: int) -> None:
    """Raise UnsoundError unless the file is valid ONNX, of the opset asked for, with the axes free that were to be."""
    try:
        onnx.checker.check_model(str(target), full_check=False)
        model = onnx.load(str(target), load_external_data=False)
    except Exception as error:
        raise UnsoundError(f"what torch wrote is not valid ONNX: {innermost(error)}") from error
    written = {each.domain: each.version for each in model.opset_import}.get("")
    if written != opset:
        raise UnsoundError(f"torch wrote opset {written} instead of {opset}; set `opset` to one that it knows")
    asked = {spec["name"]: _dims(spec) for spec in specs}
    for value in model.graph.input:
        for found, wanted in zip(value.type.tensor_type.shape.dim, asked[value.name], strict=True):
            if isinstance(wanted, str) and not found.dim_param:
                raise UnsoundError(f"the axis {wanted!r} of {value.name!r} became fixed at {found.dim_value}: the model's code fixes it")


def _dims(spec: Spec) -> list[int | str]:
    return [axis if isinstance(axis, int) else axis["name"] for axis in spec["axes"]]
