"""A classifier that is fitted to a frozen encoder, by the same command as any training."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from modeling_asm.audio import load_audio
from modeling_asm.general import find_encoder
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.clips import ClipTransform, ClipWindows, collate_clips
from modeling_asm.training.data.decoding import decode_audio
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.frontend import Frontend
from modeling_asm.training.tuning import (
    choose_tuning,
    clips_per_class,
    describe_tuning,
    draw_some,
    embed_clips,
    freeze_first_layers,
    windows_of,
)


COMMON = ("--use_cpu", "--measure_cost", False, "--disable_tqdm", True)


def test_the_head_is_fitted_and_the_encoder_stays(run, tones, checkpoint, tmp_path):
    arguments = ("--data_dir", tones, "--model_name_or_path", checkpoint, "--tune", "head", *COMMON)
    outcome = run("train", *arguments, "--output_dir", tmp_path / "model")
    assert outcome.error is None
    assert "Fitted a linear classifier to" in outcome.stdout
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path / "model"))
    changed = {name for name, value in before.items() if name not in after or not torch.equal(value, after[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["metrics"]["accuracy"] >= 0.9
    assert (results["training"]["tune"], results["training"]["steps"]) == ("head", 0)
    assert results["training"]["augmentation"] is None
    assert not {"learning_rate", "num_train_epochs"} & set(results["training"])
    assert not list((tmp_path / "model").glob("learning_curves.*"))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "fitted in" in card
    assert "Optimisation" not in card
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "model")
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    inputs = extractor(load_audio(tones / "low" / "00.wav"), sampling_rate=16000, return_tensors="pt")
    assert model.config.id2label[model(**inputs).logits.argmax().item()] == "low"


def test_a_new_model_has_nothing_to_fit_to(run, tones, tmp_path):
    arguments = ("--from", "scratch", "--output_dir", tmp_path / "model", "--tune", "head", *COMMON)
    error = run("train", tones, *arguments).error
    assert error == "asm-train: --tune head needs a trained encoder, not the random weights of a new model."


def test_few_recordings_of_two_kinds(run, tones, tmp_path):
    """One command: the general encoder, and a head that is fitted to all clips."""
    for file in [*tones.glob("*/*.wav")]:
        if int(file.stem) >= 5:
            file.unlink()
    outcome = run("train", tones, "--output_dir", tmp_path / "model", *COMMON)
    assert outcome.error is None
    assert (
        "Starting from asm-small-general. With 5 clips a class, its classifier is fitted (--tune head)."
        in outcome.stdout
    )
    assert "10 clips to train on, 10 that are reported (cross-validation). Each of these is scored" in outcome.stdout
    assert "copies" not in outcome.stdout
    assert "LOAD REPORT" not in outcome.stdout
    assert "10 clips of tones, cross-validation" in outcome.stdout
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["metrics"]["accuracy"] == 1.0
    assert results["metrics"]["accuracy_low"] == pytest.approx(0.7225, abs=1e-4)  # Wilson's: 10 / (10 + 1.96^2)
    assert results["data"]["clips"] == {"train": 10, "test": 10}
    card = (tmp_path / "model" / "README.md").read_text()
    assert "the published one is fitted to all of them" in card and "learning_curves" not in card
    assert results["training"]["tune"] == "head"
    assert results["model"]["fine_tuned_from"] == "asm-small-general"
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    assert model.config.max_length == 400
    assert model.config.window_aggregation == "logits"
    heard = run("classify", tones / "low" / "00.wav", "--model", tmp_path / "model").stdout
    assert "low" in heard


@pytest.mark.parametrize(("number", "tuning"), [(2, "head"), (38, "head"), (40, "all")], ids=str)
def test_the_number_of_clips_decides(make_arguments, clips, number, tuning):
    """For two classes: 20 of each."""
    many = clips.select([row % 40 for row in range(number)])
    args = make_arguments(model={"model_name_or_path": "general"})
    assert choose_tuning(args, many) == tuning
    assert describe_tuning(args, tuning, many).endswith(f"(--tune {tuning}).")


@pytest.mark.parametrize(
    "options",
    [
        {"num_train_epochs": 3},
        {"max_steps": 3},
        {"average_last": 2},
        {"early_stopping_patience": 2},
        {"weight_decay": 0.2},
        {"label_smoothing_factor": 0.0},
        {"per_device_train_batch_size": 4},
        {"gradient_accumulation_steps": 2},
        {"adam_beta2": 0.9},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_gradient_steps_ask_for_them(make_arguments, clips, options):
    """They would have no effect on a fitted classifier."""
    few, name = clips.select(range(8)), next(iter(options))
    args = make_arguments(model={"model_name_or_path": "general"}, **options)
    assert choose_tuning(args, few) == "last"
    assert describe_tuning(args, "last", few) == (
        "Starting from asm-small-general. With 4 clips a class, its last 2 layers are trained because of "
        f"--{name} (--tune last)."
    )
    args = make_arguments(model={"tune": "head"}, **options)
    with pytest.raises(ValueError, match=rf"--{name} would have no effect: --tune head fits a classifier"):
        choose_tuning(args, clips)


def test_one_clip_of_each_class_and_clips_to_test_on(run, tones, checkpoint, tmp_path):
    """A fitted classifier needs no `dev`, which would leave nothing to train on."""
    for name in ("high", "low"):
        for number in range(5):
            target = tmp_path / "data" / ("test" if number else "train") / name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(tones / name / f"{number:02d}.wav", target)
    arguments = ("--data_dir", tmp_path / "data", "--from", checkpoint, "--use_cpu", "--measure_cost", "false")
    outcome = run("train", *arguments, "--tune", "head", "--output_dir", tmp_path / "model")
    assert outcome.error is None
    clips = json.loads((tmp_path / "model" / "results.json").read_text())["data"]["clips"]
    assert clips == {"train": 2, "test": 8}
    outcome = run("train", *arguments, "--tune", "all", "--output_dir", tmp_path / "other")
    assert "Splitting off 10% of 2 clips leaves nothing of some class to train on" in outcome.error


def test_a_clip_with_several_labels_counts_for_each():
    labels = List(ClassLabel(names=list("abcd")))
    rows = [{"label": [0, 1, 2]}, {"label": [1]}, {"label": []}, {"label": [0, 3]}]
    assert clips_per_class(Dataset.from_list(rows, features=Features({"label": labels}))) == 1.5
    numbers = Dataset.from_list([{"label": 0.5}] * 6, features=Features({"label": Value("float32")}))
    assert clips_per_class(numbers) == 3


def test_some_clips_have_a_clip_of_each_class():
    labels = [0] * 500 + [1] * 500 + [2]
    for seed in range(5):
        drawn = draw_some(labels, 50, seed)
        assert len(set(drawn.tolist())) == 50
        assert {labels[place] for place in drawn} == {0, 1, 2}
    assert set(draw_some([[0, 1], [0], [2], [0]], 2, 0).tolist()) > {2}  # and one that has 0


def test_some_numbers_are_drawn_at_random():
    numbers = np.random.default_rng(0).uniform(0, 100, 10000).tolist()
    drawn = draw_some(numbers, 4000, 0)
    assert len(set(drawn.tolist())) == 4000
    assert np.mean([numbers[place] for place in drawn]) == pytest.approx(50, abs=1.5)


def test_options_of_augmentation_and_splits_do_too(make_arguments, clips):
    args = make_arguments(model={"model_name_or_path": "general"})
    args.augmentation = Augmentation(mixup=0.5)
    assert choose_tuning(args, clips.select(range(8))) == "last"
    args = make_arguments(model={"model_name_or_path": "general"}, split={"dev_fraction": 0.2})
    assert choose_tuning(args, clips.select(range(8))) == "last"


def test_a_described_model_is_new_and_says_so(make_arguments, clips):
    args = make_arguments(model={"padding": "zero"})
    assert choose_tuning(args, clips) == "all"
    assert describe_tuning(args, "all", clips) == "Starting from random weights: --padding describes a new model."


def test_what_was_chosen_is_not_changed(make_arguments, clips):
    for model, tuning in (
        ({"tune": "last"}, "last"),
        ({"model_name_or_path": "scratch"}, "all"),
        ({"model_name_or_path": "ann/tones"}, "all"),
        ({"model_name_or_path": "ann/tones", "tune": "head"}, "head"),
        ({"freeze_encoder": True}, "all"),
    ):
        args = make_arguments(model=model)
        assert choose_tuning(args, clips) == tuning
        assert describe_tuning(args, tuning, clips) is None
    general, stream = make_arguments(model={"tune": "auto"}), clips.to_iterable_dataset()
    assert choose_tuning(make_arguments(model={"tune": "auto"}, teachers=["a"]), clips) == "all"
    assert choose_tuning(general, stream) == "all"
    assert describe_tuning(general, "all", stream) == (
        "Starting from asm-small-general. From a stream, all of it is trained (--tune all)."
    )
    with pytest.raises(ValueError, match=r"--tune head reads all clips at once, which a stream does not have"):
        choose_tuning(make_arguments(model={"tune": "head"}), stream)


def test_the_last_layers_learn(run, tones, tmp_path):
    arguments = ("--tune", "last", "--num_train_epochs", 1, "--per_device_train_batch_size", 4)
    arguments += ("--output_dir", tmp_path / "model", *COMMON)
    assert run("train", tones, *arguments).error is None
    before, after = (load_file(f"{folder}/model.safetensors") for folder in (find_encoder(), tmp_path / "model"))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    depth = AutoConfig.from_pretrained(find_encoder()).num_hidden_layers
    parts = ("classifier", "pooling", "mixer.layernorm", f"layers.{depth - 2}.", f"layers.{depth - 1}.")
    assert changed == {name for name in before if any(part in name for part in parts)}


def test_the_kept_weights_lie_between_start_and_end(run, tones, tmp_path):
    arguments = ("--tune", "last", "--num_train_epochs", 1, "--per_device_train_batch_size", 4, *COMMON)
    assert run("train", tones, *arguments, "--output_dir", tmp_path / "half").error is None
    assert run("train", tones, *arguments, "--start_share", 0, "--output_dir", tmp_path / "end").error is None
    folders = (find_encoder(), tmp_path / "end", tmp_path / "half")
    start, end, half = (load_file(f"{folder}/model.safetensors") for folder in folders)
    for name in (name for name, value in start.items() if value.ndim and "classifier" not in name):
        torch.testing.assert_close(half[name], (start[name] + end[name]) / 2)
    training = json.loads((tmp_path / "half" / "results.json").read_text())["training"]
    assert training["start_share"] == 0.5
    assert training["kept"].endswith("50% of the start")


def test_whole_clips_are_scored(run, tones, checkpoint, tmp_path):
    """Not their first windows alone: here low or high begins after the first window, of .17 s."""
    for file in tones.glob("*/*.wav"):
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        soundfile.write(file, np.pad(samples, ((3200, 0), (0, 0))), rate)
    arguments = ("--model_name_or_path", checkpoint, "--tune", "head", *COMMON, "--output_dir", tmp_path / "model")
    outcome = run("train", tones, *arguments)
    assert outcome.error is None
    assert "their start is scored" not in outcome.stdout
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["metrics"]["accuracy"] >= 0.9
    arguments = ("--evaluate_only", "--from", tmp_path / "model", *COMMON, "--output_dir", tmp_path / "again")
    assert run("train", tones, *arguments).error is None  # now on all clips
    assert json.loads((tmp_path / "again" / "results.json").read_text())["metrics"]["accuracy"] >= 0.9


def test_a_head_that_cannot_be_fitted_is_no_obstacle_to_gradient_steps(run, tones, tmp_path):
    """All recordings are silent: a fitted head would be an error."""
    for number, file in enumerate(sorted(tones.glob("*/*.wav"))):
        soundfile.write(file, np.zeros(3200 + 16 * number), 16000)  # no copies
    arguments = ("--tune", "last", "--num_train_epochs", 1, *COMMON, "--output_dir", tmp_path / "model")
    outcome = run("train", tones, *arguments)
    assert outcome.error is None
    assert json.loads((tmp_path / "model" / "results.json").read_text())["training"]["start_share"] == 0
    assert (
        "The classifier starts from random weights, so --start_share is 0. All training clips sound the same"
        in outcome.stdout
    )


def test_layers_without_numbers_have_no_last_ones():
    with pytest.raises(ValueError, match=r"--tune last needs more than 2 numbered layers, Linear has 0."):
        freeze_first_layers(torch.nn.Linear(2, 2))


def test_a_long_clip_is_heard_to_its_end(checkpoint, clips):
    """Clips of .2 s in windows of .12 s: two, the last one at the end, and their mean is the clip's."""
    model = AutoModelForAudioClassification.from_pretrained(checkpoint).eval()
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    frontend = Frontend(extractor, 1.0)
    windows = ClipWindows(clips, ClipTransform(frontend, clips.features))
    samples, length = frontend.window_samples, 3200
    assert len(windows) == 2 * len(clips)
    embeddings, labels = embed_clips(model, DataLoader(windows, 7, collate_fn=collate_clips))
    assert labels.tolist() == clips["label"][:]
    clip = torch.tensor(clips[3]["waveform"])
    parts = extractor([clip[:samples], clip[length - samples :]], sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = model.base_model(parts.input_values).pooler_output.double().mean(0)
    torch.testing.assert_close(torch.from_numpy(embeddings[3]), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("seconds", [0.05, 0.12, 0.125, 0.2])
def test_a_clip_has_the_windows_of_the_model(checkpoint, tmp_path, seconds):
    """Whatever its length: the classifier gives the mean embedding what the model says of the whole clip."""
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, round(16000 * seconds))
    for name in ("noise", "softer noise"):
        (tmp_path / "data" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / name / "a.wav", noise / len(name), 16000)
    dataset = load_audio_dataset(DataArguments(str(tmp_path / "data")))["train"]
    clips = decode_audio(dataset, 16000)[0]
    model = AutoModelForAudioClassification.from_pretrained(checkpoint, window_aggregation="logits").eval()
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    windows = windows_of(model, clips, ClipTransform(Frontend(extractor, 1.0), clips.features))
    embeddings, _ = embed_clips(model, DataLoader(windows, 7, collate_fn=collate_clips))
    with torch.no_grad():
        expected = model(**extractor(clips[0]["waveform"], sampling_rate=16000, return_tensors="pt")).logits
        given = model.classifier(torch.from_numpy(embeddings[:1]).float())
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-4)


