import json
import sys

import numpy as np
import pytest
from files import write_tones


@pytest.fixture
def scores(run, checkpoint, tmp_path) -> dict:
    write_tones(tmp_path / "data" / "casia", ("train",), {"speaker": ["a", "b", "c"]})
    write_tones(tmp_path / "data" / "drum_sounds", ("train", "validation"), {})
    arguments = ("--data_dir", tmp_path / "data", "--model", checkpoint, "--log_mel")
    outcome = run("evaluate_encoder.py", *arguments, "--output", tmp_path / "out.json")
    assert outcome.error is None
    assert "environmental_sounds: skipped" in outcome.stdout
    assert "| drum_sounds | 5 | " in outcome.stdout
    return json.loads((tmp_path / "out.json").read_text())["accuracy"]


def test_each_group_is_tested_once_and_a_split_alone(scores):
    assert (scores["casia"]["clips"], scores["casia"]["tested"]) == (24, 24)
    assert (scores["drum_sounds"]["clips"], scores["drum_sounds"]["tested"]) == (48, 24)
    assert set(scores["drum_sounds"]["log-mel"]) == {"1", "5", "20", "all"}
    for name in ("checkpoint", "log-mel"):
        assert scores["casia"][name]["all"]["accuracy"] > 0.9
        few = scores["drum_sounds"][name]["5"]
        assert few["low"] <= few["accuracy"] <= few["high"]


def test_a_probe_is_never_fitted_to_what_it_is_tested_on(repository):
    """Embeddings that tell the group, and not the label, are worth nothing."""
    sys.path.append(str(repository / "research"))
    from evaluate_encoder import Clips, few, probe

    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 120), np.repeat(np.arange(3), 40)
    of_groups = np.eye(3)[groups] + 0.1 * rng.standard_normal((120, 3))
    assert probe(of_groups, Clips([], labels, groups, groups))["accuracy"] < 0.7
    of_labels = np.eye(2)[labels] + 0.1 * rng.standard_normal((120, 2))
    clips = Clips([], labels, np.where(groups == 2, 0, -1), groups)
    assert probe(of_labels, clips)["accuracy"] == 1
    assert few(of_labels, clips, 5)["accuracy"] == 1


def test_networks_hear_whole_clips_at_their_rate(repository):
    sys.path.append(str(repository / "research"))
    from evaluate_encoder import network_of

    heard = []

    def network(waveforms):
        heard.append(waveforms)
        return np.arange(6.0).reshape(1, 3, 2)

    embeddings = network_of(network, 32000)([np.ones(4000, np.float32), np.ones(24000, np.float32)])
    assert [wave.shape for wave in heard] == [(1, 32000), (1, 48000)]  # a second at least
    assert abs(heard[0][0, -8000:]).max() < 1e-3
    np.testing.assert_array_equal(embeddings, [[2, 3], [2, 3]])


def test_the_order_of_a_short_word_is_kept(repository):
    sys.path.append(str(repository / "research"))
    from evaluate_encoder import in_order

    def speech(waveforms):
        return waveforms[:, ::4000, None].repeat(2, 2)  # four steps of two numbers in a second

    word = np.concatenate([np.ones(4000), np.full(4000, 2)])  # half a second, so from .25 to .75 s
    embeddings = in_order(speech, [word, np.arange(40000)])
    np.testing.assert_array_equal(embeddings, [[0, 0, 1, 1, 2, 2, 0, 0], [0, 0, 4000, 4000, 8000, 8000, 12000, 12000]])


def test_nothing_to_measure(run, tmp_path):
    outcome = run("evaluate_encoder.py", "--data_dir", tmp_path, "--output", tmp_path / "out.json")
    assert "Nothing to measure: name --model, --log_mel" in outcome.error


def test_columns_of_several_encoders(repository):
    sys.path.append(str(repository / "research"))
    from evaluate_encoder import format_results

    cell = {"all": {"accuracy": 0.5, "low": 0.4, "high": 0.6}}
    runs = [{"accuracy": {"casia": {"clips": 9, name: cell, "log-mel": cell}}} for name in ("small", "mini")]
    runs.append({"accuracy": {"casia": {"clips": 9, "mn04": cell}}})
    header, _, row = format_results(*runs).splitlines()
    assert header == "| data | training clips of a class | small | log-mel | mini | mn04 |"
    assert row == "| casia | all |" + " 0.500 (0.400 to 0.600) |" * 4
