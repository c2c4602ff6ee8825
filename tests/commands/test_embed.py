import html
import json
import os
import re
import shutil
import urllib.parse

import numpy as np
import pyarrow.parquet as pq
import pytest

from modeling_asm.commands.classify import main as classify
from modeling_asm.commands.embed import main


@pytest.fixture
def embed(checkpoint):
    return lambda *arguments: main([*map(str, arguments), "--model", str(checkpoint)])


def test_npz_and_parquet(embed, tones, tmp_path):
    assert embed(tones, "--output", tmp_path / "out.npz") == 0
    assert embed(tones, "--output", tmp_path / "out.parquet") == 0
    arrays, table = np.load(tmp_path / "out.npz"), pq.read_table(tmp_path / "out.parquet").to_pydict()
    files = sorted(path.relative_to(tones).as_posix() for path in tones.rglob("*.wav"))
    assert arrays["files"].tolist() == table["file"] == files
    assert arrays["embeddings"].shape == (len(files), 16)
    np.testing.assert_array_equal(arrays["embeddings"], np.array(table["embedding"], np.float32))


def test_timestamps(embed, tones, tmp_path):
    assert embed(tones, "--output", tmp_path / "out.parquet", "--timestamps", "--window_overlap", 0) == 0
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert set(table) == {"file", "start", "end", "embedding"}
    assert len(table["file"]) > len(set(table["file"]))
    assert table["start"][0] == 0
    assert all(start < end for start, end in zip(table["start"], table["end"]))
    assert embed(tones, "--output", tmp_path / "out.npz", "--timestamps") == 0
    assert set(np.load(tmp_path / "out.npz")) == {"files", "starts", "ends", "embeddings"}


def test_a_map_that_plays(embed, tones, tmp_path):
    odd = tones / "low" / "a & <b> #1.wav"
    odd.write_bytes((tones / "low" / "00.wav").read_bytes())
    assert embed(tones, "--html", tmp_path / "map.html") == 0
    page = (tmp_path / "map.html").read_text()
    urls = [html.unescape(url) for url in re.findall(r'data-url="([^"]*)"', page)]
    assert len(urls) == len(list(tones.rglob("*.wav")))
    assert all((tmp_path / urllib.parse.unquote(url)).is_file() for url in urls)
    assert "a &amp; &lt;b&gt; #1.wav" in page
    assert "<b> #1" not in page
    assert len(set(re.findall(r"hsl\((\d+)", page))) == 2  # a colour for each folder


def test_a_map_below_a_link(embed, tones, tmp_path):
    """A browser takes `..` from the address as it is written, not from where a link leads."""
    (tmp_path / "disk" / "deep" / "data").mkdir(parents=True)
    shutil.move(tones, tmp_path / "disk" / "deep" / "data" / "recordings")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "deep" / "data")
    assert embed(tmp_path / "link" / "recordings", "--html", tmp_path / "link" / "map.html") == 0
    urls = re.findall(r'data-url="([^"]*)"', (tmp_path / "link" / "map.html").read_text())
    for url in urls:
        assert os.path.isfile(os.path.normpath(tmp_path / "link" / urllib.parse.unquote(html.unescape(url))))


def test_a_recording_that_cannot_be_read(embed, tones, tmp_path, capsys):
    (tones / "low" / "broken.wav").write_bytes(b"RIFF")
    assert embed(tones, "--output", tmp_path / "out.npz") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asm-embed: ")]
    assert "broken.wav" in line
    assert "low/broken.wav" not in np.load(tmp_path / "out.npz")["files"]


def test_names_that_are_not_utf8(embed, tones, tmp_path):
    odd = os.fsencode(tones / "low") + b"/\xff.wav"
    with open(odd, "wb") as file:
        file.write((tones / "low" / "00.wav").read_bytes())
    assert embed(tones, "--output", tmp_path / "out.parquet", "--html", tmp_path / "map.html") == 0
    assert "low/?.wav" in pq.read_table(tmp_path / "out.parquet").to_pydict()["file"]
    assert "low/%FF.wav" in (tmp_path / "map.html").read_text()


def test_what_cannot_start(embed, tones, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert embed(tmp_path / "empty", "--output", tmp_path / "out.npz") == 2
    message = f"asm-embed: There are no recordings in '{tmp_path / 'empty'}': 0 files found, 0 used."
    assert message in capsys.readouterr().err
    for option, name in (("--output", "out.npz"), ("--html", "map.html")):  # before anything is embedded
        assert embed(tones, option, tmp_path / "nowhere" / name) == 2
        assert f"There is no folder '{tmp_path / 'nowhere'}' for '{name}'." in capsys.readouterr().err
    for arguments, message in (
        ((tones,), "Set --output, --html or both"),
        ((tones, "--output", "out.csv"), "expected a file that ends in .npz or .parquet"),
        ((tones, "--html", "map.html", "--timestamps"), "--timestamps is for --output"),
    ):
        with pytest.raises(SystemExit):
            embed(*arguments)
        assert message in capsys.readouterr().err


def test_similar_recordings(checkpoint, tones, capsys):
    model = ("--model", str(checkpoint), "--similar", str(tones))
    assert classify([*model, str(tones / "low" / "03.wav"), "--json", "--top_k", "4"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert len(result["scores"]) == 4
    assert result["scores"][0] == {"label": "low/03.wav", "score": pytest.approx(1, abs=1e-4)}
    assert classify([*model, "nowhere.wav", str(tones / "low" / "03.wav")]) == 1
    printed = capsys.readouterr()
    assert "low/03.wav 1.000" in printed.out
    assert "nowhere.wav" in printed.err
    (tones / "low" / "broken.wav").write_bytes(b"RIFF")
    assert classify([*model, str(tones / "low" / "03.wav"), "--json"]) == 1
    printed = capsys.readouterr()
    assert "broken.wav" in printed.err
    (found,) = json.loads(printed.out)  # one answer for one question
    assert found["scores"][0]["label"] == "low/03.wav"
    with pytest.raises(SystemExit):
        classify([*model, str(tones / "low" / "03.wav"), "--timestamps"])
    assert "--similar compares embeddings of whole recordings" in capsys.readouterr().err
