import hashlib
import re

import pytest
from deb_files import write_deb, zipped
from packages import FONTS, Package, PackageError, fetch, read_files, read_package, read_packages


COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: A
License: GPL-2+

Files: sounds/other.wav
Copyright: B
License: other
"""


@pytest.fixture
def package(tmp_path) -> Package:
    files = {
        "usr/share/doc/game/copyright": COPYRIGHT.encode(),
        "usr/share/game/sounds/dog.ogg": b"dog",
        "usr/share/game/sounds/other.wav": b"other",
        "usr/share/game/music/theme.OGG": b"theme",
        "usr/share/game/picture.png": b"picture",
        "usr/share/game/font.sf2": b"font",
        "usr/share/game/data.pk3": zipped({"voices/hello.wav": b"hello", "map.txt": b"map"}),
        "usr/share/game/broken.zip": b"no archive",
    }
    write_deb(tmp_path / "game_1%3a2.0-1_all.deb", files)
    digest = hashlib.sha256((tmp_path / "game_1%3a2.0-1_all.deb").read_bytes()).hexdigest()
    return Package("game", "1:2.0-1", digest)


def test_the_recordings_of_a_package(package, tmp_path):
    items = list(read_package(package, fetch(package, tmp_path)))
    assert [
        (item.name.removeprefix("game/usr/share/game/"), item.kind, item.licence, item.audio) for item in items
    ] == [
        ("sounds/dog.ogg", "effects", "GPL-2+", b"dog"),
        ("sounds/other.wav", "effects", "other", b"other"),
        ("music/theme.OGG", "music", "GPL-2+", b"theme"),
        ("data.pk3/voices/hello.wav", "speech", "GPL-2+", b"hello"),
    ]
    assert [item.reason for item in items] == ["", "the licence 'other' does not allow it", "", ""]
    assert {(item.source, item.version) for item in items} == {("game", "1:2.0-1")}


def test_what_must_not_be_in_the_corpus_is_read_whatever_its_licence(package, tmp_path):
    package.never = True
    assert all(not item.reason and item.audio for item in read_package(package, fetch(package, tmp_path)))


def test_sound_fonts(package, tmp_path):
    path = fetch(package, tmp_path)
    assert list(read_files(path, FONTS)) == [("usr/share/game/font.sf2", b"font")]
    (font,) = read_package(package, path, FONTS)
    assert (font.name, font.licence, font.audio) == ("game/usr/share/game/font.sf2", "GPL-2+", b"font")


def test_another_checksum(package, tmp_path):
    package.sha256 = "0" * 64
    with pytest.raises(
        PackageError, match=r"game_1%3a2.0-1_all.deb has the SHA-256 [0-9a-f]{64}, expected 0{64}. Delete"
    ):
        fetch(package, tmp_path)


def test_a_package_that_is_gone(package, tmp_path):
    package.version = "99"
    with pytest.raises(PackageError, match=r"game 99 cannot be downloaded|there is no apt-get"):
        fetch(package, tmp_path)


def test_licences_that_cannot_be_read(tmp_path):
    files = {"usr/share/doc/game/copyright": b"It is free.\n", "usr/share/game/dog.ogg": b"dog"}
    write_deb(tmp_path / "game_1_all.deb", files)
    with pytest.raises(PackageError, match="The package game is left out: its copyright file is not machine-readable"):
        list(read_package(Package("game", "1", ""), tmp_path / "game_1_all.deb"))
    (item,) = read_package(Package("game", "1", "", licence="GPL-2+"), tmp_path / "game_1_all.deb")
    assert item.licence == "GPL-2+"


def test_no_copyright_file(tmp_path):
    write_deb(tmp_path / "game_1_all.deb", {"usr/share/game/dog.ogg": b"dog"})
    with pytest.raises(PackageError, match="The package game has no copyright file"):
        list(read_package(Package("game", "1", ""), tmp_path / "game_1_all.deb"))


def test_the_list(repository):
    packages = read_packages(repository / "research" / "corpus" / "packages.yaml")
    assert len({package.name for package in packages}) == len(packages) > 90
    assert all(re.fullmatch(r"[0-9a-f]{64}", package.sha256) for package in packages)
    drums = [package for package in packages if package.name.startswith("hydrogen")]
    assert len(drums) == 3
    assert all(package.never for package in drums)
