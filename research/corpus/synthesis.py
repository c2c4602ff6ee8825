"""Synthetic sound for the corpus: speech by eSpeak NG and Flite, music and instruments by FluidSynth, and textures.

Everything follows from the seed, but not from the version of the synthesiser, which is that of the machine.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from items import Item
from midi import random_drums, random_phrase
from scipy import signal

from modeling_asm.audio import load_audio
from modeling_asm.training.distillation.pool import POOL_RATE


ONSETS = "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl sk sp st tr ch sh th".split()  # noqa: SIM905
NUCLEI, CODAS = "a e i o u ai ee oo ou ia".split(), " n r s l t m k nd st".split(" ")  # noqa: SIM905
ENGLISH = """
dog cat bird horse house tree river mountain water fire happy sad open close left right stop start hello music door
window number seven zero nine apple banana coffee yellow purple orange computer telephone morning evening please thank
because through people nothing something always never under over again child mother father friend play turn light
kitchen weather today tomorrow station garden winter summer question answer visual learn follow
""".split()  # noqa: SIM905
FLITE_VOICES = ("kal16", "awb", "rms", "slt")
SECONDS = 30.0  # the longest piece of music
MOST_FAILURES = 0.1  # of the recordings that were made
LOAD_LESS = "synth.dynamic-sample-loading=1"  # only the samples of the instruments that play


def find_program(name: str) -> str:
    """Return the path of a program.

    Raises:
        FileNotFoundError: If it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"`{name}` is not installed. On Debian: apt-get install --no-install-recommends {name}")
    return path


def run_program(command: list[str], output: Path) -> np.ndarray:
    """Run a program that writes a WAV file; return its waveform at 32 kHz."""
    subprocess.run(command, check=True, capture_output=True)
    return load_audio(output, POOL_RATE)


def random_text(rng: np.random.Generator) -> str:
    """Return a few syllables, or a number, which each language reads in its own words."""
    if rng.random() < 0.35:
        return " ".join(str(rng.integers(0, 10 ** rng.integers(1, 5))) for _ in range(rng.integers(1, 5)))
    words = (
        "".join(rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS) for _ in range(rng.integers(1, 4)))
        for _ in range(rng.integers(1, 7))
    )
    return " ".join(words)


def espeak_voices(program: str) -> tuple[list[str], list[str]]:
    """Return the languages that this eSpeak NG speaks, not all that it lists, and its variants of a voice."""
    table = {
        kind: subprocess.run([program, f"--voices{kind}"], check=True, capture_output=True, text=True).stdout
        for kind in ("", "=variant")
    }
    languages = [line.split()[1] for line in table[""].splitlines()[1:]]
    tries = {name: subprocess.run([program, "-q", "-v", name, "1"], check=False) for name in languages}
    languages = [name for name in languages if tries[name].returncode == 0]
    return languages, [line.split()[4].removeprefix("!v/") for line in table["=variant"].splitlines()[1:]]


def speak(rng: np.random.Generator, folder: Path) -> Callable[[], tuple[str, np.ndarray]]:
    """Speech by eSpeak NG, in all its languages and voices."""
    program, output = find_program("espeak-ng"), folder / "speech.wav"
    languages, variants = espeak_voices(program)

    def make() -> tuple[str, np.ndarray]:
        voice = f"{rng.choice(languages)}+{rng.choice(variants)}"
        options = ["-s", str(rng.integers(110, 230)), "-p", str(rng.integers(10, 90)), "-w", str(output)]
        return voice, run_program([program, "-v", voice, *options, "--", random_text(rng)], output)

    return make


def speak_english(rng: np.random.Generator, folder: Path) -> Callable[[], tuple[str, np.ndarray]]:
    """English speech by Flite, from recorded voices."""
    program, output = find_program("flite"), folder / "speech.wav"

    def make() -> tuple[str, np.ndarray]:
        voice, count = str(rng.choice(FLITE_VOICES)), rng.integers(1, 9)
        settings = [f"duration_stretch={rng.uniform(0.75, 1.4):.2f}", f"int_f0_target_mean={rng.integers(80, 220)}"]
        options = [option for setting in settings for option in ("--setf", setting)]
        text = " ".join(rng.choice(ENGLISH, count))
        return voice, run_program([program, "-voice", voice, *options, "-t", text, "-o", str(output)], output)

    return make


def play(rng: np.random.Generator, folder: Path, fonts: list[Item], write: Callable) -> Callable:
    """Music by FluidSynth: what `write` composes, on the sound fonts.

    What it returns makes a description, a waveform, and the font and score that they were made of.
    """
    program, output, score = find_program("fluidsynth"), folder / "music.wav", folder / "music.mid"
    if not fonts:
        raise FileNotFoundError("There is no sound font: keep the packages of sound fonts in the list.")

    def make() -> tuple:
        font, (name, content, *score_files) = fonts[rng.integers(len(fonts))], write(rng)
        score.write_bytes(content)
        options = ["-ni", "-q", "-r", str(POOL_RATE), "-g", "0.5", "-o", LOAD_LESS, "-F", str(output)]
        waveform = run_program([program, *options, str(font.audio), str(score)], output)
        start = rng.integers(0, max(1, len(waveform) - round(SECONDS * POOL_RATE)))
        part = waveform[start : start + round(SECONDS * POOL_RATE)]
        return f"{name}, {font.audio.stem}", part, font, *score_files

    return make