def test_a_classifier_of_several_layers(run, tones, ast, tmp_path):
    arguments = ("--data_dir", tones, "--model_name_or_path", ast, "--tune", "head", *COMMON)
    error = run("train", *arguments, "--output_dir", tmp_path / "model").error
    assert "--tune head fits a classifier of one linear layer, but ASTForAudioClassification has ASTMLPHead" in error


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_fit_the_same_head(launch, run, tones, checkpoint, tmp_path):
    arguments = ("--data_dir", tones, "--model_name_or_path", checkpoint, "--tune", "head", *COMMON)
    arguments += ("--per_device_eval_batch_size", 4)  # several batches for each process
    assert run("train", *arguments, "--output_dir", tmp_path / "one").error is None
    assert launch("train", *arguments, "--output_dir", tmp_path / "two").returncode == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    torch.testing.assert_close(one["classifier.weight"], two["classifier.weight"], atol=1e-5, rtol=1e-4)


def test_no_share_of_a_random_classifier_is_kept(run, tones, checkpoint, tmp_path):
    config = checkpoint / "config.json"
    config.write_text(config.read_text().replace('"low"', '"lower"'))
    for start in (("--from", "scratch"), ("--from", checkpoint)):
        arguments = (tones, *start, "--start_share", 0.3, *COMMON, "--output_dir", tmp_path / "model")
        error = run("train", *arguments).error
        assert error == "asm-train: --start_share 0.3 would keep a share of a classifier with random weights. Omit it."


def test_an_option_that_is_given_its_default_is_given(run, tones, tmp_path):
    for label in ("low", "high"):
        (tones / label / "00.wav").unlink()  # with 19, the classifier would be fitted
    outcome = run("train", tones, "--mixup", 0.2, "--num_train_epochs", 1, "--output_dir", tmp_path / "a", *COMMON)
    assert "its last 2 layers are trained because of --num_train_epochs (--tune last)." in outcome.stdout
    outcome = run("train", tones, "--mixup", 0.2, "--tune", "head", "--output_dir", tmp_path / "b", *COMMON)
    assert "--mixup would have no effect: --tune head fits a classifier" in outcome.error
