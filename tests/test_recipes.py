"""Each recipe, on a tiny generated data set of the columns and layout of the real one.

Those of the Hub come from the stand-in of hub.py, under the names, configurations and revisions that the recipes have.
"""

import csv
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from hub import run_with_hub, running_hub

from modeling_asm import ASMConfig, ASMForAudioClassification
from modeling_asm.commands import distil
from modeling_asm.training.arguments import parse_arguments


pytestmark = pytest.mark.slow


RECIPES = Path(__file__).parents[1] / "recipes"
ALL = sorted(path.stem for path in RECIPES.glob("*.yaml"))
QUICK = ("--max_steps", 2, "--use_cpu", "--measure_cost", False, "--resamples", 0)
SHORT = (*QUICK, "--size", "tiny")

WORDS_35 = yaml.safe_load((RECIPES / "speech_commands_v2_35.yaml").read_text())["labels"]
URBAN = ("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling")  # five of its ten classes


def noise(file: Path, seed: int, seconds: float = 0.2):
    file.parent.mkdir(parents=True, exist_ok=True)
    name = zlib.crc32("/".join(file.parts[-3:]).encode())  # no two files are alike
    samples = 0.1 * np.random.default_rng([seed, name]).standard_normal(int(16000 * seconds))
    soundfile.write(file, samples, 16000)


