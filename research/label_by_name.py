"""Classify ESC-50 without any training on it: by AudioSet's names of its classes, with an encoder and with its teacher.

    python research/label_by_name.py --data_dir environmental_sounds \
        --models checkpoints/asm-small-general checkpoints/asm-mini-general \
        --teacher mn04_as.safetensors --labels audioset_labels.csv --output research/results/esc50_by_name.json

The score of a class is the highest score of the labels that mean it, over the windows of a clip. The names were matched
by their meaning, without a look at any score.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soxr
import torch
from safetensors.torch import load_file
from scipy import stats
from tqdm.auto import tqdm

from modeling_asm.audio import load_audio
from modeling_asm.loading import load_pipeline
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.report.tables import write_json
from modeling_asm.training.teachers.efficientat import SAMPLING_RATE, EfficientAT
from modeling_asm.training.teachers.load import read_labels


RATE = 16000
NAMES = {
    "airplane": ("Fixed-wing aircraft, airplane", "Aircraft", "Aircraft engine", "Jet engine"),
    "breathing": ("Breathing", "Gasp", "Pant"),
    "brushing_teeth": ("Toothbrush", "Electric toothbrush"),
    "can_opening": ("Burst, pop", "Crushing", "Hiss"),
    "car_horn": ("Vehicle horn, car horn, honking", "Toot"),
    "cat": ("Cat", "Meow", "Purr", "Caterwaul"),
    "chainsaw": ("Chainsaw",),
    "chirping_birds": ("Bird", "Bird vocalization, bird call, bird song", "Chirp, tweet"),
    "church_bells": ("Church bell", "Change ringing (campanology)", "Bell"),
    "clapping": ("Clapping", "Applause"),
    "clock_alarm": ("Alarm clock", "Beep, bleep", "Alarm"),
    "clock_tick": ("Tick-tock", "Tick", "Clock"),
    "coughing": ("Cough", "Throat clearing"),
    "cow": ("Moo", "Cattle, bovinae"),
    "crackling_fire": ("Fire", "Crackle"),
    "crickets": ("Cricket",),
    "crow": ("Crow", "Caw"),
    "crying_baby": ("Baby cry, infant cry", "Crying, sobbing"),
    "dog": ("Dog", "Bark", "Bow-wow", "Yip"),
    "door_wood_creaks": ("Creak", "Squeak"),
    "door_wood_knock": ("Knock",),
    "drinking_sipping": ("Gargling", "Gurgling", "Liquid"),
    "engine": ("Engine", "Idling", "Medium engine (mid frequency)", "Heavy engine (low frequency)"),
    "fireworks": ("Fireworks", "Firecracker"),
    "footsteps": ("Walk, footsteps", "Run"),
    "frog": ("Frog", "Croak"),
    "glass_breaking": ("Shatter", "Glass", "Breaking"),
    "hand_saw": ("Sawing", "Filing (rasp)"),
    "helicopter": ("Helicopter",),
    "hen": ("Cluck", "Fowl", "Chicken, rooster"),
    "insects": ("Fly, housefly", "Bee, wasp, etc.", "Mosquito", "Buzz"),
    "keyboard_typing": ("Computer keyboard", "Typing"),
    "laughing": ("Laughter", "Giggle", "Belly laugh", "Chuckle, chortle"),
    "mouse_click": ("Clicking",),
    "pig": ("Pig", "Oink"),
    "pouring_water": ("Pour", "Fill (with liquid)"),
    "rain": ("Rain", "Rain on surface", "Raindrop"),
    "rooster": ("Crowing, cock-a-doodle-doo",),
    "sea_waves": ("Waves, surf", "Ocean"),
    "sheep": ("Sheep", "Bleat"),
    "siren": ("Siren", "Civil defense siren", "Police car (siren)"),
    "sneezing": ("Sneeze",),
    "snoring": ("Snoring", "Snort"),
    "thunderstorm": ("Thunder", "Thunderstorm"),
    "toilet_flush": ("Toilet flush",),
    "train": ("Train", "Rail transport", "Train horn", "Train whistle", "Railroad car, train wagon"),
    "vacuum_cleaner": ("Vacuum cleaner",),
    "washing_machine": ("Mechanical fan", "Sewing machine", "Mechanisms"),
    "water_drops": ("Drip", "Plop"),
    "wind": ("Wind", "Wind noise (microphone)"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="Folder of ESC-50.")
    parser.add_argument("--models", nargs="+", required=True, help="Checkpoints of general encoders.")
    parser.add_argument("--teacher", required=True, help="Weights of mn04 (safetensors).")
    parser.add_argument("--labels", required=True, help="AudioSet's class_labels_indices.csv.")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()

    (clips,) = load_audio_dataset(DataArguments(args.data_dir)).values()
    classes = clips.features["label"].names
    labels = np.array(clips["label"][:])
    results = {
        "command": "python research/label_by_name.py --models " + " ".join(Path(name).name for name in args.models),
        "clips": len(labels),
        "environment": describe_environment(),
        "accuracy": {},
    }
    loaders = {Path(name).name: partial(encoder, name) for name in args.models}
    loaders["mn04"] = partial(teacher, args.teacher, args.labels)
    for name, load in loaders.items():
        score, names = load()
        if missing := sorted({label for row in classes for label in NAMES[row]} - set(names)):
            raise SystemExit(f"{name} has no label {missing[0]!r}: it does not have AudioSet's labels.")
        scores = np.stack([score(load_audio(audio["path"], RATE)) for audio in tqdm(clips["audio"], desc=name)])
        by_class = np.stack([scores[:, [names.index(label) for label in NAMES[row]]].max(1) for row in classes], 1)
        right = by_class.argmax(1) == labels
        low, high = stats.binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
        results["accuracy"][name] = {
            "accuracy": round(float(right.mean()), 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "classes": {row: round(float(right[labels == index].mean()), 3) for index, row in enumerate(classes)},
        }
        print(name, results["accuracy"][name], flush=True)
    write_json(results, args.output)


def encoder(checkpoint: str) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """Return what scores a waveform at 16 kHz with a checkpoint, and the names of the labels."""
    pipeline = load_pipeline(checkpoint)
    pipeline.model.config.window_aggregation = "max"
    names = [pipeline.model.config.id2label[index] for index in range(pipeline.model.config.num_labels)]

    @torch.inference_mode()
    def score(waveform: np.ndarray) -> np.ndarray:
        inputs = pipeline.feature_extractor(waveform, sampling_rate=RATE, return_tensors="pt")
        return pipeline.model(**inputs).logits[0].numpy()

    return score, names


def teacher(weights: str, labels: str) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """Return what scores a waveform at 16 kHz with mn04, as a whole, and the names of the labels."""
    network = EfficientAT().eval()
    network.load_state_dict(load_file(weights))

    @torch.inference_mode()
    def score(waveform: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(soxr.resample(waveform, RATE, SAMPLING_RATE))[None])[0][0].numpy()

    return score, list(read_labels(labels).values())


if __name__ == "__main__":
    main()
