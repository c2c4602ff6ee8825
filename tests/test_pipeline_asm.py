import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from modeling_asm import ASMAudioClassificationPipeline, ASMConfig, ASMForAudioClassification
from modeling_asm.audio import AudioFileError
from modeling_asm.pipeline_asm import Span


RATE = 16000
LONG = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)  # windows of 16 frames are 0.175 s


@pytest.fixture
def stock(checkpoint):
    return pipeline("audio-classification", model=str(checkpoint))


@pytest.fixture
def classifier(checkpoint):
    return pipeline("asm-audio-classification", model=str(checkpoint))


def as_scores(result) -> dict:
    return {row["label"]: row["score"] for row in result}


@pytest.mark.parametrize("num_samples", [1, 300, 2000, 2800, 3000, 16000])
def test_the_same_as_the_stock_pipeline(stock, classifier, num_samples):
    clip = LONG[:num_samples]
    assert as_scores(classifier(clip, top_k=3)) == pytest.approx(as_scores(stock(clip, top_k=3)), abs=1e-5)


def test_the_stock_pipeline_hears_the_whole_of_a_long_clip(stock):
    """The mean over windows of what it says of each alone."""
    starts = [0, 8 * 160, 16 * 160, 19 * 160]
    clip = LONG[: starts[-1] + 2800]
    parts = [as_scores(stock(clip[start : start + 2800], top_k=3)) for start in starts]
    mean = {label: sum(part[label] for part in parts) / 4 for label in parts[0]}
    assert as_scores(stock(clip, top_k=3)) == pytest.approx(mean, abs=1e-5)


def test_batches_of_the_stock_pipeline_do_not_mix_clips(stock):
    clips = [LONG, LONG[:1000], LONG[:5000]]
    together = stock(clips, top_k=3, batch_size=3)
    for clip, result in zip(clips, together):
        assert as_scores(result) == pytest.approx(as_scores(stock(clip, top_k=3)), abs=1e-5)


def test_other_aggregations_by_argument(checkpoint, classifier):
    stock = pipeline("audio-classification", model=str(checkpoint), model_kwargs={"window_aggregation": "max"})
    by_argument = as_scores(classifier(LONG, top_k=3, window_aggregation="max"))
    assert by_argument == pytest.approx(as_scores(stock(LONG, top_k=3)), abs=1e-5)
    assert by_argument != pytest.approx(as_scores(classifier(LONG, top_k=3)), abs=1e-5)


def test_its_class_and_its_name(checkpoint, classifier):
    assert type(classifier) is ASMAudioClassificationPipeline
    by_class = pipeline("audio-classification", model=str(checkpoint), pipeline_class=ASMAudioClassificationPipeline)
    assert by_class(LONG) == classifier(LONG)


def test_top_k_and_function_are_the_stock_ones(stock, classifier):
    for arguments in ({"top_k": 5}, {"top_k": 2}, {"top_k": None}, {"top_k": 2, "function_to_apply": "sigmoid"}):
        clip = LONG[:2800] if "function_to_apply" in arguments else LONG
        ours, theirs = classifier(clip, **arguments), stock(clip, **arguments)
        assert [row["label"] for row in ours] == [row["label"] for row in theirs]
        assert as_scores(ours) == pytest.approx(as_scores(theirs), abs=1e-5)
    with pytest.raises(ValueError, match="function_to_apply"):
        classifier(LONG, function_to_apply="tanh")


def test_timestamps(classifier):
    windows = classifier(LONG, return_timestamps=True, top_k=1, window_overlap=0)
    assert [window["start"] for window in windows] == pytest.approx([0, 0.16, 0.32, 0.48, 0.64, 0.8, 0.82])
    assert all(window["end"] - window["start"] == pytest.approx(0.175) for window in windows)
    alone = classifier(LONG[5120:7920], top_k=1)
    assert as_scores(windows[2]["scores"]) == pytest.approx(as_scores(alone), abs=1e-5)
    (short,) = classifier(LONG[:800], return_timestamps=True)
    assert (short["start"], short["end"]) == (0.0, 0.05)


