import csv

import numpy as np
from datasets import ClassLabel, Dataset

from modeling_asm.training.report.tables import (
    format_scores,
    format_table,
    name_below,
    write_csv,
    write_json,
    write_report,
    write_worst_clips,
)
from modeling_asm.training.tasks import TASKS


SINGLE, MULTI, REGRESSION = TASKS.values()
NAMES = ["cat", "dog", "cow"]
LOG = [
    {"loss": 1.0, "epoch": 1.0, "step": 5, "grad_norm": 2.0},
    {"eval_loss": 0.9, "eval_accuracy": 0.5, "epoch": 1.0, "step": 5, "eval_runtime": 1.0},
    {"loss": 0.5, "epoch": 2.0, "step": 10},
    {"train_runtime": 3.0, "epoch": 2.0, "step": 10, "total_flos": 0.0},
]


def read(file):
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def is_picture(file) -> bool:
    return file.read_bytes().startswith(b"\x89PNG")


def test_a_class_a_clip(tmp_path):
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    write_report(tmp_path, SINGLE, NAMES[:2], np.array([0, 1, 1]), logits, LOG)
    assert read(tmp_path / "confusion_matrix.csv")[1:] == [["cat", "1", "0"], ["dog", "1", "1"]]
    assert read(tmp_path / "per_class.csv") == [
        ["class", "clips", "precision", "recall", "f1"],
        ["cat", "1", "0.5", "1.0", "0.6667"],
        ["dog", "2", "1.0", "0.5", "0.6667"],
    ]
    assert read(tmp_path / "learning_curves.csv") == [
        ["loss", "epoch", "step", "grad_norm", "eval_loss", "eval_accuracy"],
        ["1.0", "1.0", "5", "2.0", "0.9", "0.5"],
        ["0.5", "2.0", "10", "", "", ""],
    ]
    assert all(is_picture(tmp_path / f"{name}.png") for name in ("confusion_matrix", "per_class", "learning_curves"))


def test_several_labels(tmp_path):
    references = np.array([[1.0, 0, 0], [1, 1, 0]])
    write_report(tmp_path, MULTI, NAMES, references, np.array([[1.0, 2, 0], [0.5, 1, 0]]), LOG)
    assert read(tmp_path / "per_class.csv")[1:] == [["cat", "2", "1.0"], ["dog", "1", "0.5"], ["cow", "0", "nan"]]
    assert not (tmp_path / "confusion_matrix.csv").exists()


def test_numbers(tmp_path):
    write_report(tmp_path, REGRESSION, ["value"], np.array([1.0, 2.0]), np.array([[1.0], [2.5]]), LOG)
    assert {file.name for file in tmp_path.iterdir()} == {"learning_curves.csv", "learning_curves.png"}


def test_the_worst_clips_come_first(tmp_path):
    rows = {"audio": [{"path": f"{tmp_path}/{name}.wav", "bytes": None} for name in "abc"], "label": [0, 1, 0]}
    rows["waveform"] = [np.random.default_rng(0).standard_normal(800).astype(np.float32)] * 3
    for name in "abc":
        (tmp_path / f"{name}.wav").touch()
    clips = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=["cat", "dog"]))
    logits = np.array([[5.0, 0.0], [4.0, 0.0], [1.0, 0.0]])
    write_worst_clips(tmp_path, clips, np.array([0, 1, 0]), logits, 16000, str(tmp_path))
    table = read(tmp_path / "worst_clips.csv")
    assert [row[:3] for row in table[1:]] == [["b.wav", "dog", "cat"], ["c.wav", "cat", "cat"], ["a.wav", "cat", "cat"]]
    assert is_picture(tmp_path / "worst_clips.png")


def test_json_is_for_people_too(tmp_path):
    write_json({"name": "Käse", "counts": [1, 2]}, tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert "Käse" in text
    assert text.endswith("}\n")


def test_tables(tmp_path):
    write_csv(tmp_path / "a.csv", ["x", "y"], [[1, "a,b"]])
    assert read(tmp_path / "a.csv") == [["x", "y"], ["1", "a,b"]]
    assert format_table([("run", "score"), ("one", 0.5)]) == "run  score\n---  -----\none  0.5"
    scores = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "chance": 0.1}
    assert format_scores(scores) == [("accuracy", "0.500 (95% interval 0.400 to 0.600)")]


def test_files_are_named_without_folders_of_this_machine(tmp_path):
    assert name_below(tmp_path, str(tmp_path / "a" / "1.wav")) == "a/1.wav"
    assert name_below(tmp_path / "a", str(tmp_path / "b" / "1.wav")) == "1.wav"
    assert name_below(None, "/home/ann/1.wav") == "1.wav"
    assert name_below(None, "train/1.wav") == "train/1.wav"  # within a data set of the Hub
