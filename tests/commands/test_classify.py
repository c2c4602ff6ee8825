import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image
from processes import without_torchao
from transformers import ASTConfig, ASTForAudioClassification, pipeline

from modeling_asm.commands.classify import main


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "sound.wav", np.sin(np.arange(16000) / 20), 16000)
    return str(tmp_path / "sound.wav")


@pytest.fixture
def run(checkpoint, capsys):
    """Run the command, and return its exit status and what it printed on both outputs."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["--model", str(checkpoint), *arguments])
        return status, *capsys.readouterr()

    return run


def test_a_table(run, sound, checkpoint):
    status, out, err = run(sound, "--top_k", "2")
    best = pipeline("asm-audio-classification", model=str(checkpoint))(sound, top_k=2)
    assert (status, err) == (0, "")
    assert out == f"{sound}  {best[0]['label']} {best[0]['score']:.3f}, {best[1]['label']} {best[1]['score']:.3f}\n"


def test_timestamps(run, sound):
    status, out, _ = run(sound, "--timestamps", "--window_overlap", "0")
    lines = out.splitlines()
    assert status == 0
    assert len(lines) == 1 + 7
    assert lines[1].startswith("       0.00 to      0.17 s  ")


def test_json(run, sound):
    _, out, _ = run(sound, "--json")
    (result,) = json.loads(out)
    assert result["file"] == sound
    assert len(result["scores"]) == 3
    _, out, _ = run(sound, "--json", "--timestamps")
    assert {"start", "end", "scores"} == set(json.loads(out)[0]["windows"][0])


def test_csv(run, sound):
    _, out, _ = run(sound, "nowhere.wav", "--csv", "--timestamps", "--top_k", "1")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["file", "start", "end", "label", "score", "error"]
    assert (rows[1]["start"], rows[1]["file"]) == ("0.08", sound)
    assert "is missing" in rows[-1]["error"]


def test_a_plot(run, sound, tmp_path):
    status, _, _ = run(sound, "--plot", str(tmp_path / "out.png"))
    assert status == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (1200, 600)
        assert len(picture.convert("RGB").getcolors(10**6)) > 20
    status, out, _ = run(sound, "--plot", str(tmp_path / "out.png"), "--timestamps", "--top_k", "1")
    assert status == 0
    assert len(out.splitlines()) > 7
    assert "," not in out
    with pytest.raises(SystemExit):
        run(sound, sound, "--plot", str(tmp_path / "out.png"))


def test_bad_files_do_not_keep_others_from_their_labels(run, sound, tmp_path):
    """Names with quotes and line breaks stay on one line."""
    strange = tmp_path / 'it\'s \n "no" sound.wav'
    strange.write_text("text")
    (tmp_path / "empty.wav").write_bytes(b"")
    status, out, err = run(str(strange), str(tmp_path / "empty.wav"), "nowhere.wav", str(tmp_path), sound)
    assert status == 1
    assert out.startswith(sound)
    assert len(out.splitlines()) == 1
    lines = err.splitlines()
    assert len(lines) == 4
    for line, words in zip(lines, ("Cannot decode", "is an empty file", "is missing", "is a folder")):
        assert line.startswith("asm-classify: ")
        assert words in line


def test_nothing_can_be_done(sound, capsys, tmp_path):
    assert main(["--model", str(tmp_path), sound]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--top_k", "0"], ["--batch_size", "0"], ["-"], ["--json", "--csv"]], ids=str)
def test_impossible_arguments(run, sound, arguments):
    with pytest.raises(SystemExit) as error:
        run(sound, "-", *arguments)
    assert error.value.code == 2


@pytest.mark.slow
def test_a_line_for_each_error_and_none_for_a_reader_that_stops(checkpoint, sound, tmp_path):
    """What libmpg123 has to say about a damaged file does not reach the terminal, nor does a broken pipe."""
    soundfile.write(tmp_path / "damaged.mp3", np.sin(np.arange(160000) / 20), 16000)
    content = bytearray((tmp_path / "damaged.mp3").read_bytes())
    content[2000:2100] = bytes(range(100, 200))
    (tmp_path / "damaged.mp3").write_bytes(content)
    command = [sys.executable, "-m", "modeling_asm.commands.classify", "--model", str(checkpoint), sound]
    process = subprocess.Popen([*command, tmp_path / "damaged.mp3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    (line,) = without_torchao(process.stderr.read().decode())
    assert line.startswith("asm-classify: ")
    assert "damaged.mp3'" in line
    assert process.wait(timeout=120) == 1


@pytest.mark.slow
def test_standard_input(checkpoint, sound):
    """The installed command, through a pipe, from an open file, and closed."""
    command = [sys.executable, "-m", "modeling_asm.commands.classify", "--model", str(checkpoint), "--json", "-"]
    with open(sound, "rb") as file:
        content = file.read()
    piped = subprocess.run(command, input=content, capture_output=True)
    assert piped.returncode == 0, piped.stderr
    assert json.loads(piped.stdout)[0]["file"] == "-"
    closed = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True)
    assert closed.returncode == 1
    assert closed.stderr.splitlines()[-1].startswith("asm-classify: Cannot read 'standard input'")


def test_a_model_that_is_no_trained_classifier(checkpoint, model, sound, capsys):
    """A head without weights would be random, and its labels with it."""
    assert main(["--model", str(checkpoint), "--device", "cuda:99", sound]) == 2
    model.audio_spectrogram_mixer.save_pretrained(checkpoint)
    assert main(["--model", str(checkpoint), sound]) == 2
    config = ASTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ASTForAudioClassification(config).save_pretrained(checkpoint)
    assert main(["--model", str(checkpoint), sound]) == 2
    device, bare, other = capsys.readouterr().err.splitlines()
    assert "The device 'cuda:99' cannot be used" in device
    assert "is not a trained classifier: it has no weights for classifier" in bare
    assert "is a ASTForAudioClassification, expected an ASMForAudioClassification" in other


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are text there")
@pytest.mark.parametrize("option", [[], ["--json"], ["--csv"]], ids=str)
def test_a_name_that_is_no_text(run, sound, option):
    strange = os.fsdecode(os.fsencode(sound)[:-4] + b"\xff.wav")
    shutil.copy(sound, strange)
    status, out, err = run(*option, strange)
    assert (status, err) == (0, "")
    assert "udcff" in out


@pytest.mark.parametrize("name", ["nowhere/out.png", "out.sound", "out"])
def test_a_picture_that_cannot_be_written_is_told_before_the_work(run, sound, name, monkeypatch, tmp_path):
    monkeypatch.setattr("modeling_asm.commands.classify.plot_windows", None)
    status, out, err = run(sound, "--plot", str(tmp_path / name))
    assert (status, out) == (2, "")
    assert name in err


def test_a_model_that_is_not_there(sound, capsys):
    assert main(["--model", "no-such-model", sound]) == 2
    assert capsys.readouterr().err.startswith("asm-classify: There is no folder 'no-such-model', and the Hub says: ")


def test_a_model_that_is_a_file(sound, tmp_path, capsys):
    (tmp_path / "model.pt2").write_bytes(b"PK")
    assert main(["--model", str(tmp_path / "model.pt2"), sound]) == 2
    assert "model.pt2' is a file, expected the folder of a checkpoint" in capsys.readouterr().err


def test_without_a_model_it_tags_with_a_general_encoder(sound, capsys):
    assert main([sound, "--json", "--top_k", "527"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert len(result["scores"]) == 527
    assert {"Speech", "Dog", "Sine wave"} <= {score["label"] for score in result["scores"]}


@pytest.mark.slow
def test_the_general_encoder_hears_dogs_and_rain(recordings, capsys):
    """Of the first ten clips of a class of ESC-50, most have AudioSet's name of it among the three best."""
    folder = recordings / "environmental_sounds" / "train"
    with open(folder / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for label, names in {"dog": {"Dog", "Bark"}, "rain": {"Rain", "Rain on surface"}}.items():
        clips = [str(folder / row["file_name"]) for row in rows if row["label"] == label][:10]
        assert main([*clips, "--json", "--top_k", "3"]) == 0
        results = json.loads(capsys.readouterr().out)
        heard = [bool(names & {score["label"] for score in result["scores"]}) for result in results]
        assert sum(heard) >= 8, label
