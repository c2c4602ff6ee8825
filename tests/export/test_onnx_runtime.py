import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile

from modeling_asm import ASMAudioClassificationPipeline, ASMFeatureExtractor
from modeling_asm.audio import AudioFileError
from modeling_asm.export.onnx_runtime import ASMOnnxClassifier
from modeling_asm.export.write import export


RATE = 16000
LONG = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)  # windows of 16 frames are 0.175 s


def make_pair(model, feature_extractor, tmp_path, inputs):
    export(model, feature_extractor, tmp_path / "model.onnx", inputs)
    plain = ASMAudioClassificationPipeline(model=model, feature_extractor=feature_extractor)
    return ASMOnnxClassifier(tmp_path / "model.onnx"), plain


def assert_same(results, expected):
    """Compare nested results, numbers within 1e-5."""
    if isinstance(expected, dict):
        assert results.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(results[key], value)
    elif isinstance(expected, list):
        assert len(results) == len(expected)
        for result, value in zip(results, expected):
            assert_same(result, value)
    else:
        assert results == (expected if isinstance(expected, str) else pytest.approx(expected, abs=1e-5))


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["waveform", "features"])
def test_the_same_as_the_pipeline(model, feature_extractor, tmp_path, inputs):
    """Clips of less than a frame, of less than a window, of a window and of many, single and in batches."""
    classifier, plain = make_pair(model, feature_extractor, tmp_path, inputs)
    clips = [LONG[:length] for length in (1, 300, 2000, 2800, 3000, RATE - 77)]
    for options in ({"top_k": 1}, {"return_timestamps": True}, {"window_overlap": 0.7, "function_to_apply": "none"}):
        for batch_size in (1, 4):
            assert_same(
                classifier(clips, batch_size=batch_size, **options), plain(clips, batch_size=batch_size, **options)
            )
    soundfile.write(tmp_path / "stereo.flac", np.stack([LONG, LONG[::-1]], 1), 22050)
    assert_same(classifier(str(tmp_path / "stereo.flac")), plain(str(tmp_path / "stereo.flac")))


@pytest.mark.parametrize("padding_mode", ["silence", "reflect"])
def test_other_paddings(model, tmp_path, padding_mode):
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, padding_mode=padding_mode)
    classifier, plain = make_pair(model, extractor, tmp_path, "waveform")
    assert_same(classifier(LONG[:1000]), plain(LONG[:1000]))


def test_files_that_cannot_be_read(model, feature_extractor, tmp_path):
    classifier, _ = make_pair(model, feature_extractor, tmp_path, "waveform")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    results = classifier([LONG, str(tmp_path / "broken.wav"), LONG[:500]], on_error="return", batch_size=4)
    assert [isinstance(result, dict) for result in results] == [False, True, False]
    with pytest.raises(AudioFileError):
        classifier(str(tmp_path / "broken.wav"))


def test_the_first_sample_that_is_not_finite_is_an_error(model, feature_extractor, tmp_path):
    classifier, _ = make_pair(model, feature_extractor, tmp_path, "waveform")
    for length in (500, RATE):
        clip = LONG[:length].copy()
        clip[-1] = np.nan
        with pytest.raises(ValueError, match="finite"):
            classifier(clip)


def test_a_device_and_providers(model, feature_extractor, tmp_path):
    export(model, feature_extractor, tmp_path / "model.onnx", "features")
    with pytest.raises(ValueError, match=r"`device` is 'cpu', but ONNX Runtime uses providers"):
        ASMOnnxClassifier(tmp_path / "model.onnx", device="cpu")
    classifier = ASMOnnxClassifier(tmp_path / "model.onnx", providers="CPUExecutionProvider")
    assert classifier.model.session.get_providers() == ["CPUExecutionProvider"]
    assert classifier.device.type == "cpu"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    classifier = ASMOnnxClassifier(tmp_path / "model.onnx", session_options=options)
    assert classifier.model.session.get_session_options().intra_op_num_threads == 3


def test_without_onnxruntime_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"^ONNX files need onnxruntime: `pip install 'modeling_asm\[onnx\]'`\.$"):
        ASMOnnxClassifier(tmp_path / "model.onnx")


def test_files_that_are_none(tmp_path):
    with pytest.raises(OSError, match=r"There is no file .*none\.onnx.*, expected an ONNX file that `asm-ex"):
        ASMOnnxClassifier(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match=r"ONNX Runtime cannot load .*text\.onnx"):
        ASMOnnxClassifier(tmp_path / "text.onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value])
    graph.output[0].name = "y"
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=opset), tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="has no metadata config, feature_extractor, expected an ONNX file that"):
        ASMOnnxClassifier(tmp_path / "other.onnx")


@pytest.mark.slow
def test_arguments_may_be_given_when_it_is_made(model, feature_extractor, tmp_path):
    """As to any pipeline."""
    export(model, feature_extractor, tmp_path / "model.onnx")
    plain = ASMOnnxClassifier(tmp_path / "model.onnx")
    for arguments in ({"top_k": 1}, {"top_k": None, "function_to_apply": "none"}, {"return_timestamps": True}):
        made = ASMOnnxClassifier(tmp_path / "model.onnx", **arguments)
        assert made(LONG) == plain(LONG, **arguments) != plain(LONG, top_k=2)
    with pytest.raises(TypeError, match="no argument `topk`; did you mean `top_k`"):
        ASMOnnxClassifier(tmp_path / "model.onnx", topk=1)
