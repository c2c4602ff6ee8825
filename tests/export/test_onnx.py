import json

import numpy as np
import onnx
import onnxruntime
import pytest

from modeling_asm.export.onnx import OPSET, quantise
from modeling_asm.export.write import export, make_inputs


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["waveform", "features"])
def test_onnx(model, feature_extractor, tmp_path, inputs):
    result = export(model, feature_extractor, tmp_path / "model.onnx", inputs)
    assert result["largest_difference"] < 1e-4
    assert result["same_label"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]  # weights inside, nothing left beside it
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch_size in (1, 5):
        clips = [NOISE[: 500 * (row + 1)] for row in range(batch_size)]
        arrays = make_inputs(feature_extractor, clips, inputs)
        logits = session.run(["logits"], dict(zip([value.name for value in session.get_inputs()], arrays)))[0]
        features = feature_extractor(clips, sampling_rate=16000, truncation=True, return_tensors="pt")["input_values"]
        np.testing.assert_allclose(logits, model(features).logits.detach().numpy(), atol=1e-4)
    names = [value.name for value in session.get_inputs()]
    assert names == (["waveform", "num_samples"] if inputs == "waveform" else ["input_values"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == ["bird", "cat", "dog"]
    assert metadata["sampling_rate"] == "16000"
    assert metadata["num_samples"] == str(feature_extractor.nb_max_samples)


@pytest.mark.slow
def test_onnx_has_plain_operators_and_no_traces_of_this_machine(model, feature_extractor, tmp_path, repository, capfd):
    export(model, feature_extractor, tmp_path / "model.onnx")
    said = capfd.readouterr().out.splitlines()
    assert not [line for line in said if not line.startswith("Applied ")]  # how old versions of onnxscript count rules
    file = onnx.load(tmp_path / "model.onnx")
    graph = file.graph
    assert {entry.domain: entry.version for entry in file.opset_import}[""] == 20
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.input, *graph.output)} == {"batch_size"}
    operators = {node.op_type for node in graph.node}
    assert not operators & {"STFT", "DFT", "MelWeightMatrix", "Loop", "Scan", "If"}
    assert {node.domain for node in graph.node} == {""}
    assert str(repository).encode() not in (tmp_path / "model.onnx").read_bytes()


@pytest.mark.slow
def test_int8(model, feature_extractor, tmp_path):
    export(model, feature_extractor, tmp_path / "float32.onnx")
    result = export(model, feature_extractor, tmp_path / "int8.onnx", int8=True)
    assert 0 < result["largest_difference"] < 0.05
    files = [onnx.load(tmp_path / name) for name in ("float32.onnx", "int8.onnx")]
    types = {tensor.name: tensor.data_type for tensor in files[1].graph.initializer}
    sizes = {tensor.name: np.prod(tensor.dims) for tensor in files[1].graph.initializer}
    assert types["cosine"] == types["sine"] == types["filters"] == onnx.TensorProto.FLOAT  # the filterbank stays
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim > 1)
    integers = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    assert sum(size for name, size in sizes.items() if types[name] in integers and size > 3) >= weights
    products = {node.name: set(node.input) for node in files[1].graph.node if node.op_type in ("MatMul", "Gemm")}
    assert len(products) == sum(bool(names & {"cosine", "sine", "filters"}) for names in products.values()) == 3
    metadata = [{entry.key: entry.value for entry in file.metadata_props} for file in files]
    assert metadata[0] == metadata[1]


def test_weights_of_convolutions_are_rounded_to_their_own_scale(tmp_path):
    """One for each channel, whose largest weight is 127 steps."""
    weight = (np.random.default_rng(0).standard_normal((3, 2, 4, 4)) * [[[[1]]], [[[10]]], [[[0]]]]).astype(np.float32)
    shapes = {"x": (1, 2, 4, 4), "y": (1, 3, 1, 1)}
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items())
    nodes = [onnx.helper.make_node("Conv", ["x", "weight"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "convolution", [x], [y], [onnx.numpy_helper.from_array(weight, "weight")])
    file = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    onnx.helper.set_model_props(file, {"labels": "[]"})
    onnx.save(file, tmp_path / "model.onnx")
    quantise(tmp_path / "model.onnx")
    quantised = onnx.load(tmp_path / "model.onnx")
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    integers, scale = tensors["weight_quantized"], tensors["weight_scale"]
    assert integers.dtype == np.int8
    assert np.abs(integers.astype(int)).max((1, 2, 3)).tolist() == [127, 127, 0]
    assert np.isfinite(scale).all()
    steps = scale[:, None, None, None]
    assert (np.abs(integers * steps - weight) <= steps * 0.5001).all()
    assert [node.op_type for node in quantised.graph.node] == ["DequantizeLinear", "Conv"]  # in the order of their use
    assert {entry.key: entry.value for entry in quantised.metadata_props} == {"labels": "[]"}
