import subprocess
import sys

import pytest
from processes import without_torchao

from modeling_asm.commands.console import one_line, quiet_decoder


def test_a_message_is_one_line():
    assert one_line(ValueError("'it\n  is'\tnot there")) == "'it is' not there"


TALK = """
import os, sys
from modeling_asm.commands.console import quiet_decoder
with quiet_decoder():
    os.write(2, b"the decoder\\n")
    print("the command", file=sys.stderr)
os.write(2, b"afterwards\\n")
"""


@pytest.mark.slow
def test_the_decoder_is_quiet_and_the_command_is_not():
    process = subprocess.run([sys.executable, "-c", TALK], capture_output=True, text=True, check=True)
    assert without_torchao(process.stderr) == ["the command", "afterwards"]


def test_a_closed_standard_error_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with quiet_decoder():
        assert sys.stderr is None
