import pytest
from licences import Licences, is_allowed


COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Source: https://example.org

Files: *
Copyright: 2020 A
License: GPL-2+

Files: data/sounds/*
Copyright: 2020 B
License: CC-BY-SA-3.0

Files: data/sounds/bird.ogg music/*.ogg
Copyright: 2020 C
License: CC-BY-NC-3.0
"""


@pytest.mark.parametrize(
    ("path", "licence"),
    [
        ("usr/share/games/x/readme.wav", "GPL-2+"),
        ("usr/share/games/x/data/sounds/dog.ogg", "CC-BY-SA-3.0"),
        ("usr/share/games/x/sounds/dog.ogg", "CC-BY-SA-3.0"),  # installed without the folder `data`
        ("usr/share/games/x/sounds/bird.ogg", "CC-BY-NC-3.0"),
        ("usr/share/games/x/music/song.ogg", "CC-BY-NC-3.0"),
        ("usr/share/games/x/voices/hello.ogg", "GPL-2+"),  # not that of music, for its extension
    ],
)
def test_the_longest_pattern_decides(path, licence):
    assert Licences(COPYRIGHT)[path] == licence


def test_among_equal_patterns_the_last_decides():
    assert Licences(COPYRIGHT + "\nFiles: data/sounds/*\nCopyright: D\nLicense: MIT\n")["x/sounds/dog.ogg"] == "MIT"


def test_a_copyright_file_for_people():
    text = "This package was debianized by someone.\nIt is free.\n"
    assert Licences(text, "GPL-2")["anything"] == "GPL-2"
    with pytest.raises(ValueError, match="its copyright file is not machine-readable"):
        Licences(text)


@pytest.mark.parametrize(
    "licence",
    ["GPL-2+", "LGPL-2.1", "CC-BY-SA-3.0", "CC-SA-BY-3.0", "CC0", "CC0-1.0", "MIT", "Expat", "public-domain", "PD",
     "GPL-2+ and CC-BY-3.0", "CC-BY-NC-3.0 or GPL-2", "BSD-3-clause", "zlib", "other or MIT, and GPL-2"],
)  # fmt: skip
def test_licences_that_allow_it(licence):
    assert is_allowed(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "CC-BY-NC-3.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-3.0",
        "CC-BYNC-3.0",
        "CC-BY-NCSA-3.0",
        "other",
        "Battle-Tanks-License",
        "GPL-2 and other",
        "GPL-2 or MIT, and CC-BY-NC-3.0",
    ],
)
def test_licences_that_do_not(licence):
    assert not is_allowed(licence)