def forms(tmp_path):
    """One sound in every form that a user may have it in."""
    path = tmp_path / "one 'sound' \n\"here\".wav"
    soundfile.write(path, LONG, RATE, subtype="FLOAT")
    content = path.read_bytes()
    return {
        "path": path,
        "string": str(path),
        "bytes": content,
        "file": io.BytesIO(content),
        "array": LONG,
        "double": LONG.astype(np.float64),
        "tensor": torch.from_numpy(LONG),
        "rows": np.stack([LONG, LONG]),
        "columns": np.stack([LONG] * 3, 1),
        "raw": {"raw": LONG, "sampling_rate": RATE},
        "row": {"array": LONG, "sampling_rate": RATE, "path": None},
        "undecoded": {"bytes": content, "path": "sound.wav"},
        "by-path": {"bytes": None, "path": str(path)},
        "of-a-data-set": {"audio": {"path": str(path), "bytes": None}, "label": 1},
    }


def test_every_form_of_a_recording(classifier, tmp_path):
    expected = as_scores(classifier(LONG))
    for name, form in forms(tmp_path).items():
        assert as_scores(classifier(form)) == pytest.approx(expected, abs=1e-5), name


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_formats_rates_and_channels(classifier, tmp_path, kind):
    time = np.arange(44100) / 44100
    stereo = np.stack([np.sin(2 * np.pi * 440 * time), 0.5 * np.sin(2 * np.pi * 440 * time)], 1)
    soundfile.write(tmp_path / "tone", stereo, 44100, format=kind)
    mono = 0.75 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    assert as_scores(classifier(tmp_path / "tone")) == pytest.approx(as_scores(classifier(mono)), abs=0.02)
    resampled = classifier({"array": stereo, "sampling_rate": 44100})
    assert as_scores(resampled) == pytest.approx(as_scores(classifier(mono)), abs=0.02)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batching_across_files_and_windows(classifier, tones, batch_size):
    files = [str(file) for file in sorted((tones / "low").glob("*.wav"))[:5]]
    expected = [as_scores(classifier(file)) for file in files]
    table = Dataset.from_dict({"audio": files}).cast_column("audio", Audio(decode=False))
    for inputs in (
        files,
        (file for file in files),
        table,
        table["audio"],
        KeyDataset(table, "audio"),
        table.to_iterable_dataset(),
    ):
        results = list(classifier(inputs, batch_size=batch_size))
        assert len(results) == 5
        for result, scores in zip(results, expected):
            assert as_scores(result) == pytest.approx(scores, abs=1e-5)


def test_what_cannot_be_read_raises_or_returns_its_error(classifier, tmp_path):
    (tmp_path / "bad.wav").write_text("not audio")
    with pytest.raises(AudioFileError, match=r"bad\.wav"):
        classifier(tmp_path / "bad.wav")
    results = classifier([LONG, str(tmp_path / "bad.wav"), LONG[:500]], on_error="return", batch_size=2)
    assert set(results[1]) == {"error"}
    assert "bad.wav" in results[1]["error"]
    assert as_scores(results[0]) == pytest.approx(as_scores(classifier(LONG)), abs=1e-5)
    assert as_scores(results[2]) == pytest.approx(as_scores(classifier(LONG[:500])), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_overlap": 1.0}, r"`window_overlap` must be at least 0 and below 1, got 1\.0"),
        ({"window_aggregation": "median"}, "`window_aggregation` must be one of .*'mean'.*got 'median'"),
        ({"on_error": "ignore"}, r"`on_error` must be one of \('raise', 'return'\), got 'ignore'"),
        ({"function_to_apply": "tanh"}, "`function_to_apply` must be one of .*'sigmoid'.* got 'tanh'"),
        ({"top_k": 0}, "`top_k` must be a positive integer, or `None` for all labels, got 0"),
        ({"top_k": True}, "`top_k` must be a positive integer, or `None` for all labels, got True"),
        ({"return_timestamps": "no"}, r"`return_timestamps` must be one of \(True, False\), got 'no'"),
        ({"top_k": 1.5}, r"`top_k` must be a positive integer, or `None` for all labels, got 1\.5"),
    ],
    ids=str,
)
def test_impossible_arguments(checkpoint, classifier, arguments, message):
    with pytest.raises(ValueError, match=message):
        classifier(LONG, **arguments)
    with pytest.raises(ValueError, match=message):
        pipeline("asm-audio-classification", model=str(checkpoint), **arguments)


