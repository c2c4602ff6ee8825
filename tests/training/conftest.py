"""What the tests of training share."""

import pytest
import torch
from hub import running_hub
from torch.distributed.fsdp import fully_shard

from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.loading import DataArguments
from modeling_asm.training.data.splits import SplitArguments
from modeling_asm.training.models import ModelArguments
from modeling_asm.training.settings import Arguments, ExperimentArguments
from modeling_asm.training.training_arguments import AudioTrainingArguments


@pytest.fixture
def make_arguments(tmp_path):
    """Make the arguments of an experiment."""

    def call(experiment=None, split=None, model=None, data=None, **training) -> Arguments:
        options = {"output_dir": str(tmp_path / "run"), "use_cpu": True, **training}
        data = DataArguments(**(data or {"data_dir": "clips"}))
        parts = (ExperimentArguments(**(experiment or {})), data, SplitArguments(**(split or {})))
        return Arguments(
            *parts,
            ModelArguments(**(model or {"model_name_or_path": "scratch"})),
            AudioTrainingArguments(**options),
            Augmentation(),
        )

    return call


@pytest.fixture
def shard():
    """Return a function that makes a model's weights those of FSDP2, in a group of this process alone."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    yield lambda model: fully_shard(model, mesh=mesh)
    torch.distributed.destroy_process_group()


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the Hub on 127.0.0.1 that this process talks to."""
    with running_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield hub
