import json
import os
import time
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from modeling_asm import ASMFeatureExtractor
from modeling_asm.training.distillation import bank
from modeling_asm.training.distillation.bank import (
    describe_bank,
    fill_bank,
    is_whole,
    label_batch,
    open_folder,
    write_shard,
)
from modeling_asm.training.distillation.mixtures import MixtureMaker, MixtureSettings
from modeling_asm.training.run_folder import UNFINISHED, CheckpointError


@pytest.fixture
def extractor() -> ASMFeatureExtractor:
    return ASMFeatureExtractor(num_mel_bins=24, max_length=48, do_normalize=False)


@pytest.fixture
def shard(pool, extractor, teacher, tmp_path, monkeypatch):
    """Return a function that writes a shard of 16 mixtures, and counts the mixtures."""
    monkeypatch.setattr(bank, "MIXTURES_PER_SHARD", 16)
    maker, made = MixtureMaker(pool, pool.recordings, MixtureSettings(seconds=0.5)), []

    def count(rng):
        made.append(1)
        return maker(rng)

    def call(number: int, seed: int = 0) -> int:
        write_shard(number, tmp_path, seed, lambda: count, lambda: (extractor, [teacher]))
        return len(made)

    return call


def test_a_shard_has_features_and_targets_in_half_precision(shard, tmp_path):
    shard(3)
    tensors = load_file(tmp_path / "00003.safetensors")
    assert {name: tuple(value.shape) for name, value in tensors.items()} == {
        "features": (16, 48, 24),
        "loud.logits": (16, 2),
        "loud.steps": (16, 5, 1),
    }
    assert all(value.dtype == torch.float16 for value in tensors.values())


def test_features_and_targets_are_of_the_same_mixture(pool, extractor, teacher):
    maker = MixtureMaker(pool, pool.recordings, MixtureSettings(seconds=0.5))
    waveforms = np.stack([maker(np.random.default_rng(seed)) for seed in range(4)])
    tensors = label_batch(waveforms, extractor, [teacher])
    expected = teacher(waveforms, 16000)
    for name, value in expected.items():
        np.testing.assert_allclose(tensors[name], value, rtol=2e-3, atol=2e-3)
    features = extractor.extract_frames(torch.from_numpy(waveforms))[:, :48]
    torch.testing.assert_close(tensors["features"].float(), features, rtol=2e-3, atol=2e-3)


def test_a_shard_follows_from_its_number_and_the_seed(shard, tmp_path):
    contents = []
    for number, seed in ((0, 0), (0, 0), (1, 0), (0, 1)):
        shard(number, seed)
        contents.append(load_file(tmp_path / f"{number:05d}.safetensors")["features"])
        (tmp_path / f"{number:05d}.safetensors").unlink()
    assert torch.equal(contents[0], contents[1])
    assert not torch.equal(contents[0], contents[2])
    assert not torch.equal(contents[0], contents[3])


def test_a_whole_shard_is_not_made_again_and_a_damaged_one_is(shard, tmp_path):
    assert shard(0) == 16
    assert shard(0) == 16
    path = tmp_path / "00000.safetensors"
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    content[-5] ^= 1
    path.write_bytes(content)
    assert not is_whole(path)
    assert shard(0) == 32
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-1])
    assert not is_whole(path)
    assert shard(0) == 48


def test_a_shard_without_a_checksum_is_not_whole(tmp_path):
    save_file({"features": torch.zeros(2)}, tmp_path / "00000.safetensors")
    assert not is_whole(tmp_path / "00000.safetensors")


def test_a_full_disk_leaves_no_shard(shard, tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bank, "save_file", full)
    with pytest.raises(
        CheckpointError, match=r"Cannot save 00000.safetensors: .*No space left on device.*free some space"
    ):
        shard(0)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_and_what_it_left(tmp_path):
    """Files of long ago are of processes that are gone; others may be those of a process elsewhere."""
    for name, age in (("old", 7200), ("new", 60)):
        path = tmp_path / f"{UNFINISHED}{name}-00000.safetensors"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    with pytest.raises(ChildProcessError, match=r"A process that filled the bank in .* was killed.*Lower --num_proc"):
        fill_bank(tmp_path, 1, 0, partial(os._exit, 1), dict, 1)
    assert [path.name for path in tmp_path.iterdir()] == [f"{UNFINISHED}new-00000.safetensors"]


def test_the_checksum_is_of_names_and_values(shard, tmp_path):
    shard(0)
    with safe_open(tmp_path / "00000.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / "00000.safetensors")
    assert bank.digest_tensors(tensors) == metadata["sha256"]
    tensors["other"] = tensors.pop("features")
    assert bank.digest_tensors(tensors) != metadata["sha256"]


def test_a_bank_of_something_else(extractor, teacher, tmp_path):
    def describe(extractor=extractor, teachers=(teacher,), settings=None, pool="pool", share=0.05) -> dict:
        return describe_bank(extractor, teachers, settings or MixtureSettings(), pool, share)

    description = describe()
    open_folder(tmp_path / "bank", description)
    open_folder(tmp_path / "bank", json.loads(json.dumps(description)))
    older = json.loads(json.dumps(description))
    del older["mixtures"]["repeated"]  # as a bank of before there was such a setting
    (tmp_path / "bank" / "bank.json").write_text(json.dumps(older))
    open_folder(tmp_path / "bank", json.loads(json.dumps(description)))
    others = {
        "pool": describe(pool="another"),
        "front end": describe(ASMFeatureExtractor(num_mel_bins=32)),
        "teachers": describe(teachers=()),
        "mixtures": describe(settings=MixtureSettings(seconds=3.0)),
        "validation share": describe(share=0.1),
        "version": describe() | {"version": 1},
    }
    for name, other in others.items():
        with pytest.raises(ValueError, match=f"was made with other {name}: .* Use another folder, or delete it"):
            open_folder(tmp_path / "bank", other)