def test_an_argument_that_does_not_exist_is_an_error(classifier):
    with pytest.raises(TypeError, match="no argument `return_timestamp`; did you mean `return_timestamps`"):
        classifier(LONG, return_timestamp=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"top_k": 1},
        {"top_k": None},
        {"function_to_apply": "none"},
        {"return_timestamps": True, "top_k": 2},
        {"window_overlap": 0.0},
        {"window_aggregation": "max"},
    ],
    ids=str,
)
def test_arguments_may_be_given_when_the_pipeline_is_made(checkpoint, classifier, arguments):
    made = pipeline("asm-audio-classification", model=str(checkpoint), **arguments)
    assert made(LONG) == classifier(LONG, **arguments)
    assert made(LONG) != classifier(LONG, top_k=3 if arguments == {"top_k": 1} else 1)
    assert made(LONG, top_k=2, return_timestamps=False) == classifier(
        LONG, **{**arguments, "top_k": 2, "return_timestamps": False}
    )


def test_errors_may_be_returned_by_a_pipeline_that_was_made_so(checkpoint):
    made = pipeline("asm-audio-classification", model=str(checkpoint), on_error="return")
    assert "is missing" in made("nowhere.wav")["error"]


SCORES = {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid, "none": lambda x: x}


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification", "regression"])
@pytest.mark.parametrize("function", SCORES)
def test_a_whole_file_has_the_mean_of_its_windows_under_any_function(classifier, problem_type, function):
    classifier.model.config.problem_type = problem_type
    options = {"top_k": None, "function_to_apply": function}
    windows = [as_scores(window["scores"]) for window in classifier(LONG, return_timestamps=True, **options)]
    mean = {label: np.mean([window[label] for window in windows]) for label in windows[0]}
    assert len(windows) > 5
    assert as_scores(classifier(LONG, **options)) == pytest.approx(mean, abs=1e-6)
    raw = torch.tensor([[w[label] for label in ("bird", "cat", "dog")] for w in windows])
    unscored = classifier(LONG, return_timestamps=True, top_k=None, function_to_apply="none")
    logits = [[as_scores(window["scores"])[label] for label in ("bird", "cat", "dog")] for window in unscored]
    torch.testing.assert_close(raw, SCORES[function](torch.tensor(logits)))


@pytest.mark.parametrize(
    ("problem_type", "wrong", "right"),
    [("single_label_classification", "sigmoid", "softmax"), ("multi_label_classification", "softmax", "sigmoid")],
)
def test_the_stock_pipeline_refuses_what_it_cannot_average(stock, classifier, problem_type, wrong, right):
    """It applies the function after the model has combined the windows."""
    stock.model.config.problem_type = classifier.model.config.problem_type = problem_type
    with pytest.raises(ValueError, match=f"after {right}, so that.*asm-audio-classification"):
        stock(LONG, function_to_apply=wrong)
    for clip, function in ((LONG, right), (LONG[:2800], wrong)):
        theirs = as_scores(stock(clip, function_to_apply=function, top_k=3))
        assert theirs == pytest.approx(as_scores(classifier(clip, function_to_apply=function)), abs=1e-5)


@pytest.mark.parametrize(("num_labels", "expected"), [(3, "softmax"), (1, "none")])
def test_scores_without_a_problem_type(classifier, num_labels, expected):
    """A configuration that names none; several labels are classes, and one is a number."""
    config = ASMConfig.from_dict({**classifier.model.config.to_dict(), "num_labels": num_labels, "problem_type": None})
    model = ASMForAudioClassification(config).eval()
    ours = ASMAudioClassificationPipeline(model=model, feature_extractor=classifier.feature_extractor)
    assert ours(LONG[:2800]) == ours(LONG[:2800], function_to_apply=expected)


def test_the_stock_pipeline_without_a_mask_is_alike_in_every_batch(checkpoint):
    """For extractors that were told not to return masks."""
    stock = pipeline("audio-classification", model=str(checkpoint))
    stock.feature_extractor.return_attention_mask = False
    clips = [LONG, LONG[:1000], LONG[:5000], LONG[:300]]
    alone = [as_scores(stock(clip, top_k=3)) for clip in clips]
    for batch_size in (2, 4):
        for result, expected in zip(stock(clips, top_k=3, batch_size=batch_size), alone):
            assert as_scores(result) == pytest.approx(expected, abs=1e-5)


