import json
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from modeling_asm import ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm import export as export_module
from modeling_asm.audio import load_audio
from modeling_asm.export import describe, export, main, make_inputs
from modeling_asm.waveform_classifier import ASMWaveformClassifier


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)


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


def test_onnx_has_plain_operators_and_no_traces_of_this_machine(model, feature_extractor, tmp_path, repository):
    export(model, feature_extractor, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    operators = {node.op_type for node in graph.node}
    assert not operators & {"STFT", "DFT", "MelWeightMatrix", "Loop", "Scan", "If"}
    assert {node.domain for node in graph.node} == {""}
    assert str(repository).encode() not in (tmp_path / "model.onnx").read_bytes()


def test_the_description_does_not_tell_where_the_checkpoint_was(checkpoint):
    model = ASMForAudioClassification.from_pretrained(checkpoint)
    description = describe(model, ASMFeatureExtractor.from_pretrained(checkpoint), "waveform")
    assert not [text for text in description.values() if str(checkpoint) in text]


def test_waveforms_are_checked_and_scaled(feature_extractor):
    pcm = (NOISE[:3000] * 2**15).astype(np.int16)
    batch, lengths = make_inputs(feature_extractor, [pcm], "waveform")
    assert lengths.tolist() == [feature_extractor.nb_max_samples]
    np.testing.assert_allclose(batch[0], NOISE[: lengths[0]], atol=2**-15)
    with pytest.raises(ValueError, match="finite"):
        make_inputs(feature_extractor, [np.array([0.0, np.nan], np.float32)], "waveform")
    with pytest.raises(ValueError, match="Clip 0 is empty"):
        make_inputs(feature_extractor, [np.zeros(0, np.float32)], "waveform")


def test_a_file_of_another_feature_extraction_is_not_written(model, feature_extractor, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_extractor, "mean", 0.0)
    module = ASMWaveformClassifier(model.requires_grad_(False), feature_extractor)
    monkeypatch.setattr(export_module, "ASMWaveformClassifier", lambda *_: module)
    other = ASMFeatureExtractor(num_mel_bins=24, max_length=16, mean=-8.0, std=4.0)
    with pytest.raises(RuntimeError, match=r"logits differ by"):
        export(model, other, tmp_path / "model.pt2")


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


@pytest.mark.parametrize("inputs", ["waveform", "features"])
def test_an_exported_program(model, feature_extractor, tmp_path, inputs):
    assert export(model, feature_extractor, tmp_path / "model.pt2", inputs)["largest_difference"] < 1e-4
    files = {"labels": "", "sampling_rate": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=files)
    assert json.loads(files["labels"]) == ["bird", "cat", "dog"]
    arrays = make_inputs(feature_extractor, [NOISE[:900]], inputs)  # another batch size
    features = feature_extractor(NOISE[:900], sampling_rate=16000, return_tensors="pt")["input_values"]
    logits = program.module()(*map(torch.from_numpy, arrays))
    torch.testing.assert_close(logits, model(features).logits.detach(), atol=1e-4, rtol=0)


@pytest.mark.skipif(find_spec("executorch") is None, reason="needs executorch")
def test_executorch(model, feature_extractor, tmp_path):
    assert export(model, feature_extractor, tmp_path / "model.pte")["largest_difference"] < 1e-4


@pytest.mark.skipif(find_spec("executorch") is not None, reason="executorch is installed")
def test_without_executorch_the_message_says_how_to_install_it(model, feature_extractor, tmp_path):
    with pytest.raises(ImportError, match=re.escape("needs executorch: `pip install 'modeling_asm[executorch]'`")):
        export(model, feature_extractor, tmp_path / "model.pte")


def test_impossible_arguments(model, feature_extractor, tmp_path):
    with pytest.raises(ValueError, match=r"must end on one of \.onnx, \.pt2, \.pte, got 'model\.bin'"):
        export(model, feature_extractor, tmp_path / "model.bin")
    with pytest.raises(ValueError, match=r"`inputs` must be one of .*, got 'sound'"):
        export(model, feature_extractor, tmp_path / "model.onnx", inputs="sound")
    with pytest.raises(ValueError, match=r"int8 is for ONNX files, got 'model\.pt2'"):
        export(model, feature_extractor, tmp_path / "model.pt2", int8=True)
    with pytest.raises(ValueError, match=r"There is no folder .*: make it first"):
        export(model, feature_extractor, tmp_path / "nowhere" / "model.onnx")


def test_a_file_that_differs_is_not_written(model, feature_extractor, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "TOLERANCE", 0.0)
    (tmp_path / "model.onnx").write_bytes(b"before")
    with pytest.raises(RuntimeError, match=r"logits differ by .*, more than .*, so .* was not written"):
        export(model, feature_extractor, tmp_path / "model.onnx", "features")
    assert (tmp_path / "model.onnx").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_model_is_left_alone(model, feature_extractor, tmp_path):
    model = model.bfloat16().train()
    export(model, feature_extractor, tmp_path / "model.pt2", "features")
    assert model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_command(checkpoint, tmp_path, capsys):
    soundfile.write(tmp_path / "clip.wav", NOISE, 8000)
    output = str(tmp_path / "model.pt2")
    assert main(["--model", str(checkpoint), "--output", output, "--clips", str(tmp_path / "clip.wav")]) == 0
    assert re.search(
        r"model\.pt2: \d\.\d MB; on the clips \(1\), .* 100\.0% of the best labels", capsys.readouterr().out
    )
    assert main(["--model", str(checkpoint), "--output", str(tmp_path / "model.bin")]) == 2
    assert capsys.readouterr().err.startswith("asm-export: The name of the file must end on")


def test_the_module_runs_as_a_command():
    command = [sys.executable, "-m", "modeling_asm.export", "--help"]
    assert "asm-export" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_real_clips(recordings, repository, tmp_path):
    """The committed keyword model and real recordings: within 1e-4 of PyTorch."""
    folder = repository / "checkpoints" / "asm-mini-keywords"
    model = ASMForAudioClassification.from_pretrained(folder)
    extractor = ASMFeatureExtractor.from_pretrained(folder)
    files = sorted((recordings / "speech_commands" / "validation").rglob("*.flac"))[::30]
    clips = [load_audio(file) for file in files]
    assert len(clips) > 15
    result = export(model, extractor, tmp_path / "model.onnx", waveforms=clips)
    assert result["largest_difference"] < 1e-4
    assert result["same_label"] == 1