def make_texture(rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Noise of a colour, in a band, in bursts; chirps; hum; clicks; or tones."""
    size = round(POOL_RATE * rng.uniform(3, 10))
    time, kind = (
        np.arange(size) / POOL_RATE,
        rng.choice(["noise", "band", "bursts", "chirps", "hum", "clicks", "tones"]),
    )
    if kind == "hum":
        base = rng.uniform(40, 400)
        wave = sum(rng.random() / n * np.sin(2 * np.pi * base * n * time + rng.uniform(0, 6)) for n in range(1, 20))
    elif kind == "chirps":
        rate, low, high = rng.uniform(0.5, 8), *np.sort(rng.uniform(100, 8000, 2))
        wave = np.sin(2 * np.pi * np.cumsum(low + (high - low) * (time * rate % 1)) / POOL_RATE)
    elif kind == "tones":
        wave = sum(
            np.sin(2 * np.pi * f * time) * (rng.random() > 0.3) for f in rng.uniform(80, 6000, rng.integers(1, 5))
        )
        wave = wave * (np.sin(2 * np.pi * rng.uniform(0.3, 12) * time) > rng.uniform(-1, 0.5))
    elif kind == "clicks":
        wave = np.zeros(size)
        wave[rng.integers(0, size, max(1, round(rng.uniform(1, 60) * size / POOL_RATE)))] = rng.uniform(0.3, 1)
        wave = signal.lfilter([1], [1, -rng.uniform(0.3, 0.97)], wave)
    else:
        spectrum = np.fft.rfft(rng.standard_normal(size))
        spectrum[1:] /= np.arange(1, len(spectrum)) ** rng.uniform(0, 1)
        if kind == "band":
            low, high = np.sort(rng.uniform(0, 1, 2)) * len(spectrum)
            spectrum[: int(low)] = spectrum[int(high) + 1 :] = 0
        wave = np.fft.irfft(spectrum, size)
        if kind == "bursts":
            wave = wave * np.clip(np.sin(2 * np.pi * rng.uniform(0.3, 10) * time), 0, None) ** rng.uniform(0.5, 8)
    return str(kind), (0.5 * wave / max(np.abs(wave).max(), 1e-9)).astype(np.float32)


class Synthesiser:
    """Makes hours of one kind of synthetic sound.

    Args:
        name: Its name, on the command line and in the corpus.
        kind: Kind of its recordings.
        licence: Licence of the result, unless it is made of files that have their own.
        start: A function of a random generator, a folder, the sound fonts and the scores that returns a function,
            which makes the description of a recording, the recording, and the files that it was made of.
    """

    def __init__(self, name: str, kind: str, licence: str, start: Callable):
        self.name, self.kind, self.licence, self.start = name, kind, licence, start

    def make(self, hours: float, seed: int, fonts: list[Item], scores: list[Item]) -> Iterator[Item]:
        """Yield recordings until they have so many hours."""
        rng, seconds = np.random.default_rng([seed, *self.name.encode()]), 0.0
        with tempfile.TemporaryDirectory() as folder:
            make, number, failures = self.start(rng, Path(folder), fonts, scores), 0, 0
            while seconds < 3600 * hours:
                try:
                    description, waveform, *used = make()
                except subprocess.CalledProcessError as error:  # some voices of eSpeak NG crash on some numbers
                    failures += 1
                    if failures > MOST_FAILURES * (number + 10):
                        raise RuntimeError(f"{self.name} fails too often: {error}") from error
                    continue
                number, seconds = number + 1, seconds + len(waveform) / POOL_RATE
                name = f"{self.name}/{number:06d} {description}"
                version = ", ".join(f"{item.source} {item.version}" for item in used)
                licence = ", and ".join(sorted({item.licence for item in used})) or self.licence
                yield Item(name, self.name, version, licence, self.kind, waveform)


def start_scores(rng: np.random.Generator, folder: Path, fonts: list[Item], scores: list[Item]) -> Callable:
    """Music by FluidSynth from MIDI files."""
    if not scores:
        raise FileNotFoundError("There is no MIDI file: keep the packages of MIDI files in the list.")

    def choose(rng: np.random.Generator) -> tuple[str, bytes, Item]:
        score = scores[rng.integers(len(scores))]
        return f"{score.source}/{Path(score.name).name}", score.audio, score

    return play(rng, folder, fonts, choose)


SYNTHESISERS = {
    synthesiser.name: synthesiser
    for synthesiser in (
        Synthesiser("espeak-ng", "speech", "GPL-3+", lambda rng, folder, *_: speak(rng, folder)),
        Synthesiser("flite", "speech", "BSD-like", lambda rng, folder, *_: speak_english(rng, folder)),
        Synthesiser("midi", "music", "", start_scores),
        Synthesiser(
            "phrases", "instruments", "", lambda rng, folder, fonts, _: play(rng, folder, fonts, random_phrase)
        ),
        Synthesiser("drums", "instruments", "", lambda rng, folder, fonts, _: play(rng, folder, fonts, random_drums)),
        Synthesiser("textures", "textures", "CC0", lambda rng, *_: lambda: make_texture(rng)),
    )
}
