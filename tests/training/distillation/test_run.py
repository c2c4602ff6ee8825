"""Whole distillations of tiny students on generated audio, with a tiny classifier of transformers as the teacher."""

import json
import shutil
import time
from functools import partial

import numpy as np
import pytest
import torch
from hub import TOKEN
from processes import Python, run_python
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from modeling_asm import ASMConfig, ASMFeatureExtractor, ASMForAudioClassification, ASMForPreTraining
from modeling_asm.training.distillation import bank, encoder, run
from modeling_asm.training.distillation.arguments import DistillationArguments, DistillationTrainingArguments
from modeling_asm.training.distillation.pool import AudioPool, Recording
from modeling_asm.training.distillation.run import run_distillation, split_by_source
from modeling_asm.training.report.publishing import PublishingError
from modeling_asm.training.run_folder import CheckpointError
from modeling_asm.training.teachers.downloads import digest_file
from modeling_asm.training.teachers.targets import Target, Teacher


LOUD = Teacher("loud", "0", 16000, (Target("loud.level", 1),), lambda sounds: (np.abs(sounds).mean(1, keepdims=True),))
STUDENT = {"hidden_size": 16, "num_hidden_layers": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 32, "patch_size": [8, 4],
           "frequency_stride": 8, "time_stride": 4, "max_length": 48, "num_mel_bins": 24, "token_mixing": "conv",
           "pooling": "mean_std"}  # fmt: skip


@pytest.fixture
def teacher_folder(tmp_path):
    """A checkpoint with a window of .5 s, which is the mixtures'."""
    torch.manual_seed(0)
    config = ASMConfig(**STUDENT, id2label={0: "a dog", 1: "a cat"}, label2id={"a dog": 0, "a cat": 1})
    config.problem_type = "multi_label_classification"
    ASMForAudioClassification(config).save_pretrained(tmp_path / "teacher")
    ASMFeatureExtractor(num_mel_bins=24, max_length=48).save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture
def distil(pool_folder, teacher_folder, tmp_path, monkeypatch):
    """Return a function that runs a distillation with some arguments."""
    monkeypatch.setattr(bank, "MIXTURES_PER_SHARD", 32)
    monkeypatch.setattr(encoder, "MIXTURES_PER_SHARD", 32)

    def call(folder="student", training=None, **changes) -> dict:
        teachers = {"tiny": {"type": "classifier", "checkpoint": str(teacher_folder)}}
        options = {"pool": str(pool_folder), "bank": str(tmp_path / "bank"), "model": json.dumps(STUDENT)}
        options |= {
            "teachers": json.dumps(teachers),
            "mixtures": "{all: {number: 64}}",
            "num_validation": 32,
            "num_processes": 1,
        }
        options |= {"validation_share": 0.3, **changes}
        training = {"max_steps": 12, "per_device_train_batch_size": 16, "use_cpu": True, "disable_tqdm": True,
                    "warmup_steps": 2, "save_steps": 4, **(training or {})}  # fmt: skip
        arguments = DistillationTrainingArguments(output_dir=str(tmp_path / folder), **training)
        return run_distillation(DistillationArguments(**options), arguments)

    # the processes that fill a bank would import the real size of a shard
    monkeypatch.setattr(run, "fill_bank", fill_in_this_process)
    return call


def fill_in_this_process(folder, num_shards, seed, make_maker, make_labels, num_processes):
    return [
        bank.shard_path(folder, bank.write_shard(number, folder, seed, make_maker, make_labels))
        for number in range(num_shards)
    ]


@pytest.mark.slow
def test_a_student_learns_and_is_an_ordinary_checkpoint(distil, tmp_path, teacher_folder):
    results = distil(average_decay=0.9, training={"max_steps": 150, "learning_rate": 1e-2})
    assert results["metrics"]["tiny.logits"] < 0.75  # 1 is the mean's
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "student")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "student")
    assert model.config.id2label == {0: "a dog", 1: "a cat"}
    assert model.config.problem_type == "multi_label_classification"
    teacher = AutoModelForAudioClassification.from_pretrained(teacher_folder)
    own = AutoFeatureExtractor.from_pretrained(teacher_folder)
    time = np.arange(8000) / 16000
    sounds = [0.2 * np.sin(2 * np.pi * f * time).astype(np.float32) for f in (150, 400, 1000, 2500)]
    with torch.no_grad():
        given, wanted = (
            network(front(sounds, sampling_rate=16000, return_tensors="pt").input_values).logits
            for network, front in ((model, extractor), (teacher, own))
        )
    spread = (wanted - wanted.mean(0)).abs().mean()
    assert (given - wanted).abs().mean() < 5 * spread  # the logits themselves, not standardised ones


