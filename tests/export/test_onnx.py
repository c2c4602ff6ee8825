import json

import numpy as np
import onnx
import onnxruntime
import pytest

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
def test_onnx_has_plain_operators_and_no_traces_of_this_machine(model, feature_extractor, tmp_path, repository):
    export(model, feature_extractor, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
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
    assert types["transform"] == types["filters"] == onnx.TensorProto.FLOAT  # the filterbank stays
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim > 1)
    integers = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    assert sum(size for name, size in sizes.items() if types[name] in integers and size > 3) >= weights
    metadata = [{entry.key: entry.value for entry in file.metadata_props} for file in files]
    assert metadata[0] == metadata[1]
