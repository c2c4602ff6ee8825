import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import pipeline

from modeling_asm import ASMConfig, ASMFeatureExtractor, ASMForAudioClassification, ASMStreamingClassifier


WAVEFORM = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)
SAMPLES = 400 + 15 * 160  # a window of 16 frames


@pytest.fixture
def classifier(model, feature_extractor):
    return ASMStreamingClassifier(model, feature_extractor, hop=0.05, top_k=None)


def scores(windows) -> torch.Tensor:
    return torch.tensor([[row["score"] for row in sorted(w["scores"], key=lambda row: row["label"])] for w in windows])


def make_classifier(hop: float) -> ASMStreamingClassifier:
    torch.manual_seed(0)
    config = ASMConfig(
        hidden_size=8, num_hidden_layers=1, tokens_mlp_dim=4, channels_mlp_dim=8, patch_size=4, frequency_stride=4,
        time_stride=4, max_length=16, num_mel_bins=8, num_labels=3,
    )  # fmt: skip
    extractor = ASMFeatureExtractor(num_mel_bins=8, max_length=16)
    return ASMStreamingClassifier(ASMForAudioClassification(config), extractor, hop=hop, top_k=None)


@given(cuts=st.lists(st.integers(0, 16000), max_size=12), hop=st.sampled_from([0.01, 0.05, 0.3]))
def test_equal_to_the_window_alone_for_any_cutting(cuts, hop):
    classifier, edges = make_classifier(hop), [0, *sorted(cuts), 16000]
    windows = [w for start, end in itertools.pairwise(edges) for w in classifier.push(WAVEFORM[start:end])]
    starts = range(0, 16000 - SAMPLES + 1, round(hop * 16000))
    assert [window["start"] for window in windows] == pytest.approx([start / 16000 for start in starts])
    clips = [WAVEFORM[start : start + SAMPLES] for start in starts]
    offline = classifier.pipeline(clips, top_k=3)
    expected = scores([{"scores": result} for result in offline])
    torch.testing.assert_close(scores(windows), expected, atol=1e-5, rtol=0)


def test_windows_come_as_soon_as_they_are_whole(classifier):
    assert classifier.push(WAVEFORM[: SAMPLES - 1]) == []
    (window,) = classifier.push(WAVEFORM[SAMPLES - 1 : SAMPLES])
    assert (window["start"], window["end"]) == (0.0, 0.175)
    assert classifier.push(WAVEFORM[SAMPLES : SAMPLES + 799]) == []
    assert len(classifier.push(WAVEFORM[:1])) == 1


def test_memory_is_bounded(classifier):
    for _ in range(300):
        classifier.push(WAVEFORM[:1000])
        assert len(classifier.frames.samples) < 400
        assert len(classifier.windows.frames) <= 16 + 7
    assert classifier.windows.num_frames == 1 + (300_000 - 400) // 160


def test_reset(classifier):
    first = classifier.push(WAVEFORM)
    classifier.reset()
    assert classifier.push(WAVEFORM) == first


def test_channels_integers_and_other_rates(model, feature_extractor, classifier):
    expected = scores(classifier.push(WAVEFORM))
    classifier.reset()
    torch.testing.assert_close(scores(classifier.push(np.stack([WAVEFORM, WAVEFORM], 1))), expected)
    classifier.reset()
    pcm = (WAVEFORM * 32768).round().astype(np.int16)
    torch.testing.assert_close(scores(classifier.push(torch.from_numpy(pcm))), expected, atol=1e-3, rtol=0)
    other = ASMStreamingClassifier(model, feature_extractor, hop=0.05, top_k=None, sampling_rate=8000)
    tone = np.sin(np.arange(8000) / 5).astype(np.float32)
    windows = [window for chunk in np.split(tone, 16) for window in other.push(chunk)]
    offline = other.pipeline({"array": tone, "sampling_rate": 8000}, return_timestamps=True, window_overlap=11 / 16)
    torch.testing.assert_close(scores(windows), scores(offline[: len(windows)]), atol=1e-4, rtol=0)


def test_an_encoder_of_the_package_by_name():
    classifier = ASMStreamingClassifier.from_pretrained("asm-mini-general", hop=1.0)
    assert classifier.feature_extractor.max_length == 400


