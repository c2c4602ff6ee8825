import numpy as np
import pytest
import soundfile
import torch

from modeling_asm import ASMFeatureExtractor
from modeling_asm.commands.stats import main


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "sounds" / "deeper").mkdir(parents=True)
    soundfile.write(tmp_path / "sounds" / "one.wav", 0.1 * rng.standard_normal(20000), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "sounds" / "deeper" / "two.FLAC", 0.01 * rng.standard_normal(9000), 16000, format="FLAC")
    (tmp_path / "sounds" / "notes.txt").write_text("no audio")
    return tmp_path / "sounds"


def test_they_are_those_of_all_frames(folder, tmp_path, capsys):
    assert main([str(folder), "--num_mel_bins", "24", "--max_length", "50", "--output_dir", str(tmp_path / "out")]) == 0
    plain = ASMFeatureExtractor(num_mel_bins=24, do_normalize=False)
    clips = [soundfile.read(file, dtype="float32")[0] for file in (folder / "one.wav", folder / "deeper" / "two.FLAC")]
    frames = torch.cat([plain.extract_frames(torch.from_numpy(clip)[None])[0] for clip in clips])
    extractor = ASMFeatureExtractor.from_pretrained(tmp_path / "out")
    assert extractor.mean == pytest.approx(frames.mean().item(), abs=1e-4)
    assert extractor.std == pytest.approx(frames.std(correction=0).item(), abs=1e-4)
    assert (extractor.max_length, extractor.num_mel_bins, extractor.do_normalize) == (50, 24, True)
    assert f"mean {extractor.mean:.7f}\nstd {extractor.std:.7f}\nframes {len(frames)}\n" == capsys.readouterr().out


def test_a_bad_file_is_named_and_left_out(folder, capsys):
    assert main([str(folder)]) == 0
    good = capsys.readouterr().out
    (folder / "bad.wav").write_text("no audio")
    assert main([str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out == good
    assert "bad.wav" in err


@pytest.mark.parametrize(
    ("samples", "message"), [(None, "There is no recording"), (np.zeros(9000), "digital silence")], ids=str
)
def test_nothing_to_measure(tmp_path, capsys, samples, message):
    if samples is not None:
        soundfile.write(tmp_path / "silence.wav", samples, 16000)
    assert main([str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_clip_shorter_than_a_frame(tmp_path, capsys):
    soundfile.write(tmp_path / "click.wav", [0.5] * 10, 16000)
    assert main([str(tmp_path / "click.wav")]) == 0
    assert "frames 1" in capsys.readouterr().out


def test_an_url_that_is_none_is_named_and_left_out(folder, capsys):
    assert main(["http://a..b/x.wav", str(folder)]) == 1
    assert "http://a..b/x.wav" in capsys.readouterr().err
