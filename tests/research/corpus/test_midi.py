import numpy as np
import pytest
from midi import random_drums, random_phrase, variable_length, write_score


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "00"), (0x40, "40"), (0x7F, "7f"), (0x80, "8100"), (0x2000, "c000"), (0x3FFF, "ff7f"), (0x4000, "818000"),
     (0x0FFFFFFF, "ffffff7f")],
)  # fmt: skip
def test_numbers_as_in_the_standard(value, expected):
    """Source: the table of variable-length quantities in the Standard MIDI Files specification."""
    assert variable_length(value).hex() == expected


def test_a_score_of_one_note():
    content = write_score([(0, 480, 60, 100)], 120.0, 0, 5)
    assert content[:14].hex() == "4d546864000000060000000101e0"  # one track, 480 ticks a quarter note
    assert content[14:18] == b"MTrk"
    assert int.from_bytes(content[18:22], "big") == len(content) - 22
    assert content[22:].hex() == "00ff510307a120" + "00c005" + "00903c64" + "8360803c00" + "8360ff2f00"


@pytest.mark.parametrize("compose", [random_phrase, random_drums])
def test_scores_are_valid_and_differ(compose):
    files = {compose(np.random.default_rng(seed))[1] for seed in range(50)}
    assert len(files) == 50
    for content in files:
        assert int.from_bytes(content[18:22], "big") == len(content) - 22
        assert content.endswith(b"\xff\x2f\x00")
