"""Linear probes: what a frozen encoder's embeddings tell of labelled data, while it is being trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from datasets import DatasetDict
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import LeaveOneGroupOut, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ...audio import load_audio
from ...feature_extraction_asm import ASMFeatureExtractor
from ...modeling_asm import ASMForAudioClassification
from ...windowing import cut_windows
from ..data.loading import DataArguments, load_audio_dataset


FOLD_COLUMN = "fold"
BATCH_SIZE = 64
ALPHAS = tuple(10.0**exponent for exponent in range(0, 5))  # of the ridge; each fit chooses one by its own clips


def make_probe(
    data_dirs: list[str], feature_extractor: ASMFeatureExtractor
) -> Callable[[ASMForAudioClassification], dict[str, float]]:
    """Read labelled data sets once; return a function that probes a model on them.

    The probe is a ridge classifier, whose closed form takes seconds. With a column `fold`, each fold is tested once;
    otherwise the split that is not `train` is.

    Args:
        data_dirs: Folders of the data sets.
        feature_extractor: That of the models.

    Returns:
        A function of a model that returns the accuracy on each data set, by the name of its folder.

    Raises:
        ValueError: If a data set has neither folds nor a second split.
    """
    sets = {Path(data_dir).resolve().name: read_set(data_dir, feature_extractor) for data_dir in data_dirs}

    def probe(model: ASMForAudioClassification) -> dict[str, float]:
        return {name: score(embed(model, clips), *rest) for name, (clips, *rest) in sets.items()}

    return probe


def open_set(data_dir: str) -> DatasetDict:
    """Return the splits of a labelled data set that can be tested.

    Raises:
        ValueError: If it has neither folds nor a second split.
    """
    splits = load_audio_dataset(DataArguments(data_dir))
    if FOLD_COLUMN not in splits["train"].column_names and len(splits) < 2:
        raise ValueError(
            f"{data_dir!r} has neither a column {FOLD_COLUMN!r} nor a second split: what should be tested?"
        )
    return splits


def read_set(
    data_dir: str, feature_extractor: ASMFeatureExtractor
) -> tuple[list[torch.Tensor], np.ndarray, np.ndarray]:
    """Return the normalised features of the clips, their labels, and their folds; -1 is never tested."""
    splits = open_set(data_dir)
    folds = FOLD_COLUMN in splits["train"].column_names
    clips, labels, groups = [], [], []
    for name, split in splits.items():
        for audio in split["audio"]:
            waveform = torch.from_numpy(load_audio(audio["path"], feature_extractor.sampling_rate))
            clips.append(feature_extractor(waveform, sampling_rate=feature_extractor.sampling_rate,
                                           return_tensors="pt").input_values[0].half())  # fmt: skip
        labels += split["label"][:]
        groups += [int(fold) for fold in split[FOLD_COLUMN]] if folds else [-1 if name == "train" else 0] * len(split)
    return clips, np.array(labels), np.array(groups)


@torch.no_grad()
def embed(model: ASMForAudioClassification, clips: list[torch.Tensor]) -> np.ndarray:
    """Return the mean of the pooled outputs over the windows of each clip: float32 of shape `(num_clips, size)`."""
    config, was_training = model.config, model.training
    model.eval()
    windows = [cut_windows(clip[None], [(0, len(clip))], config.max_length, config.window_shift)[0] for clip in clips]
    flat = [window for clip in windows for window in clip]
    pooled = torch.cat([
        model.base_model(torch.stack(flat[start : start + BATCH_SIZE]).float().to(model.device)).pooler_output.cpu()
        for start in range(0, len(flat), BATCH_SIZE)
    ])  # fmt: skip
    model.train(was_training)
    return torch.stack([part.mean(0) for part in pooled.split([len(clip) for clip in windows])]).numpy()


def score(embeddings: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> float:
    """Return the accuracy of a ridge classifier over the folds that are tested."""
    splits = PredefinedSplit(folds).split() if -1 in folds else LeaveOneGroupOut().split(embeddings, groups=folds)
    right = 0
    for train, test in splits:
        classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(ALPHAS))
        right += int((classifier.fit(embeddings[train], labels[train]).predict(embeddings[test]) == labels[test]).sum())
    return round(right / int((folds >= 0).sum()), 4)
