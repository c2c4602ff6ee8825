import shutil
import subprocess

import numpy as np
import pytest
from items import Item
from midi import random_phrase
from synthesis import SYNTHESISERS, Synthesiser, find_program, make_texture, random_text


def test_textures_are_finite_and_of_many_kinds():
    kinds = set()
    for seed in range(60):
        kind, wave = make_texture(np.random.default_rng(seed))
        kinds.add(kind)
        assert wave.dtype == np.float32
        assert 3 * 32000 <= len(wave) <= 10 * 32000
        assert 0.49 < np.abs(wave).max() <= 0.5
    assert kinds == {"noise", "band", "bursts", "chirps", "hum", "clicks", "tones"}


def test_recordings_follow_from_the_seed_and_fill_the_hours():
    first, second, other = (
        [item.audio for item in SYNTHESISERS["textures"].make(0.01, seed, [], [])] for seed in (0, 0, 1)
    )
    assert 36 <= sum(map(len, first)) / 32000 < 46
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_text_is_syllables_or_numbers():
    texts = [random_text(np.random.default_rng(seed)) for seed in range(100)]
    assert 20 < sum(text.replace(" ", "").isdigit() for text in texts) < 50
    assert all(text and not text.startswith("-") for text in texts)


def test_a_program_that_is_not_installed():
    with pytest.raises(FileNotFoundError, match=r"`no-such-voice` is not installed. On Debian: apt-get install"):
        find_program("no-such-voice")


def test_music_needs_fonts_and_scores():
    if shutil.which("fluidsynth") is None:
        pytest.skip("needs FluidSynth")
    with pytest.raises(FileNotFoundError, match="There is no sound font"):
        next(SYNTHESISERS["phrases"].make(0.01, 0, [], []))


def test_music_has_the_licences_of_what_it_is_made_of(tmp_path):
    font = Item("fonts/small.sf2", "fonts", "1", "MIT", "music", tmp_path / "small.sf2")
    score = Item("games/music/theme.mid", "games", "2", "Artistic-1.0", "music", b"")
    made = (("theme, small", np.ones(320000), font, score), ("program 3, small", np.ones(320000), font))

    def start(rng, folder, fonts, scores):
        pieces = iter(made)
        return lambda: next(pieces)

    first, second = Synthesiser("midi", "music", "", start).make(20 / 3600, 0, [font], [score])
    assert (first.licence, first.version) == ("Artistic-1.0, and MIT", "fonts 1, games 2")
    assert (second.licence, second.version) == ("MIT", "fonts 1")


def test_music_by_fluidsynth(tmp_path):
    """A font without instruments plays silence, of the right length and origin."""
    if shutil.which("fluidsynth") is None:
        pytest.skip("needs FluidSynth")
    _, content = random_phrase(np.random.default_rng(0))
    (tmp_path / "small.sf2").write_bytes(b"")
    font = Item("fonts/small.sf2", "fonts", "1", "MIT", "music", tmp_path / "small.sf2")
    score = Item("games/music/theme.mid", "games", "2", "CC0", "music", content)
    (item, *_) = SYNTHESISERS["midi"].make(0.0003, 0, [font], [score])
    assert (item.name, item.version) == ("midi/000001 games/theme.mid, small", "fonts 1, games 2")
    assert item.licence == "CC0, and MIT"


def test_a_synthesiser_that_fails_too_often():
    def start(rng, *_):
        def make():
            raise subprocess.CalledProcessError(1, "voice")

        return make

    with pytest.raises(RuntimeError, match="broken fails too often"):
        list(Synthesiser("broken", "speech", "CC0", start).make(0.01, 0, [], []))


@pytest.mark.parametrize("name", ["espeak-ng", "flite"])
def test_speech(name):
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    (item, *_) = SYNTHESISERS[name].make(0.0003, 0, [], [])
    assert item.kind == "speech"
    assert np.abs(item.audio).max() > 0.01
