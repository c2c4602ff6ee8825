import shutil

import pytest

from modeling_asm import ASMFeatureExtractor
from modeling_asm.training.data.decoding import decode_audio
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.models import ModelArguments, make_model
from modeling_asm.training.teachers.soft_labels import digest_teachers, find_teachers, load_teachers


@pytest.fixture
def clips(tones):
    return decode_audio(load_audio_dataset(DataArguments(str(tones)))["train"], 16000)[0]


def test_teachers_hear_what_the_model_hears(clips, tmp_path):
    model, extractor = make_model(ModelArguments(), clips)
    model.save_pretrained(tmp_path / "teacher")
    extractor.save_pretrained(tmp_path / "teacher")
    (teacher,) = load_teachers([str(tmp_path / "teacher")], model, extractor)
    assert not teacher.training and not any(parameter.requires_grad for parameter in teacher.parameters())
    for seed in ("repeated/seed-1", "repeated/seed-2"):
        shutil.copytree(tmp_path / "teacher", tmp_path / seed)
        (tmp_path / seed / "results.json").write_text("{}")
    (tmp_path / "repeated" / "run.json").write_text('{"seeds": [1, 2]}')
    names = [str(tmp_path / "repeated"), str(tmp_path / "teacher")]
    assert len(load_teachers(names, model, extractor)) == 3  # a teacher for each seed of a repeated run
    other = ASMFeatureExtractor(**{**extractor.to_dict(), "mean": 0.5})
    with pytest.raises(ValueError, match=r"takes other features \(mean: .* the model's 0\.5\)"):
        load_teachers([str(tmp_path / "teacher")], model, other)
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(ValueError, match="trained for 'single_label_classification', these clips for 'multi_label"):
        load_teachers([str(tmp_path / "teacher")], model, extractor)
    model.config.problem_type = "single_label_classification"
    model.config.id2label = {0: "low", 1: "high"}
    with pytest.raises(ValueError, match="has other labels than these clips"):
        load_teachers([str(tmp_path / "teacher")], model, extractor)
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        load_teachers(["./nowhere"], model, extractor)


def test_teachers_of_a_repeated_run(tmp_path):
    """Each of its seeds, under a name that tells which; others of the same names are others."""
    for seed in (1, 2):
        (tmp_path / "cnn" / f"seed-{seed}").mkdir(parents=True)
        (tmp_path / "cnn" / f"seed-{seed}" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "cnn" / "seed-1" / "results.json").write_text("{}")
    (tmp_path / "cnn" / "run.json").write_text('{"seeds": [1, 2]}')
    names = [str(tmp_path / "cnn"), "ann/other-cnn"]
    with pytest.raises(ValueError, match=r"cnn' has not finished seed 2 of \[1, 2\]. Repeat its command"):
        find_teachers(names)
    (tmp_path / "cnn" / "seed-2" / "results.json").write_text("{}")
    assert list(find_teachers(names)) == ["cnn/seed-1", "cnn/seed-2", "ann/other-cnn"]
    before = digest_teachers(names)
    assert before == digest_teachers(names)
    (tmp_path / "cnn" / "seed-2" / "model.safetensors").write_bytes(b"others")
    assert before != digest_teachers(names)
    assert digest_teachers([]) is None