def test_a_run_goes_on_from_its_checkpoint(distil, tmp_path):
    """What was trained in two parts is what was trained at once, with its augmentation."""
    whole = distil("whole")
    arguments = {"max_steps": 12}
    original = run.DistillationTrainer.train

    def stop(self, *args, **kwargs):
        if self.state.global_step == 0 and not kwargs.get("resume_from_checkpoint"):
            from transformers import TrainerCallback

            class Stop(TrainerCallback):
                def on_step_end(self, args, state, control, **kwargs):
                    if state.global_step == 9:
                        raise KeyboardInterrupt

            self.add_callback(Stop())
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.DistillationTrainer, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            distil("parts", training=arguments)
    assert (tmp_path / "parts" / "checkpoint-8").is_dir()
    parts = distil("parts", training=arguments)
    assert json.loads((tmp_path / "parts" / "log.json").read_text())["log"]
    for name in ("loss", "tiny.logits", "tiny.embeddings", "tiny.embeddings_mean"):
        assert np.isfinite(parts["metrics"][name])
        assert parts["metrics"][name] == pytest.approx(whole["metrics"][name], rel=1e-3)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-4)


def test_a_finished_run_is_not_repeated(distil, capsys):
    first = distil()
    again = distil()
    assert "is finished: nothing is trained again" in capsys.readouterr().out
    assert again["metrics"] == first["metrics"]


def test_a_bank_of_another_front_end(distil):
    distil()
    with pytest.raises(ValueError, match=r"was made with other front end: .*Use another folder, or delete it"):
        distil("other", model=json.dumps({**STUDENT, "max_length": 32}))


def test_a_bank_of_another_pool(distil, pool_folder, tmp_path):
    distil()
    shutil.copytree(pool_folder, tmp_path / "pool")
    lines = (tmp_path / "pool" / "recordings.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "pool" / "recordings.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(ValueError, match="was made with other pool"):
        distil("other", pool=str(tmp_path / "pool"))


def test_another_seed_learns_from_the_same_bank(distil):
    first, second = distil(), distil("second", training={"seed": 1})
    assert first["metrics"] != second["metrics"]
    with pytest.raises(ValueError, match="was made with other bank seed"):
        distil("third", bank_seed=1)


def test_the_parts_of_a_bank_may_come_in_any_order(distil, tmp_path):
    """Each has mixtures of its own, and is known by its name."""
    both = {"one": {"number": 32}, "two": {"number": 32}}
    distil(mixtures=json.dumps(both))
    files = sorted((tmp_path / "bank").rglob("*.safetensors"))
    written = {path: (path.stat().st_mtime_ns, digest_file(path)) for path in files}
    assert len({digest for _, digest in written.values()}) == 4
    distil("turned", mixtures=json.dumps(dict(reversed(both.items()))))
    distil("alone", mixtures=json.dumps({"two": both["two"]}))
    assert {path: (path.stat().st_mtime_ns, digest_file(path)) for path in files} == written


def test_a_run_whose_last_step_is_saved_learns_no_more(distil, tmp_path, monkeypatch):
    """As after a full disk in its last minute."""

    def fail(*args):
        raise CheckpointError("full")

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_encoder", fail)
        with pytest.raises(CheckpointError, match="full"):
            distil(training={"max_steps": 10})  # in the middle of an epoch of four steps
    distil(training={"max_steps": 10})
    assert [path.name for path in (tmp_path / "student").glob("checkpoint-*")] == ["checkpoint-10"]
    once = distil("once", training={"max_steps": 10})
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("student", "once"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-4)
    assert once["training"]["max_steps"] == 10


def test_a_finished_encoder_is_published(distil, hub, tmp_path, capsys):
    """When it is finished, or later; without checkpoints, whose optimizer is a pickle."""
    options = {"push_to_hub": True, "hub_model_id": "ann/encoder", "hub_token": TOKEN}
    distil()
    assert not hub.repositories
    distil(training=options, licence="cc0-1.0")
    assert "Published: ann/encoder\n" in capsys.readouterr().out
    files = hub.files("ann/encoder")
    assert files["model.safetensors"] == (tmp_path / "student" / "model.safetensors").read_bytes()
    assert {"README.md", "LICENSE", "corpus.csv", "config.json", "preprocessor_config.json"} <= set(files)
    assert not [name for name in files if "checkpoint" in name or name.endswith((".bin", ".pt"))]
    card = files["README.md"].decode()
    assert '"ann/encoder"' in card and "license: cc0-1.0" in card
    with pytest.raises(PublishingError):
        distil("refused", training={**options, "hub_token": "hf_wrong"})
    assert not list((tmp_path / "refused").glob("*"))  # nothing was trained in vain


def test_the_bank_has_energies_and_the_encoder_their_mean_and_deviation(distil, tmp_path):
    """So that decibels of the augmentation are decibels, and the encoder hears what the student heard."""
    distil()
    shards = sorted((tmp_path / "bank" / "all" / "train").glob("*.safetensors"))
    features = torch.cat([load_file(shard)["features"].float() for shard in shards])
    assert features.min() < -10  # log-mel energies, not normalised ones
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "student")
    assert extractor.do_normalize
    assert extractor.mean == pytest.approx(features.mean().item(), abs=1e-3)
    assert extractor.std == pytest.approx(features.std().item(), rel=1e-3)


