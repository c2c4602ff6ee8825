"""ONNX files, for ONNX Runtime and others: written by PyTorch's exporter, quantised by ONNX Runtime."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from .formats import Examples, Format, any_batch, input_names, two_clips
from .onnx_runtime import ASMOnnxModel


OPSET = 20  # the first with GELU


def write(module: nn.Module, examples: Examples, path: Path, metadata: dict[str, str]):
    """Write an ONNX file for any batch size, with weights and metadata inside."""
    program = torch.onnx.export(
        module,
        two_clips(examples),
        dynamo=True,
        opset_version=OPSET,
        input_names=input_names(examples),
        output_names=["logits"],
        dynamic_shapes=any_batch(examples),
        verbose=False,
    )
    for described in [*program.model.graph.all_nodes(), *program.model.graph.inputs]:
        described.metadata_props.clear()  # they hold the paths of source files
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)


def read(path: Path, examples: Examples) -> np.ndarray:
    """Return the logits that ONNX Runtime computes."""
    inputs = {name: torch.from_numpy(example) for name, example in zip(input_names(examples), examples)}
    return ASMOnnxModel(path)(**inputs).logits.numpy()


def quantise(path: Path):
    """Quantise an ONNX file in place: linear maps with ONNX Runtime, and the weights of convolutions.

    Linear maps get int8 weights, and uint8 activations with a scale that is measured at run time, over the whole batch.
    Convolutions, which ONNX Runtime makes slower in 8 bits, compute in float32 with int8 weights, one scale per
    channel. The filterbank stays in float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    del model.graph.value_info[:]  # shapes before quantisation, which older versions of ONNX Runtime do not update
    onnx.save(model, path)
    exact = [
        node.name for node in model.graph.node if set(node.input) & {"cosine", "sine", "filters"}
    ]  # the filterbank's
    options = {"weight_type": QuantType.QInt8, "op_types_to_quantize": ["MatMul", "Gemm"], "nodes_to_exclude": exact}
    quantize_dynamic(path, path, **options)
    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in [node.input[1] for node in model.graph.node if node.op_type == "Conv"]:
        weight = onnx.numpy_helper.to_array(weights[name])
        scale = np.abs(weight).max((1, 2, 3)) / 127 + np.finfo(np.float32).tiny
        integers = np.round(weight / scale[:, None, None, None]).astype(np.int8)
        parts = {f"{name}_quantized": integers, f"{name}_scale": scale.astype(np.float32)}
        model.graph.initializer.remove(weights[name])
        model.graph.initializer.extend(onnx.numpy_helper.from_array(part, key) for key, part in parts.items())
        model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", list(parts), [name], axis=0))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


ONNX = Format(".onnx", "onnx", ("onnx", "onnxscript", "onnxruntime"), write, read)
