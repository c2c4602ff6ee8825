import io

import pytest
from recordings import NEED_PYAV, RECORDINGS, parts_of, read

from modeling_asm.audio.containers.foreign import recognise


@pytest.mark.parametrize("name", RECORDINGS)
def test_which_files_need_ffmpeg(name):
    assert (parts_of(read(name))[0].foreign is not None) == (name in NEED_PYAV)


@pytest.mark.parametrize(
    ("name", "demuxer"),
    [
        ("aac.m4a", "mov"),
        ("aac_pieces.mp4", "mov"),
        ("copied_8000.3gp", "mov"),
        ("aac.aac", "aac"),
        ("wma2.wma", "asf"),
        ("live.webm", "matroska"),
        ("wavpack.wv", "wv"),
        ("sox_8000.amr-nb", "amr"),
    ],
)
def test_formats_by_their_start(name, demuxer):
    file = io.BytesIO(b"tag" + read(name))
    assert recognise(file, 3).demuxer == demuxer


@pytest.mark.parametrize("content", [b"", b"#EXTM3U\nhttp://example.org/a.ts", b"ffconcat version 1.0", b"text"])
def test_nothing_that_names_other_files_goes_to_ffmpeg(content):
    assert recognise(io.BytesIO(content), 0) is None