def test_a_start_is_another_students_weights(distil, tmp_path):
    distil()
    started = distil("started", start=str(tmp_path / "student"), training={"max_steps": 1, "learning_rate": 0.0})
    assert started["metrics"]["loss"] > 0
    (stage,) = started["stages"]
    assert (stage["name"], stage["mixtures"], stage["max_steps"]) == ("student", 64, 12)
    assert stage["sha256"] == digest_file(tmp_path / "student" / "model.safetensors")
    third = distil("third", start=str(tmp_path / "started"), training={"max_steps": 1, "learning_rate": 0.0})
    assert [stage["name"] for stage in third["stages"]] == ["student", "started"]
    card = (tmp_path / "third" / "README.md").read_text()
    assert "- 12 steps with batches of 16 from 64 mixtures, learning rate" in card
    first, second = (
        AutoModelForAudioClassification.from_pretrained(tmp_path / name) for name in ("student", "started")
    )
    own = dict(second.audio_spectrogram_mixer.named_parameters())
    for name, value in first.audio_spectrogram_mixer.named_parameters():
        torch.testing.assert_close(own[name], value, atol=1e-6, rtol=0)


def test_a_start_of_the_same_labels_keeps_its_classifier(distil, tmp_path):
    """Without a step, its loss is that of the first run."""
    first = distil(average_decay=0.0, training={"max_steps": 60, "learning_rate": 1e-2})
    again = distil("again", start=str(tmp_path / "student"), training={"max_steps": 1, "learning_rate": 0.0})
    assert again["metrics"]["tiny.labels"] == pytest.approx(first["metrics"]["tiny.labels"], rel=1e-3)


def test_an_embedding_that_the_start_does_not_have(distil, tmp_path):
    """It starts as components of what the start pools, and is white in the end; the encoder before it stays."""
    distil()
    model = json.dumps({**STUDENT, "embedding_dim": 3})
    training = {"max_steps": 1, "learning_rate": 0.0}
    results = distil("embedding", start=str(tmp_path / "student"), model=model, training=training)
    assert results["model"]["config"]["embedding_dim"] == 3
    first, second = (
        AutoModelForAudioClassification.from_pretrained(tmp_path / name).eval() for name in ("student", "embedding")
    )
    mixtures = torch.randn(64, 48, 24)
    pooling = second.base_model.pooling
    embeddings = second.base_model(mixtures).pooler_output
    assert embeddings.shape == (64, 3)
    pooling.embedding = None
    torch.testing.assert_close(second.base_model(mixtures).pooler_output, first.base_model(mixtures).pooler_output)
    again = distil("again", start=str(tmp_path / "embedding"), model=model, training=training)
    assert again["metrics"]["tiny.labels"] == pytest.approx(results["metrics"]["tiny.labels"], rel=0.5)


def test_a_start_of_another_shape(distil, tmp_path):
    distil()
    with pytest.raises(ValueError, match=r"The weights of --start .* do not fit --model, for example 'audio_spectro"):
        distil("other", start=str(tmp_path / "student"), model=json.dumps({**STUDENT, "hidden_size": 24}))


