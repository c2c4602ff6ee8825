import json
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from modeling_asm.measuring.environment import describe_environment, describe_machine


def test_date_machine_and_versions():
    described = describe_environment()
    assert described["torch"] == version("torch")
    assert described["python"] == platform.python_version()
    assert described["threads"] == torch.get_num_threads()
    assert len(described["date"]) == len("2026-01-01")


def test_the_machine_has_no_name(repository):
    """Processor and instructions, but neither the host's name nor a path."""
    described = describe_machine()
    assert described["processor_name"]
    assert isinstance(described["bfloat16"], bool)
    text = json.dumps(described)
    assert platform.node() not in text or not platform.node()
    assert str(Path.home()) not in text and str(repository) not in text
