import re
import subprocess

import numpy as np
import pytest
import torch
from hub import environment_of, run_with_hub, running_hub
from huggingface_hub import ModelCard
from processes import Python, run_python
from safetensors.torch import save_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from modeling_asm.conversion.mixer import convert_mixer


def run(*arguments) -> subprocess.CompletedProcess:
    return run_python("-m", "modeling_asm.commands.convert", *arguments, check=False)


@pytest.mark.slow
def test_the_command_writes_a_checkpoint_with_its_provenance(mixer_weights, tmp_path):
    save_file(mixer_weights, tmp_path / "mixer.safetensors")
    options = ("--max_length", 32, "--num_mel_bins", 24, "--licence", "apache-2.0")
    done = run(tmp_path / "mixer.safetensors", tmp_path / "start", *options)
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(tmp_path / "start" / "README.md")
    assert card.data.license == "apache-2.0" and "mlp-mixer" in card.data.tags
    assert card.data.pipeline_tag == "feature-extraction"
    for text in ("`mixer.safetensors`, SHA-256", "4x4 to 6x8", "luma", "apache-2.0"):
        assert text in card.text
    assert str(tmp_path) not in card.content
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "start")
    assert (extractor.num_mel_bins, extractor.max_length) == (24, 32)
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "start", num_labels=3)
    expected = convert_mixer(mixer_weights, max_length=32, num_mel_bins=24)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(model.audio_spectrogram_mixer.state_dict()[name], tensor, rtol=0, atol=0)
    classifier = pipeline("audio-classification", model=model, feature_extractor=extractor)
    assert len(classifier(np.zeros(16000, np.float32))) == 3
    again = run(tmp_path / "mixer.safetensors", tmp_path / "start", *options)
    assert again.returncode != 0 and "nothing is overwritten" in again.stderr
    assert "Traceback" not in again.stderr


PUSH = """
import sys
from huggingface_hub import HfApi

HfApi().create_repo("ann/mixer")
HfApi().upload_folder(repo_id="ann/mixer", folder_path=sys.argv[1])
"""


@pytest.mark.slow
def test_a_model_of_the_hub(mixer_weights, tmp_path):
    """As timm's: `model.safetensors` in a repository; the card names it as the base model."""
    (tmp_path / "upload").mkdir()
    save_file(mixer_weights, tmp_path / "upload" / "model.safetensors")
    command = ("-m", "modeling_asm.commands.convert", "ann/mixer", tmp_path / "start", "--max_length", 32)
    with running_hub() as hub:
        with running_hub() as gone:
            (tmp_path / "elsewhere").mkdir()
        environment = environment_of(gone, tmp_path / "elsewhere")
        other = (*command[:2], "ann/other", tmp_path / "other")
        waiting = Python(*other, environment=environment)  # the client tries six times, for 23 s
        missing = run_with_hub(hub, tmp_path, *command, check=False)
        run_with_hub(hub, tmp_path, "-c", PUSH, tmp_path / "upload")
        run_with_hub(hub, tmp_path, *command)
        offline = waiting.wait()
    assert "The Hub refuses 'ann/mixer'" in missing.stderr and "Traceback" not in missing.stderr
    card = ModelCard.load(tmp_path / "start" / "README.md")
    assert card.data.base_model == "ann/mixer"
    assert re.search(r"`ann/mixer` at `[0-9a-f]{40}`, SHA-256", card.text)  # the commit that main was
    assert "The Hub cannot be reached for 'ann/other'" in offline.stderr and "Traceback" not in offline.stderr
