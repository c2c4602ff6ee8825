"""Networks with the inputs, outputs and Reshapes of Google's speech embedding, and random weights; not a test.

The real ones are downloaded.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path, nodes, inputs, outputs, weights):
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    infos = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in part]
        for part in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "graph", *infos, initializer=tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def write_speech_files(folder: Path, num_bands: int = 32) -> tuple[str, str]:
    """Mel bands every 160 samples, at most 1 below the highest. Embedding: 76 frames convolved, with steps of 8."""
    rng = np.random.default_rng(0)
    bands = save(
        folder / "bands.onnx",
        [
            helper.make_node("Unsqueeze", ["input", "axis"], ["sound"]),
            helper.make_node("Conv", ["sound", "kernel"], ["bands"], strides=[160]),
            helper.make_node("ReduceMax", ["bands"], ["highest"], keepdims=0),
            helper.make_node("Sub", ["highest", "range"], ["floor"]),
            helper.make_node("Max", ["bands", "floor"], ["raised"]),
            helper.make_node("Transpose", ["raised"], ["frames"], perm=[0, 2, 1]),
            helper.make_node("Unsqueeze", ["frames", "axis"], ["output"]),
        ],
        [("input", ["batch", "samples"])],
        [("output", ["batch", 1, "frames", num_bands])],
        {
            "axis": np.array([1]),
            "range": np.float32(1),
            "kernel": rng.standard_normal((num_bands, 1, 160)).astype(np.float32) / 2**15,
        },
    )  # fmt: skip
    embedding = save(
        folder / "embedding.onnx",
        [
            helper.make_node("Reshape", ["input", "inner"], ["first"]),
            helper.make_node("Conv", ["first", "kernel"], ["last"], strides=[8, 1]),
            helper.make_node("Reshape", ["last", "outer"], ["output"]),
        ],
        [("input", ["batch", 76, 32, 1])],
        [("output", ["batch", 1, 1, 96])],
        {
            "inner": np.array([-1, 1, 76, 32]),
            "outer": np.array([-1, 1, 1, 96]),
            "kernel": rng.standard_normal((96, 1, 76, 32)).astype(np.float32),
        },
    )
    return bands, embedding
