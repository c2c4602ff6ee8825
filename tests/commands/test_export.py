import re

import numpy as np
import pytest
import soundfile
from processes import run_python

from modeling_asm.commands.export import main


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)


def test_the_command(checkpoint, tmp_path, capsys):
    soundfile.write(tmp_path / "clip.wav", NOISE, 8000)
    output = str(tmp_path / "model.pt2")
    assert main(["--model", str(checkpoint), "--output", output, "--clips", str(tmp_path / "clip.wav")]) == 0
    assert re.search(
        r"model\.pt2: \d\.\d MB\. Compared on 1 clips: .* same best label for 100\.0%", capsys.readouterr().out
    )
    assert main(["--model", str(checkpoint), "--output", str(tmp_path / "model.bin")]) == 2
    assert capsys.readouterr().err.startswith("asm-export: The file must end in one of")


@pytest.mark.slow
def test_the_module_runs_as_a_command():
    assert "usage: asm-export" in run_python("-m", "modeling_asm.commands.export", "--help").stdout