def test_names_that_mean_nothing(distil, teacher_folder):
    teachers = {"tiny": {"type": "classifier", "checkpoint": str(teacher_folder), "loss_weights": {"logit": 2.0}}}
    with pytest.raises(ValueError, match=r"has a loss weight for 'tiny.logit', expected some of: tiny.logits, tiny.em"):
        distil(teachers=json.dumps(teachers))
    with pytest.raises(ValueError, match=r"has a weight for the kind 'efects', but the pool has: \['"):
        distil("other", mixtures="{all: {number: 64, kind_weights: {efects: 2}}}")


def test_a_part_with_nothing_for_the_validation(distil, pool_folder, tmp_path):
    recordings = AudioPool(pool_folder).recordings
    kinds = [{row.kind for row in part} for part in split_by_source(recordings, 0.3, 0)]
    missing = min(kinds[0] - kinds[1])
    weights = dict.fromkeys(kinds[1], 0) | {missing: 1}
    mixtures = json.dumps({"some": {"number": 64, "kind_weights": weights}})
    with pytest.raises(ValueError, match="--mixtures some leaves nothing of the audio for validation, whose kinds are"):
        distil(mixtures=mixtures)
    assert not (tmp_path / "bank").exists()


def test_a_start_that_was_pretrained_without_a_teacher(distil, tmp_path):
    """Its decoder and its learned token are not the encoder's."""
    torch.manual_seed(1)
    start = ASMForPreTraining(ASMConfig(**STUDENT))
    start.to(torch.bfloat16).save_pretrained(tmp_path / "masked")
    results = distil(start=str(tmp_path / "masked"), training={"max_steps": 1, "learning_rate": 0.0})
    assert [stage["name"] for stage in results["stages"]] == ["masked"]
    assert "- `masked`: SHA-256 `" in (tmp_path / "student" / "README.md").read_text()
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "student")
    assert model.dtype == torch.float32
    own, started = (part.audio_spectrogram_mixer.state_dict() for part in (start, model))
    for name, value in own.items():
        torch.testing.assert_close(started[name], value.float(), atol=1e-6, rtol=0)


def test_mistakes_are_found_before_the_bank_is_filled(distil, teacher_folder, tones, tmp_path):
    teacher = {"type": "classifier", "checkpoint": str(teacher_folder)}
    for changes, message in (
        ({"start": str(tmp_path / "nowhere")}, "There is no checkpoint"),
        ({"probe_dirs": [str(tones)], "probe_steps": 2}, "has neither a column 'fold' nor a second split"),
        ({"teachers": json.dumps({"a": teacher, "b": {**teacher, "loss_weights": {"labels": 2}}})},
         "a loss weight for 'b.labels', but the classifier learns 'a.labels'. Set one of them to 0."),
    ):  # fmt: skip
        with pytest.raises((ValueError, OSError), match=message):
            distil(**changes)
    assert not (tmp_path / "bank").exists()


def test_paths_do_not_decide_but_files_do(distil, teacher_folder, tmp_path, capsys):
    distil()
    shutil.copytree(teacher_folder, tmp_path / "moved" / "teacher")
    moved = {"type": "classifier", "checkpoint": str(tmp_path / "moved" / "teacher")}
    distil(teachers=json.dumps({"tiny": moved}))
    assert "is finished: nothing is trained again" in capsys.readouterr().out
    torch.manual_seed(5)
    ASMForAudioClassification(ASMConfig.from_pretrained(teacher_folder)).save_pretrained(tmp_path / "moved" / "teacher")
    run.make_labellers.cache_clear()
    with pytest.raises(ValueError, match="holds a run with other settings"):
        distil(teachers=json.dumps({"tiny": moved}))


def test_other_settings_are_another_run(distil):
    distil()
    with pytest.raises(ValueError, match=r"holds a run with other settings \(warmup_steps 2"):
        distil(training={"warmup_steps": 3})


def test_no_teacher_with_labels(distil, monkeypatch):
    extractor, teachers = ASMFeatureExtractor(num_mel_bins=24, max_length=48), [LOUD]
    monkeypatch.setattr(run, "make_labellers", lambda *settings: (extractor, teachers))
    with pytest.raises(ValueError, match=r"The classifier has nothing to learn: no teacher whose `labels` have"):
        distil(teachers="{loud: {type: classifier}}")