def write_split(folder: Path, header: tuple, rows: list[tuple]):
    """An audiofolder's split, as the three recorded sets have it."""
    for number, row in enumerate(rows):
        noise(folder / row[0], number)
    with open(folder / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def speech_commands_clips(folder):
    for split, speakers in (("train", "abcdef"), ("validation", "gh")):
        rows = [
            (f"{label}/{s}{n}.flac", label, label, s)
            for label in ("yes", "no", "_unknown_")
            for s in speakers
            for n in (0, 1)
        ]
        write_split(folder / split, ("file_name", "label", "word", "speaker"), rows)


def spoken_digits(folder):
    for split, takes in (("train", range(5, 9)), ("test", range(2))):
        rows = [
            (f"{digit}_{speaker}_{take}.flac", digit, speaker, take)
            for digit in range(3)
            for speaker in ("theo", "lucas", "ann", "bob")
            for take in takes
        ]
        write_split(folder / split, ("file_name", "label", "speaker", "index"), rows)


def drum_sounds(folder):
    for split, kits in (("train", ("A", "B", "C")), ("validation", ("D",))):
        rows = [
            (f"{kit}/{drum}{n}.flac", drum, kit, kit, "CC0")
            for kit in kits
            for drum in ("kick", "snare")
            for n in range(4)
        ]
        write_split(folder / split, ("file_name", "label", "kit", "author", "licence"), rows)


def speech_commands_v2_35(folder):
    for number, word in enumerate(WORDS_35):
        for take in range(4):
            noise(folder / word / f"{take:08x}_nohash_0.wav", 4 * number + take)
    noise(folder / "_background_noise_" / "running_tap.wav", 0, 2.0)
    (folder / "README.md").write_text("not a class\n")
    (folder / "testing_list.txt").write_text("".join(f"{word}/00000001_nohash_0.wav\n" for word in WORDS_35))
    (folder / "validation_list.txt").write_text("".join(f"{word}/00000002_nohash_0.wav\n" for word in WORDS_35))


def casia(folder):
    for number, speaker in enumerate(("liu", "wang", "赵全银", "zhao")):
        for emotion in ("angry", "fear", "happy", "neutral", "sad", "surprise"):
            for take in (201, 202):
                noise(folder / speaker / emotion / f"{take}.wav", number + take)


LOCAL = {
    "speech_commands_clips": (speech_commands_clips, {"validation": 12}),
    "spoken_digits": (spoken_digits, {"test": 24}),
    "spoken_digits_unseen_speakers": (spoken_digits, {"rows with speaker theo or lucas": 36}),
    "speech_commands_clips_cnn": (speech_commands_clips, {"validation": 12}),
    "speech_commands_clips_distilled": (speech_commands_clips, {"validation": 12}),
    "speech_commands_clips_distilled_mini": (speech_commands_clips, {"validation": 12}),
    "speech_commands_clips_general": (speech_commands_clips, {"validation": 12}),
    "speech_commands_clips_general_mini": (speech_commands_clips, {"validation": 12}),
    "spoken_digits_unseen_speakers_general": (spoken_digits, {"rows with speaker theo or lucas": 36}),
    "drum_sounds_general": (drum_sounds, {"validation": 8}),
    "spoken_digits_unseen_speakers_cnn": (spoken_digits, {"rows with speaker theo or lucas": 36}),
    "spoken_digits_unseen_speakers_distilled": (spoken_digits, {"rows with speaker theo or lucas": 36}),
    "drum_sounds": (drum_sounds, {"validation": 8}),
    "drum_sounds_cnn": (drum_sounds, {"validation": 8}),
    "drum_sounds_distilled": (drum_sounds, {"validation": 8}),
    "speech_commands_v2_35": (speech_commands_v2_35, {"test": 35}),
    "casia": (casia, {f"rows with speaker {name}": 12 for name in ("liu", "wang", "zhao", "赵全银")}),
}


@pytest.mark.parametrize("name", LOCAL)
def test_local(run, tmp_path, name):
    write, expected = LOCAL[name]
    write(tmp_path / "data")
    recipe, folder = RECIPES / f"{name}.yaml", tmp_path / "out"
    shaped = {"config_overrides", "model_name_or_path"} & yaml.safe_load(recipe.read_text()).keys()
    options = QUICK if shaped else SHORT
    outcome = run("train", recipe, "--data_dir", tmp_path / "data", "--output_dir", folder, *options)
    assert outcome.error is None
    results = json.loads((folder / "results.json").read_text())
    runs = results.get("runs", [{"test_split": results["data"]["test_split"], "clips": results["data"]["clips"]}])
    assert {run["test_split"]: run["clips"]["test"] for run in runs} == expected
    assert results["command"].startswith(f"asm-train recipes/{name}.yaml --data_dir data")
    if name == "speech_commands_v2_35":
        assert runs[0]["clips"] == {"train": 70, "dev": 35, "test": 35}
        assert len(results["data"]["labels"]) == 35


PUSH = """
import io, json, sys
import numpy as np, soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict

name, config, described = sys.argv[1], sys.argv[2] or None, json.loads(sys.argv[3])
splits = {}
for split, columns in described["splits"].items():
    audio = []
    for row in range(len(next(iter(columns.values())))):
        file = io.BytesIO()
        samples = 0.1 * np.random.default_rng([row, len(splits)]).standard_normal(3200)
        soundfile.write(file, samples, 16000, format="WAV")
        audio.append({"path": f"{row}.wav", "bytes": file.getvalue()})
    dataset = Dataset.from_dict({"audio": audio, **columns}).cast_column("audio", Audio(decode=False))
    for column, names in described.get("classes", {}).items():
        dataset = dataset.cast_column(column, ClassLabel(names=names))
    splits[split] = dataset
DatasetDict(splits).push_to_hub(name, **({"config_name": config} if config else {}))
"""

SPEECH_CLASSES = [*WORDS_35, "_silence_"]  # of google/speech_commands v0.02, in another order
SPEECH_SPLITS = {"train": 2, "validation": 1, "test": 1}  # copies of each class; no speaker is in two of them


def speech_commands_rows(split: str, copies: int) -> dict:
    labels = list(range(36)) * copies
    return {
        "file": [f"{row}.wav" for row in range(len(labels))],
        "label": labels,
        "is_unknown": [SPEECH_CLASSES[label] not in ("yes", "no") for label in labels],
        "speaker_id": [None if label == 35 else f"{split} speaker {row % 7}" for row, label in enumerate(labels)],
        "utterance_id": [0] * len(labels),
    }


def urbansound8k_rows() -> dict:
    folds = [fold for fold in range(1, 11) for _ in URBAN]
    return {
        "slice_file_name": [f"{row}-0-0-0.wav" for row in range(50)],
        "fsID": list(range(50)),
        "start": [0.0] * 50,
        "end": [4.0] * 50,
        "salience": [1] * 50,
        "fold": folds,
        "classID": list(range(5)) * 10,
        "class": list(URBAN) * 10,
    }


def esc50_rows() -> dict:
    return {
        "filename": [f"{row}.wav" for row in range(30)],
        "fold": [row // 6 + 1 for row in range(30)],
        "target": [row % 3 for row in range(30)],
        "category": [("dog", "rain", "crow")[row % 3] for row in range(30)],
        "esc10": [False] * 30,
        "src_file": [0] * 30,
        "take": ["A"] * 30,
    }


def audioset_rows(number: int) -> dict:
    return {
        "video_id": [f"--{row}" for row in range(number)],
        "labels": [[["/m/09x0r"], ["/m/09x0r", "/t/dd00088"], ["/m/04rlf"]][row % 3] for row in range(number)],
        "human_labels": [[["Speech"], ["Speech", "Gush"], ["Music"]][row % 3] for row in range(number)],
    }


SPEECH = {"splits": {name: speech_commands_rows(name, copies) for name, copies in SPEECH_SPLITS.items()}}
HUB = {
    "speech_commands_v2_12": (SPEECH | {"classes": {"label": SPEECH_CLASSES}}, (), ["test"], 36),
    "urbansound8k": ({"splits": {"train": urbansound8k_rows()}}, (), ["rows with fold 10"], 5),
    "esc50": (
        {"splits": {"train": esc50_rows()}},
        ("--cross_validate",),
        [f"rows with fold {fold}" for fold in range(1, 6)],
        6,
    ),
    "audioset": ({"splits": {"train": audioset_rows(30), "test": audioset_rows(9)}}, ("--seconds", 1), ["test"], 9),
}


@pytest.fixture(scope="module")
def hub():
    with running_hub() as hub:
        yield hub


@pytest.mark.parametrize("name", HUB)
def test_of_the_hub(hub, repository, tmp_path, name):
    described, arguments, tested, clips = HUB[name]
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    source, config = recipe["dataset_name"], recipe.get("dataset_config", "")
    run_with_hub(hub, tmp_path, "-c", PUSH, source, config, json.dumps(described))
    if "dataset_revision" in recipe:  # there, and nowhere else
        repository_there = hub.repositories["datasets", source]
        oid = repository_there.refs["main"]
        repository_there.refs[recipe["dataset_revision"]] = oid
        repository_there.commit({"README.md": b"---\n---\n"})
    workers = ("--dataloader_num_workers", 0) if name == "audioset" else ()
    words = ("-m", "modeling_asm.commands.train", RECIPES / f"{name}.yaml", "--output_dir", tmp_path / "out")
    run_with_hub(hub, tmp_path, *words, *SHORT, *arguments, *workers)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    runs = results.get("runs", [{"test_split": results["data"]["test_split"], "clips": results["data"]["clips"]}])
    assert [part["test_split"] for part in runs] == tested
    assert {part["clips"]["test"] for part in runs} == {clips}
    assert results["data"]["dataset_name"] == source
    assert results["data"]["dataset_revision"] == recipe.get("dataset_revision")
    if name == "speech_commands_v2_12":
        assert results["data"]["labels"] == recipe["labels"]
        matrix = np.array(results["confusion_matrix"]).sum(1)
        assert dict(zip(recipe["labels"], matrix)) == {
            label: 25 if label == "_unknown_" else 1 for label in recipe["labels"]
        }
    if name == "audioset":
        assert results["data"]["labels"] == ["Gush", "Music", "Speech"]
        assert "mean_average_precision" in results["metrics"]


def test_every_recipe_is_tested():
    assert sorted([*LOCAL, *HUB]) == ALL


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_says_what_was_not_checked(name):
    """What could not be reached is marked; the three recorded sets were run in full."""
    text = (RECIPES / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    recorded = name.startswith(("speech_commands_clips", "spoken_digits", "drum_sounds"))
    assert ("# Verified:" in text and "Not verified:" in text) != recorded


@pytest.mark.parametrize(("name", "most"), [("general_small", 2_500_000)])
def test_recipes_of_encoders(name, most, tmp_path):
    """Their arguments are known, and their students as small as they should be."""
    recipe = str(RECIPES / "encoders" / f"{name}.yaml")
    own = ["--pool", "pool", "--bank", "bank", "--output_dir", str(tmp_path)]
    args, training = parse_arguments(distil.GROUPS, [recipe, *own], "asm-distil")
    assert set(args.teachers) == {"mn04", "speech"}
    config = ASMConfig(**args.model, num_labels=527)
    assert sum(parameter.numel() for parameter in ASMForAudioClassification(config).parameters()) <= most
    assert training.max_steps > 0