def test_from_pretrained(checkpoint):
    classifier = ASMStreamingClassifier.from_pretrained(str(checkpoint), hop=1.0, top_k=2)
    (window,) = classifier.push(WAVEFORM[:3000])
    stock = pipeline("audio-classification", model=str(checkpoint))(WAVEFORM[:SAMPLES], top_k=2)
    assert [row["label"] for row in window["scores"]] == [row["label"] for row in stock]
    assert [row["score"] for row in window["scores"]] == pytest.approx([row["score"] for row in stock], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hop": 0}, "`hop` must be above 0 seconds and finite, got 0"),
        ({"hop": "x"}, "`hop` must be above 0 seconds and finite, got 'x'"),
        ({"hop": float("inf")}, "`hop` must be above 0 seconds and finite, got inf"),
        ({"top_k": 0}, "`top_k` must be a positive integer, or `None` for all labels, got 0"),
        ({"function_to_apply": "tanh"}, "`function_to_apply` must be one of .*'sigmoid'.*, got 'tanh'"),
        ({"dtype": "float64"}, r"`dtype` must be one of \('int16', 'int32', 'uint8', 'float32'\), got 'float64'"),
        ({"channels": 2, "channel": 2}, "`channel` must be below the number of channels, 2, got 2"),
        ({"channel": -1}, "`channel` must be the number of a channel, from 0, got -1"),
        ({"channels": 2.5}, r"`channels` must be a whole number of at least 1, got 2\.5"),
        ({"channels": 0}, "`channels` must be a whole number of at least 1, got 0"),
        ({"sampling_rate": 10}, "`sampling_rate` must be between 1000 and 1000000 Hz, got 10"),
    ],
    ids=str,
)
def test_impossible_arguments(model, feature_extractor, arguments, message):
    with pytest.raises(ValueError, match=message):
        ASMStreamingClassifier(model, feature_extractor, **arguments)


def test_a_bad_chunk_is_not_heard(classifier):
    expected = classifier.push(WAVEFORM)
    classifier.reset()
    classifier.push(WAVEFORM[:5000])
    with pytest.raises(ValueError, match="The stream has the value nan at sample 5000, expected finite samples"):
        classifier.push(np.array([np.nan], np.float32))
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3\)"):
        classifier.push(np.zeros((1, 2, 3)))
    assert classifier.push(np.zeros(0)) == []
    assert classifier.push(WAVEFORM[5000:])[-1] == expected[-1]


STEREO = np.stack([WAVEFORM, np.roll(WAVEFORM, 100)], 1)
PCM = (np.clip(STEREO, -1, 0.999) * 2**15).astype(np.int16)


@pytest.mark.parametrize("layout", ["last", "first", "mono-last", "mono-first", "declared", "interleaved"])
def test_channels_on_either_axis(model, feature_extractor, layout):
    """As the pipeline reads them; a chunk `(1, n)` used to be averaged along time."""
    mono = layout.startswith("mono")
    chunk = WAVEFORM[:, None] if mono else STEREO
    chunk = chunk.T if "first" in layout else chunk.flatten() if layout == "interleaved" else chunk
    options = {"channels": 2} if layout in ("declared", "interleaved") else {}
    expected = ASMStreamingClassifier(model, feature_extractor).push(WAVEFORM if mono else STEREO.mean(1))
    assert len(expected) > 0
    assert ASMStreamingClassifier(model, feature_extractor, **options).push(chunk) == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_a_declared_type(model, feature_extractor, kind):
    expected = ASMStreamingClassifier(model, feature_extractor).push(PCM)
    declared = ASMStreamingClassifier(model, feature_extractor, dtype="int16", channels=2)
    content = PCM.tobytes()
    answers = [
        answer for place in range(0, len(content), 4000) for answer in declared.push(kind(content[place:][:4000]))
    ]
    assert answers == expected
    with pytest.raises(
        ValueError, match="The chunk has 3 bytes, expected a multiple of 2, the size of a sample of int16"
    ):
        declared.push(kind(b"abc"))
    with pytest.raises(TypeError, match=f"The chunk is a {kind.__name__}, whose samples could be of any type"):
        ASMStreamingClassifier(model, feature_extractor).push(kind(content))


def test_a_typed_memoryview_tells_its_type(classifier):
    expected = classifier.push(PCM[:, 0])
    classifier.reset()
    assert classifier.push(memoryview(PCM[:, 0].copy())) == expected


def test_another_type_than_declared(model, feature_extractor):
    declared = ASMStreamingClassifier(model, feature_extractor, dtype="int16")
    with pytest.raises(TypeError, match=r"The chunk holds torch\.float32 samples, expected the declared int16"):
        declared.push(WAVEFORM)


def test_one_channel_of_a_stream(model, feature_extractor):
    expected = ASMStreamingClassifier(model, feature_extractor).push(STEREO[:, 1])
    assert ASMStreamingClassifier(model, feature_extractor, channel=1).push(STEREO) == expected