@pytest.mark.slow
@pytest.mark.long
def test_processes_fill_the_bank_that_one_process_fills(pool_folder, teacher_folder, tmp_path):
    make_maker = partial(run.make_maker, str(pool_folder), json.dumps({"seconds": 0.495}), 0.3, 0, False)
    teachers = json.dumps({"tiny": {"type": "classifier", "checkpoint": str(teacher_folder)}})
    make_labels = partial(run.make_labellers, json.dumps({"num_mel_bins": 24, "max_length": 48}), teachers)
    for processes, name in ((2, "two"), (1, "one")):
        (tmp_path / name).mkdir()
        paths = bank.fill_bank(tmp_path / name, 2, 0, make_maker, make_labels, processes)
        assert [path.name for path in paths] == ["00000.safetensors", "00001.safetensors"]
    for path in paths:
        for tensor, other in zip(
            load_file(path).values(), load_file(tmp_path / "two" / path.name).values(), strict=True
        ):
            assert torch.equal(tensor, other)


def recording(source: str, seconds: float) -> Recording:
    return Recording(f"{source}/x", source, "", "CC0", "speech", "", 0, round(32000 * seconds))


def test_sources_are_learned_from_or_validate_never_both():
    recordings = [recording(f"source {number}", 10) for number in range(40) for _ in range(3)]
    train, validation = split_by_source(recordings, 0.1, 0)
    assert {row.source for row in train}.isdisjoint(row.source for row in validation)
    assert len(train) + len(validation) == 120
    assert 12 <= len(validation) <= 18


def test_too_few_sources_for_a_validation():
    with pytest.raises(ValueError, match=r"0.01 hours of 2 sources: none is small enough to validate with 5%"):
        split_by_source([recording("a", 10), recording("b", 10)], 0.05, 0)


def test_too_little_for_a_validation_is_found_before_anything_is_made(distil, tmp_path):
    with pytest.raises(ValueError, match=r"none is small enough to validate with 1% of the audio\. Add sources, or"):
        distil(validation_share=0.01)
    assert not (tmp_path / "student").exists()
    assert not (tmp_path / "bank").exists()


@pytest.fixture
def arguments(pool_folder, teacher_folder, tmp_path):
    """Return the arguments of a command that distils into a folder, from a bank of three shards."""

    def call(folder) -> list:
        teachers = {"tiny": {"type": "classifier", "checkpoint": str(teacher_folder)}}
        options = {"pool": pool_folder, "bank": tmp_path / "bank", "model": json.dumps(STUDENT), "max_steps": 8,
                   "teachers": json.dumps(teachers), "mixtures": "{all: {number: 1000}}", "num_validation": 32,
                   "num_processes": 2, "validation_share": 0.3, "per_device_train_batch_size": 16, "warmup_steps": 2,
                   "output_dir": tmp_path / folder}  # fmt: skip
        return ["--use_cpu", *(word for name, value in options.items() for word in (f"--{name}", value))]

    return call


@pytest.mark.slow
@pytest.mark.long
def test_a_kill_while_the_bank_is_filled(arguments, tmp_path):
    """The bank of the same command again is that of an undisturbed run."""
    shards, command = tmp_path / "bank" / "all" / "train", ["-m", "modeling_asm.commands.distil", *arguments("student")]
    process, start = Python(*command), time.monotonic()
    while not list(shards.glob("[0-9]*")) and process.returncode is None and time.monotonic() - start < 200:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "student" / "model.safetensors").exists()
    assert 1 <= len(list(shards.glob("[0-9]*"))) <= 2
    time.sleep(5)  # the processes that filled it end without the one that started them
    run_python(*command)
    killed = {path.name: path.read_bytes() for path in shards.glob("[0-9]*")}
    shutil.rmtree(tmp_path / "bank")
    run_python("-m", "modeling_asm.commands.distil", *arguments("whole"))
    assert killed == {path.name: path.read_bytes() for path in shards.glob("[0-9]*")}
    assert (tmp_path / "student" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.long
def test_two_processes(arguments, launch, tmp_path):
    """One fills the bank while the other waits; both train, and one writes."""
    done = launch("distil", *arguments("student"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Validation losses: ") == 1
    results = json.loads((tmp_path / "student" / "results.json").read_text())
    assert results["training"]["world_size"] == 2
    assert "8 steps with batches of 32 from 1,024 mixtures" in (tmp_path / "student" / "README.md").read_text()
