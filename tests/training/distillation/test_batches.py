import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from modeling_asm.training.distillation.bank import digest_tensors
from modeling_asm.training.distillation.batches import BankDataset, Collator, StudentAugmentation, draw_mask


NOTHING = {"gain": 0.0, "equalizer": 0.0, "frequency_mask": 0, "time_mask": 0}


@pytest.fixture
def paths(tmp_path) -> list:
    paths = []
    for number in range(2):
        tensors = {
            "features": torch.randn(4, 20, 8).half(),
            "loud.logits": torch.arange(8).reshape(4, 2).half() + 8 * number,
        }
        paths.append(tmp_path / f"{number:05d}.safetensors")
        save_file(tensors, paths[-1], metadata={"sha256": digest_tensors(tensors)})
    return paths


def test_rows_of_all_shards(paths):
    data = BankDataset(paths)
    assert len(data) == 8
    assert [data[index]["loud.logits"][0].item() for index in range(8)] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert data[5]["features"].shape == (20, 8)


def test_workers_open_the_shards_themselves(paths):
    data = BankDataset(paths)
    data[0]
    assert pickle.loads(pickle.dumps(data)).slices == {}
    loader = DataLoader(data, 4, num_workers=2, collate_fn=Collator(0.0, 0.5))
    assert torch.cat([batch["targets"]["loud.logits"][:, 0] for batch in loader]).tolist() == list(range(0, 16, 2))


def test_a_damaged_shard(paths):
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1
    paths[1].write_bytes(content)
    with pytest.raises(ValueError, match=r"00001.safetensors' is damaged. Delete it, and run the same command again"):
        BankDataset(paths)


def test_validation_is_normalised_and_nothing_else(paths):
    rows = [BankDataset(paths)[index] for index in range(3)]
    batch = Collator(mean=-2.0, std=4.0)(copy.deepcopy(rows))
    expected = (torch.stack([row["features"] for row in rows]).float() + 2) / 8
    torch.testing.assert_close(batch["input_values"], expected)
    assert torch.equal(batch["targets"]["loud.logits"], torch.stack([row["loud.logits"] for row in rows]))


def test_augmentation_follows_from_seed_and_mixtures(paths):
    rows, batches = [BankDataset(paths)[index] for index in range(3)], []
    for seed, order in ((0, (0, 1, 2)), (0, (0, 1, 2)), (1, (0, 1, 2)), (0, (1, 0, 2))):
        torch.rand(1)  # torch's own random numbers have no part in it
        collate = Collator(0.0, 1.0, StudentAugmentation(), seed)
        batches.append(collate([copy.deepcopy(rows[row]) for row in order])["input_values"])
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
    assert not torch.equal(batches[0], batches[3][[1, 0, 2]])


def test_workers_augment_each_batch_in_another_way_and_as_one_process(paths):
    collate = Collator(0.0, 1.0, StudentAugmentation(**{**NOTHING, "gain": 10.0}))
    batches = [list(DataLoader(BankDataset(paths), 4, num_workers=number, collate_fn=collate)) for number in (0, 2)]
    gains = []
    for number, (alone, batch) in enumerate(zip(*batches, strict=True)):
        assert torch.equal(alone["input_values"], batch["input_values"])
        plain = torch.stack([BankDataset(paths)[4 * number + row]["features"].float() for row in range(4)])
        gains += (2 * batch["input_values"] - plain).mean((1, 2)).tolist()
    assert len({round(gain, 4) for gain in gains}) == len(gains)


def test_a_gain_is_in_decibels():
    """10 dB are a factor of 10 in power: ln(10) in log-mel energy."""
    features = torch.zeros(500, 3, 4)
    louder = StudentAugmentation(**{**NOTHING, "gain": 10.0})(features, 0.0)
    assert louder.max() == pytest.approx(2.302585, abs=0.02)
    assert louder.min() == pytest.approx(-2.302585, abs=0.02)
    assert torch.equal(louder, louder[:, :1, :1].expand_as(louder))


def test_an_equalizer_is_the_same_at_all_times():
    features = torch.zeros(50, 3, 16)
    shaped = StudentAugmentation(**{**NOTHING, "equalizer": 10.0})(features, 0.0)
    assert torch.equal(shaped, shaped[:, :1].expand_as(shaped))
    assert shaped.std(2).min() > 0
    assert shaped.abs().max() <= 2.3026


@pytest.mark.parametrize(("name", "axis"), [("frequency_mask", 2), ("time_mask", 1)])
def test_masks_have_the_mean_and_their_size(name, axis):
    features = torch.ones(300, 20, 16)
    masked = StudentAugmentation(**{**NOTHING, name: 5})(features, -3.0)
    lengths = (masked == -3.0).all(dim=3 - axis).sum(1)
    assert set(lengths.tolist()) == set(range(6))
    assert set(masked.unique().tolist()) == {-3.0, 1.0}


def test_a_mask_is_one_stretch():
    mask = draw_mask(200, 30, 10)
    edges = (mask[:, 1:] != mask[:, :-1]).sum(1)
    assert edges.max() <= 2
    assert mask[:, 0].any()
    assert mask[:, -1].any()
    assert draw_mask(5, 4, 10).shape == (5, 4)