MEMORY = """
import resource, sys
import modeling_asm
from transformers import pipeline
classifier = pipeline("asm-audio-classification", model=sys.argv[1])
classifier(sys.argv[2], batch_size=8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = classifier(sys.argv[3], batch_size=8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(checkpoint, tmp_path):
    """Ten minutes in stereo at 44.1 kHz would be 212 MB of samples."""
    for name, minutes in (("short.flac", 1), ("long.flac", 10)):
        with soundfile.SoundFile(tmp_path / name, "w", 44100, 2) as file:
            for _ in range(minutes):
                file.write(np.zeros((44100 * 60, 2), np.int16))
    arguments = [str(checkpoint), str(tmp_path / "short.flac"), str(tmp_path / "long.flac")]
    process = subprocess.run([sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(process.stdout.split()[-1]) * unit < 100e6


WITHOUT = """
import sys
import threading
for name in ("torchaudio", "torchcodec"):
    sys.modules[name] = None
import modeling_asm
from transformers import pipeline
print(pipeline("asm-audio-classification", model=sys.argv[1])(sys.argv[2])[0]["label"])
"""


@pytest.mark.slow
def test_without_ffmpeg_torchaudio_and_torchcodec(checkpoint, tmp_path):
    soundfile.write(tmp_path / "sound.mp3", LONG, RATE, format="MP3")
    command = [sys.executable, "-c", WITHOUT, str(checkpoint), str(tmp_path / "sound.mp3")]
    process = subprocess.run(command, capture_output=True, text=True, env={"PATH": "", "HF_HUB_OFFLINE": "1"})
    assert process.returncode == 0, process.stderr
    assert process.stdout.split()[-1] in ("bird", "cat", "dog")


def test_what_cannot_be_read_does_not_reach_the_model(classifier, tmp_path, monkeypatch):
    """Neither in a batch with readable windows nor alone: the model sees the windows that there are."""
    sizes, forward = [], classifier.model.forward
    monkeypatch.setattr(
        classifier.model, "forward", lambda input_values: sizes.append(len(input_values)) or forward(input_values)
    )
    missing, short = str(tmp_path / "none.wav"), LONG[:500]
    answers = classifier([short, missing, short, missing], batch_size=3, on_error="return")
    assert [isinstance(answer, dict) for answer in answers] == [False, True, False, True]
    assert sizes == [2]
    assert answers[0] == answers[2] == classifier(short)
    sizes.clear()
    assert "none.wav' is missing" in classifier(missing, on_error="return")["error"]
    assert sizes == []


def test_damage_after_good_windows_is_the_answer(classifier, tmp_path):
    """The scores of what came before it would be an answer to part of the recording."""
    soundfile.write(tmp_path / "whole.wav", LONG, RATE)
    content = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) - 4000])
    for options in ({}, {"return_timestamps": True}):
        answer = classifier(str(tmp_path / "cut.wav"), on_error="return", **options)
        assert set(answer) == {"error"}
        assert "can be decoded up to" in answer["error"]


def test_five_labels_by_default(feature_extractor, config):
    model = ASMForAudioClassification(ASMConfig.from_dict({**config.to_dict(), "num_labels": 9})).eval()
    nine = ASMAudioClassificationPipeline(model=model, feature_extractor=feature_extractor)
    assert len(nine(LONG)) == 5
    assert len(nine(LONG, top_k=20)) == 9
    spans = {"logits": [0.0] * 9, "span": Span(0.0, 1.0)}
    assert len(nine.postprocess([spans])) == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_have_the_dtype_of_the_model(checkpoint, dtype):
    made = pipeline("asm-audio-classification", model=str(checkpoint), dtype=dtype)
    assert next(iter(made.preprocess(LONG)))["input_values"].dtype == dtype


def test_windows_are_combined_or_returned(classifier):
    with pytest.raises(ValueError, match="`window_aggregation='max'` combines windows, and `return_timestamps=True`"):
        classifier(np.zeros(4000, np.float32), return_timestamps=True, window_aggregation="max")


def test_no_recordings(classifier):
    assert classifier([]) == []
    assert list(classifier(path for path in [])) == []


def test_one_channel_of_a_recording(classifier):
    stereo = np.stack([np.zeros(16000), np.random.default_rng(0).uniform(-0.5, 0.5, 16000)], 1).astype(np.float32)
    assert classifier(stereo, channel=1) == classifier(stereo[:, 1])
    assert classifier(stereo, channel=1) != classifier(stereo)
    with pytest.raises(ValueError, match="`channel` must be the number of a channel, from 0, got -1"):
        classifier(stereo, channel=-1)
