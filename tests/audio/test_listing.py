import os

import pytest
from recordings import noise, read, write

from modeling_asm.audio.listing import Listing, list_recordings, sub_folders


def make(folder, *names, content: bytes = b"x"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def names_of(folder, paths) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths]


def test_recordings_at_any_depth(tmp_path):
    make(tmp_path, "a.wav", "deep/b.FLAC", "deep/deeper/c.opus")
    assert names_of(tmp_path, list_recordings(tmp_path).files) == ["a.wav", "deep/b.FLAC", "deep/deeper/c.opus"]
    assert names_of(tmp_path, list_recordings(tmp_path, deep=False).files) == ["a.wav"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Thumbs.db", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500)),
        ("desktop.ini", b"[.ShellClassInfo]\r\nIconResource=C:\\x.ico\r\n"),
        ("take.TextGrid", b'File type = "ooTextFile"\nObject class = "TextGrid"\n'),
        ("take.wav.reapeaks", b"RPKN\x02\x02" + bytes(100)),
        ("cover.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100)),
        ("notes.txt", b"recorded in May"),
        ("data.mat", b"MATLAB 5.0 MAT-file" + bytes(200)),
        ("empty", b""),
    ],
)
def test_what_other_programs_leave_behind(tmp_path, name, content):
    make(tmp_path, name, content=content)
    make(tmp_path, "a.wav")
    listing = list_recordings(tmp_path)
    assert names_of(tmp_path, listing.files) == ["a.wav"]
    assert listing.describe(tmp_path) == f"2 files found, 1 used; left out: 1 not known as recordings ('{name}')"


@pytest.mark.parametrize("name", ["7.c", "take", "take.txt", "take.bin"])
@pytest.mark.parametrize("recording", ["wav", "lame_tagged.mp3", "oggenc.ogg", "aac.m4a"])
def test_sound_under_another_name(tmp_path, name, recording):
    make(tmp_path, name, content=write(noise()) if recording == "wav" else read(recording))
    assert names_of(tmp_path, list_recordings(tmp_path).files) == [name]


def test_links(tmp_path):
    """A link to a file or a folder elsewhere is followed; a broken one, and one that leads back, are told."""
    make(tmp_path, "data/a.wav", "elsewhere/b.wav")
    data = tmp_path / "data"
    (data / "file.wav").symlink_to(tmp_path / "elsewhere" / "b.wav")
    (data / "folder").symlink_to(tmp_path / "elsewhere")
    (data / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (data / "loop").symlink_to(data)
    (data / "up").symlink_to(tmp_path)
    (data / "self").symlink_to("self")
    listing = list_recordings(data)
    assert names_of(data, listing.files) == ["a.wav", "file.wav", "folder/b.wav"]
    assert listing.describe(data) == (
        "5 files found, 3 used; left out: 2 broken links ('gone.wav', 'self'), 2 links to a folder of the same data "
        "('loop', 'up')"
    )
    assert [folder.name for folder in sub_folders(data)] == ["folder"]


def test_hidden_files_are_counted(tmp_path):
    make(tmp_path, "a.wav", ".DS_Store", "._a.wav", "__MACOSX/._a.wav", ".git/config")
    assert list_recordings(tmp_path).describe(tmp_path) == (
        "3 files found, 1 used; left out: 2 hidden ('.DS_Store', '._a.wav'), 2 hidden folders ('.git', '__MACOSX')"
    )


def test_what_is_no_file(tmp_path):
    make(tmp_path, "a.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    assert "1 not known as recordings ('pipe.wav')" in list_recordings(tmp_path).describe(tmp_path)


def test_a_listing_of_nothing(tmp_path):
    assert Listing().describe(tmp_path) == "0 files found, 0 used"
