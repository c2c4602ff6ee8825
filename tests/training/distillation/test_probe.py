import csv

import numpy as np
import pytest
import soundfile

from modeling_asm.training.distillation.probe import embed, make_probe, score


def make_set(folder, folds: bool, splits=("train", "test")):
    """Tones of two pitches; with folds, in one split."""
    rng = np.random.default_rng(0)
    for split in splits:
        (folder / split).mkdir(parents=True)
        rows = []
        for number in range(12):
            pitch = (300, 3000)[number % 2]
            wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(8000) / 16000 + rng.uniform(0, 6))
            soundfile.write(folder / split / f"{number}.wav", wave, 16000)
            rows.append((f"{number}.wav", ("low", "high")[number % 2], str(1 + number // 4)))
        with open(folder / split / "metadata.csv", "w", newline="") as file:
            header = ("file_name", "label", "fold" if folds else "take")
            csv.writer(file).writerows([header, *rows])
    return str(folder)


def test_folds_or_a_second_split(tmp_path, model, feature_extractor):
    folders = [make_set(tmp_path / "folds", True, ("train",)), make_set(tmp_path / "split", False)]
    scores = make_probe(folders, feature_extractor)(model)
    assert set(scores) == {"folds", "split"}
    assert min(scores.values()) > 0.9


def test_nothing_to_test_on(tmp_path, feature_extractor):
    with pytest.raises(ValueError, match="has neither a column 'fold' nor a second split: what should be tested"):
        make_probe([make_set(tmp_path / "one", False, ("train",))], feature_extractor)


def test_embeddings_are_means_over_windows_and_the_model_keeps_its_mode(model, feature_extractor, input_values):
    import torch

    clips = [torch.randn(40, 24), input_values[0]]
    model.train()
    vectors = embed(model, clips)
    assert model.training
    model.eval()
    starts = (0, 8, 16, 24)
    with torch.no_grad():
        parts = [model.base_model(clips[0][None, start : start + 16]).pooler_output for start in starts]
        alone = model.base_model(clips[1][None]).pooler_output
    np.testing.assert_allclose(vectors[0], torch.cat(parts).mean(0), atol=1e-5)
    np.testing.assert_allclose(vectors[1], alone[0], atol=1e-5)


def test_a_fold_is_never_trained_on_while_it_is_tested():
    """Embeddings that tell a fold, and not the label, are worth nothing."""
    rng = np.random.default_rng(0)
    labels, folds = rng.integers(0, 2, 200), np.repeat(np.arange(5), 40)
    assert 0.3 < score(np.eye(5)[folds] + 0.01 * rng.standard_normal((200, 5)), labels, folds) < 0.7
    assert score(np.eye(2)[labels] + 0.1 * rng.standard_normal((200, 2)), labels, folds) == 1
