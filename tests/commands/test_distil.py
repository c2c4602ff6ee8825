"""The command; what it does is in tests/training/distillation."""

import json

import pytest

from modeling_asm.commands import distil


def test_an_error_is_one_line(tmp_path, capsys):
    teachers = json.dumps({"x": {"type": "magic"}})
    arguments = [
        "--pool",
        str(tmp_path),
        "--bank",
        str(tmp_path / "bank"),
        "--teachers",
        teachers,
        "--output_dir",
        str(tmp_path),
    ]
    with pytest.raises(SystemExit) as error:
        distil.main([*arguments, "--use_cpu"])
    assert str(error.value).startswith("asm-distil: There is no pool of audio in")


def test_a_misspelt_argument():
    with pytest.raises(SystemExit, match=r"asm-distil: There is no argument '--pol'; did you mean '--pool'?"):
        distil.main(["--pol", "x", "--pool", "a", "--bank", "b", "--teachers", "{a: {}}", "--output_dir", "c"])


def test_help(capsys):
    with pytest.raises(SystemExit):
        distil.main(["--help"])
    text = capsys.readouterr().out
    assert "Teach a general audio encoder what trained networks say of unlabelled audio." in text
    assert "--mixtures" in text
