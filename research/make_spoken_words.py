"""Generate a small labelled data set offline: ten words, spoken by the voices of eSpeak NG.

    python research/make_spoken_words.py --output_dir spoken_words

The words vary in voice, accent, pitch and rate, and no voice is in both `train` and `test`. The audio is 22.05 kHz
mono, synthesised by the package `espeakng-loader` (`pip install "modeling_asm[examples]"`).
"""

import argparse
import csv
import ctypes
import random
from pathlib import Path

import espeakng_loader
import numpy as np
import soundfile
from tqdm.auto import tqdm


WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029")
TRAIN_VOICES = (
    *("Alex", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mario"),
    *("Michael", "Nguyen", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david"),
    *("ed", "edward", "f1", "f2", "f3", "grandma", "ian", "iven", "john", "kaukovalta", "linda", "m1", "m2", "m3"),
    *("m4", "m5", "m8", "marcelo", "max", "miguel", "norbert", "pablo", "pedro", "quincy", "rob", "sandro"),
    *("shelby", "steph", "zac"),
)
TEST_VOICES = (
    *("Alicia", "Andrea", "Mike", "Tweaky", "f4", "f5", "gustave", "m6", "m7", "michel", "paul", "robert", "travis"),
)

# From espeak-ng's public header, speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
CHARACTERS_UTF8 = 1
POSITION_CHARACTER = 1
RATE, PITCH, RANGE = 1, 3, 4
SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """eSpeak NG as a function from words to samples."""

    def __init__(self):
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self.sampling_rate = self.library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, 0)
        if self.sampling_rate <= 0:
            raise RuntimeError(f"eSpeak NG does not start with the data in {data_path.decode()!r}.")
        self.chunks = []
        self.callback = SYNTH_CALLBACK(self.collect)  # kept here, or it would be freed while the library holds it
        self.library.espeak_SetSynthCallback(self.callback)

    def collect(self, samples, num_samples: int, events) -> int:
        if samples and num_samples > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        return 0

    def say(self, word: str, voice: str, rate: int, pitch: int) -> np.ndarray:
        """Speak a word: int16 samples, at `rate` words a minute and a pitch of 0 to 100."""
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}.")
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, 50)):
            self.library.espeak_SetParameter(parameter, value, 0)
        self.chunks.clear()
        text = word.encode()
        self.library.espeak_Synth(text, len(text) + 1, 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None)
        return np.concatenate(self.chunks)


def make_split(speaker: Speaker, folder: Path, voices: tuple[str, ...], clips_per_word: int, rng: random.Random):
    """Write a split: WAV files, and `metadata.csv` with file name, word, voice and accent."""
    folder.mkdir(parents=True)
    rows = []
    for word in tqdm(WORDS, desc=f"Speaking {folder.name}", unit="word"):
        for index in range(clips_per_word):
            voice, accent = voices[index % len(voices)], rng.choice(ACCENTS)
            samples = speaker.say(word, f"{accent}+{voice}", rate=rng.randint(120, 220), pitch=rng.randint(20, 80))
            name = f"{word}_{index:03d}.wav"
            soundfile.write(folder / name, samples, speaker.sampling_rate)
            rows.append((name, word, voice, accent))
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file_name", "label", "voice", "accent"), *rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", required=True, help="Folder to make; it must not be there yet.")
    parser.add_argument("--clips_per_word", type=int, default=156, help="Training clips a word; a third for the test.")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    folder, rng, speaker = Path(args.output_dir), random.Random(args.seed), Speaker()
    make_split(speaker, folder / "train", TRAIN_VOICES, args.clips_per_word, rng)
    make_split(speaker, folder / "test", TEST_VOICES, args.clips_per_word // 3, rng)


if __name__ == "__main__":
    main()
