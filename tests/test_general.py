import pytest
from transformers import AutoConfig

from modeling_asm.general import DEFAULT_ENCODER, find_encoder, is_encoder, resolve_checkpoint


def test_the_encoder_that_comes_with_the_package():
    config = AutoConfig.from_pretrained(find_encoder())
    assert config.num_labels == 527  # AudioSet's
    assert config.id2label[0] == "Speech"
    assert config.problem_type == "multi_label_classification"


def test_an_encoder_that_is_not_there():
    with pytest.raises(
        FileNotFoundError,
        match=r"There is no general encoder 'huge' in .*, only \['asm-mini-general', 'asm-small-general'",
    ):
        find_encoder("huge")


def test_a_link_that_windows_made_a_file(tmp_path, monkeypatch):
    (tmp_path / DEFAULT_ENCODER).write_text("../../../checkpoints/asm-small-general")
    monkeypatch.setattr("modeling_asm.general.ENCODERS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"a clone on Windows needs `git config core\.symlinks true`"):
        find_encoder()


def test_a_name_of_the_package_is_its_folder_unless_there_is_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_checkpoint(DEFAULT_ENCODER) == find_encoder()
    for name in ("ann/tones", "my-model", ".", "..", "", "./asm-small-general", "/asm-small-general"):
        assert resolve_checkpoint(name) == name
    (tmp_path / DEFAULT_ENCODER).mkdir()
    assert resolve_checkpoint(DEFAULT_ENCODER) == DEFAULT_ENCODER


def test_an_encoder_by_its_name_or_its_folder(repository, checkpoint):
    assert is_encoder(DEFAULT_ENCODER)
    assert is_encoder(find_encoder())
    assert is_encoder(str(repository / "checkpoints" / DEFAULT_ENCODER))
    assert not is_encoder(str(checkpoint))
    assert not is_encoder("ann/tones")


def test_an_encoder_of_ones_own_and_a_model_fine_tuned_from_one(checkpoint):
    (checkpoint / "results.json").write_text('{"teachers": [], "training": {}}')  # as asm-distil writes it
    assert is_encoder(str(checkpoint))
    (checkpoint / "results.json").write_text('{"training": {"teachers": ["a"]}}')
    assert not is_encoder(str(checkpoint))
