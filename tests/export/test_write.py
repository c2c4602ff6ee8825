import dataclasses
import json
from importlib.metadata import version

import numpy as np
import pytest
import torch

from modeling_asm import ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.audio import load_audio
from modeling_asm.export import write as export_module
from modeling_asm.export.graphs import ASMWaveformClassifier
from modeling_asm.export.write import FORMATS, describe, export, make_inputs, make_noise


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)


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
    with pytest.raises(RuntimeError, match="The logits of the exported model differ by"):
        export(model, other, tmp_path / "model.pt2")


def test_impossible_arguments(model, feature_extractor, tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of \.onnx, \.pt2, \.pte, got 'model\.bin'"):
        export(model, feature_extractor, tmp_path / "model.bin")
    with pytest.raises(ValueError, match=r"`inputs` must be one of .*, got 'sound'"):
        export(model, feature_extractor, tmp_path / "model.onnx", inputs="sound")
    with pytest.raises(ValueError, match=r"int8 is for ONNX files, got 'model\.pt2'"):
        export(model, feature_extractor, tmp_path / "model.pt2", int8=True)
    with pytest.raises(ValueError, match=r"There is no folder '.*nowhere'\. Create it first"):
        export(model, feature_extractor, tmp_path / "nowhere" / "model.onnx")


def test_a_file_that_differs_is_not_written(model, feature_extractor, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "TOLERANCE", 0.0)
    (tmp_path / "model.onnx").write_bytes(b"before")
    with pytest.raises(RuntimeError, match=r"logits .* differ by .*, more than .*, so .* was not written"):
        export(model, feature_extractor, tmp_path / "model.onnx", "features")
    assert (tmp_path / "model.onnx").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_model_is_left_alone(model, feature_extractor, tmp_path):
    model = model.bfloat16().train()
    export(model, feature_extractor, tmp_path / "model.pt2", "features")
    assert model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
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


def test_a_file_is_written_beside_its_place(model, feature_extractor, tmp_path, monkeypatch):
    """On the same disk, so that it is renamed and never copied, and under a hidden name."""
    files = []
    record = dataclasses.replace(FORMATS[".pt2"], write=lambda module, examples, file, metadata: files.append(file))
    monkeypatch.setitem(FORMATS, ".pt2", record)
    with pytest.raises(FileNotFoundError):
        export(model, feature_extractor, tmp_path / "model.pt2")
    assert files[0].parent.parent == tmp_path
    assert files[0].parent.name.startswith(".model.pt2.")
    assert not list(tmp_path.iterdir())


def test_noise_of_three_lengths(feature_extractor):
    noise = make_noise(feature_extractor)
    assert [len(clip) for clip in noise] == [400, 1400, 2800]  # a frame, half a window of 16 frames, and all of it
    assert {clip.dtype for clip in noise} == {np.dtype(np.float32)}
    assert -0.5 <= min(clip.min() for clip in noise) < -0.49
    assert 0.49 < max(clip.max() for clip in noise) < 0.5
    assert all(np.array_equal(clip, again) for clip, again in zip(noise, make_noise(feature_extractor)))


def test_clips_are_cut_after_one_window(feature_extractor):
    (features,) = make_inputs(feature_extractor, [NOISE], "features")
    (same,) = make_inputs(feature_extractor, [NOISE[: feature_extractor.nb_max_samples]], "features")
    assert np.array_equal(features, same)


def test_the_description(model, feature_extractor):
    description = describe(model, feature_extractor, "features")
    assert description["modeling_asm"] == version("modeling_asm")
    assert description["inputs"] == "features"
    for name in ("config", "feature_extractor"):
        fields = json.loads(description[name])
        assert list(fields) == sorted(fields)  # the same file from the same model


def test_labels_are_described_in_the_order_of_the_logits(config, feature_extractor):
    config.id2label = {0: "zebra", 1: "ant", 2: "bee"}
    description = describe(ASMForAudioClassification(config), feature_extractor, "waveform")
    assert json.loads(description["labels"]) == ["zebra", "ant", "bee"]


def test_a_graph_from_waveforms_pads_on_the_right(model, tmp_path):
    left = ASMFeatureExtractor(num_mel_bins=24, max_length=16, padding_side="left")
    with pytest.raises(ValueError, match=r"`padding_side` is 'left'. Export from features"):
        export(model, left, tmp_path / "model.onnx")
