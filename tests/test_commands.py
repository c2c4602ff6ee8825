import subprocess
import sys

import pytest
import torch

from modeling_asm.commands import check_weights, load_pipeline, one_line, quiet_decoder


def test_the_pipeline_of_a_checkpoint(checkpoint, model):
    classifier = load_pipeline(str(checkpoint), "cpu")
    for ours, saved in zip(classifier.model.parameters(), model.parameters()):
        assert torch.equal(ours, saved)
    assert classifier.model.device.type == "cpu"


def test_weights_that_are_missing_are_named():
    check_weights("my-model", {"missing_keys": set()})
    with pytest.raises(ValueError, match=r"^my-model is no trained classifier: .* for a, b\. Train it first\.$"):
        check_weights("my-model", {"missing_keys": {"b", "a"}})


def test_a_message_is_one_line():
    assert one_line(ValueError("'it\n  is'\tnot there")) == "'it is' not there"


TALK = """
import os, sys
from modeling_asm.commands import quiet_decoder
with quiet_decoder():
    os.write(2, b"the decoder\\n")
    print("the command", file=sys.stderr)
os.write(2, b"afterwards\\n")
"""


def test_the_decoder_is_quiet_and_the_command_is_not():
    process = subprocess.run([sys.executable, "-c", TALK], capture_output=True, text=True, check=True)
    assert process.stderr.splitlines() == ["the command", "afterwards"]


def test_a_closed_standard_error_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with quiet_decoder():
        assert sys.stderr is None
