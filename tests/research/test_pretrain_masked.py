import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers import AutoFeatureExtractor, AutoModelForPreTraining

from modeling_asm.training.distillation.bank import digest_tensors


STUDENT = {"hidden_size": 16, "num_hidden_layers": 2, "channels_mlp_dim": 32, "patch_size": [24, 4], "num_mel_bins": 24,
           "frequency_stride": 24, "time_stride": 4, "max_length": 48, "token_mixing": "conv"}  # fmt: skip


@pytest.mark.parametrize("extra", [(), ("--plain",)], ids=str)
def test_masked_mixtures_are_learned(run, tmp_path, extra):
    torch.manual_seed(0)
    for number in range(2):
        level = 3 * torch.randn(32, 1, 24)
        tensors = {"features": (level - 7 + 0.1 * torch.randn(32, 48, 24)).half(), "teacher.logits": torch.ones(32, 3)}
        path = tmp_path / "bank" / "all" / "train" / f"{number:05d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"sha256": digest_tensors(tensors)})
    (tmp_path / "student.yaml").write_text(yaml.safe_dump({"model": STUDENT}))
    arguments = (tmp_path / "student.yaml", "--bank", tmp_path / "bank", "--output_dir", tmp_path / "masked")
    outcome = run("pretrain_masked.py", *arguments, "--max_steps", 30, "--batch_size", 16, *extra)
    assert outcome.error is None
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "masked")
    assert model.config.hidden_size == 16
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "masked").mean == pytest.approx(-7, abs=0.5)
    assert model.mask_token.abs().sum() > 0