def test_the_layout_of_the_first_chunk_is_that_of_all(model, feature_extractor):
    """Later ones may be as short as they like."""
    classifier = ASMStreamingClassifier(model, feature_extractor)
    with pytest.raises(ValueError, match=r"shape \(2, 2\), and either axis could hold the channels"):
        classifier.push(STEREO[:2])
    expected = ASMStreamingClassifier(model, feature_extractor).push(STEREO)
    pieces = [STEREO[:100], STEREO[100:102], STEREO[102:103], STEREO[103:]]
    assert [answer for piece in pieces for answer in classifier.push(piece)] == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (STEREO[:8000], STEREO[:8000].T, r"\(2, 8000\), expected \(num_samples, 2\)"),
        (STEREO[:8000].T, STEREO[:8000], r"\(8000, 2\), expected \(2, num_samples\)"),
        (STEREO[:8000], np.zeros((8000, 3), np.float32), r"\(8000, 3\), expected \(num_samples, 2\)"),
        (STEREO[:8000], WAVEFORM[:8000], r"\(8000,\), expected \(num_samples, 2\)"),
        (WAVEFORM[:8000], STEREO[:8000], r"\(8000, 2\), expected \(num_samples,\)"),
    ],
    ids=["turned", "turned back", "one more", "mono", "stereo"],
)
def test_chunks_do_not_change_their_layout(model, feature_extractor, first, second, expected):
    classifier = ASMStreamingClassifier(model, feature_extractor)
    classifier.push(first)
    with pytest.raises(ValueError, match=rf"The chunk has shape {expected}, as those before it"):
        classifier.push(second)


def test_a_hop_beyond_the_window_is_warned_of(model, feature_extractor, caplog):
    ASMStreamingClassifier(model, feature_extractor, hop=np.float32(feature_extractor.max_length / 100))
    assert not caplog.messages
    ASMStreamingClassifier(model, feature_extractor, hop=5)
    assert "what lies between two windows is not heard" in caplog.text


def test_a_refused_chunk_decides_nothing(model, feature_extractor):
    classifier = ASMStreamingClassifier(model, feature_extractor)
    with pytest.raises(TypeError):
        classifier.push(np.zeros((2, 8000), np.int64))
    assert classifier.push(STEREO) == ASMStreamingClassifier(model, feature_extractor).push(STEREO)


def test_a_stream_whose_channels_cancel(model, feature_extractor, caplog):
    classifier = ASMStreamingClassifier(model, feature_extractor)
    classifier.push(np.stack([WAVEFORM, -WAVEFORM]))
    classifier.finish()
    assert "The stream has channels that cancel each other: their mean is silent" in caplog.text


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_finish_gives_what_the_whole_recording_has_more(model, feature_extractor, rate):
    classifier = ASMStreamingClassifier(model, feature_extractor, hop=0.05, top_k=None, sampling_rate=rate)
    tone = np.sin(np.arange(rate) / 5).astype(np.float32)
    offline = classifier.pipeline(
        {"array": tone, "sampling_rate": rate}, return_timestamps=True, window_overlap=11 / 16, top_k=3
    )
    for _ in range(2):  # it starts again by itself
        windows = [*classifier.push(tone), *classifier.finish()]
        assert [window["start"] for window in windows] == [window["start"] for window in offline]
        torch.testing.assert_close(scores(windows), scores(offline), atol=1e-4, rtol=0)
    classifier.push(tone[:100])
    assert classifier.finish() == []


def test_channels_are_averaged(classifier):
    """Each of them counts, not the first alone."""
    expected = classifier.push(WAVEFORM)
    classifier.reset()
    other = np.random.default_rng(1).uniform(-0.5, 0.5, 16000).astype(np.float32)
    stereo = np.stack([other, 2 * WAVEFORM - other], 1)
    torch.testing.assert_close(scores(classifier.push(stereo)), scores(expected), atol=1e-5, rtol=0)


def test_the_model_of_a_stream_is_in_evaluation_mode(config, feature_extractor):
    """Even if it comes from training, with dropout and stochastic depth."""
    config.hidden_dropout_prob = config.drop_path_rate = 0.5
    model = ASMForAudioClassification(config).train()
    classifier = ASMStreamingClassifier(model, feature_extractor, hop=0.05)
    first = classifier.push(WAVEFORM)
    classifier.reset()
    assert classifier.push(WAVEFORM) == first


def test_scores_are_those_that_were_asked_for(model, feature_extractor):
    """Whatever the default of transformers' pipeline is: probabilities for classes, logits on request."""
    probabilities, logits = (
        ASMStreamingClassifier(model, feature_extractor, top_k=None, function_to_apply=function).push(WAVEFORM)
        for function in (None, "none")
    )
    torch.testing.assert_close(scores(logits).softmax(-1), scores(probabilities))
    torch.testing.assert_close(scores(probabilities).sum(-1), torch.ones(len(probabilities)))
