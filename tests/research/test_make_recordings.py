import dataclasses
import json
import shutil

import pytest
from make_recordings import ENCODED, FAULTS, JOINED, PIPED, Recording, id3, main, set_size, write_source
from recordings import noise, samples_of, write


PROGRAMS = ("ffmpeg", "lame", "sox", "flac", "oggenc", "opusenc", "speexenc", "wavpack")


def test_what_is_made_of_other_files_names_files_that_are_there():
    names = [name for name, *_ in ENCODED]
    assert len(set(names)) == len(names)
    assert set(PIPED) <= set(names)
    assert {name for pair in JOINED for name in pair} <= set(names)
    assert {name for _, wholes, _ in FAULTS for name in wholes} <= set(names)


def test_faults_leave_all_of_the_sound():
    content = write(noise(4000))
    for change in (set_size(b"data", size=0), set_size(b"data", share=0.5), lambda content: id3(50) + content):
        assert change(content) != content
        assert len(samples_of(change(content))) == 4000


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (16000, 1)])
def test_the_source(tmp_path, rate, channels):
    write_source(tmp_path / "a.wav", 0.5, rate, channels)
    assert samples_of((tmp_path / "a.wav").read_bytes()).shape == (rate // 2, channels)


@pytest.mark.slow
@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="the encoders are not installed")
def test_all_are_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["make_recordings.py", str(tmp_path / "files"), "--seconds", "0.2"])
    main()
    described = [Recording(**row) for row in json.loads((tmp_path / "files" / "recordings.json").read_text())]
    assert f"{len(described)} files in" in capsys.readouterr().out
    assert all((tmp_path / "files" / recording.name).stat().st_size > 0 for recording in described)
    assert {field.name for field in dataclasses.fields(Recording)} == set(vars(described[0]))
