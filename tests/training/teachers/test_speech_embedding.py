"""Networks with the inputs, outputs and Reshapes of Google's, and random weights: the real ones are downloaded."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modeling_asm.training.teachers.speech_embedding import SpeechEmbedding


def save(path, nodes, inputs, outputs, weights):
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    infos = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in part]
        for part in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "graph", *infos, initializer=tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


@pytest.fixture
def files(tmp_path) -> tuple[str, str]:
    """Mel bands every 160 samples, at most 1 below the highest. Embedding: 76 frames convolved, with steps of 8."""
    rng = np.random.default_rng(0)
    bands = save(
        tmp_path / "bands.onnx",
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
        [("output", ["batch", 1, "frames", 32])],
        {
            "axis": np.array([1]),
            "range": np.float32(1),
            "kernel": rng.standard_normal((32, 1, 160)).astype(np.float32) / 2**15,
        },
    )  # fmt: skip
    embedding = save(
        tmp_path / "embedding.onnx",
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


def test_along_time_it_gives_what_each_window_gives(files):
    import onnxruntime

    waveforms = np.random.default_rng(1).uniform(-1, 1, (2, 160 * 100)).astype(np.float32)
    embeddings = SpeechEmbedding(*files)(waveforms)
    assert embeddings.shape == (2, 4, 96)  # windows of 76 of the 100 frames, 8 apart
    session = onnxruntime.InferenceSession(files[0])
    bands = [session.run(None, {"input": waveform[None] * 2**15})[0][:, 0] for waveform in waveforms]
    bands = np.concatenate(bands) / 10 + 2
    network = onnxruntime.InferenceSession(files[1])
    for step in range(4):
        window = bands[:, 8 * step : 8 * step + 76, :, None]
        np.testing.assert_allclose(
            embeddings[:, step], network.run(None, {"input": window})[0][:, 0, 0], rtol=1e-4, atol=1e-4
        )


def test_stride(files):
    waveforms = np.random.default_rng(1).uniform(-1, 1, (2, 160 * 100)).astype(np.float32)
    np.testing.assert_array_equal(
        SpeechEmbedding(*files, stride=2)(waveforms), SpeechEmbedding(*files)(waveforms)[:, ::2]
    )


def test_another_network(files):
    with pytest.raises(ValueError, match=r"bands.onnx' has 0 Reshapes, expected the 2 of speech_embedding"):
        SpeechEmbedding(files[0], files[0])


def test_a_loud_sound_does_not_change_what_is_said_of_another(files):
    """The mel bands have a floor, relative to the highest of all that the file gets."""
    waveforms = np.random.default_rng(1).uniform(-1, 1, (3, 160 * 100)).astype(np.float32)
    waveforms *= np.array([[1.0], [0.01], [0.1]], np.float32)
    network = SpeechEmbedding(*files)
    for waveform, embeddings in zip(waveforms, network(waveforms), strict=True):
        np.testing.assert_allclose(network(waveform[None])[0], embeddings, atol=1e-4)
