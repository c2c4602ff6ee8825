"""Compare what is decoded of recordings by real encoders with what FFmpeg decodes, also after cuts at random bytes.

    python research/compare_decoders.py --output research/results/decoders.json

The files are those of `make_recordings.py`, made anew with a length of three seconds. The reference is the program
`ffmpeg`, which decodes the whole files without the fault. For each file, the table says what happens, by how much the
number of samples differs, and how much louder the sound is than the difference from the reference, once both are
aligned: the decoders of lossy formats differ in their delay. A cut file must be refused, or give what FFmpeg decodes of
the same bytes.
"""

import argparse
import io
import random
import re
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from make_recordings import Recording, make_recordings

from modeling_asm.audio.containers import find_parts
from modeling_asm.audio.files import AudioFileError, decode_blocks
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.report.tables import write_json


LOSSLESS = ("PCM", "float", "FLAC", "ALAC", "WavPack", "mu-law", "A-law", "IMA", "MS ADPCM")
DELAY = 3000  # samples by which a decoder may start earlier or later, for each file that was joined
FLOOR = 20.0  # decibels: the same sound, decoded in another way
ASSET_SECONDS, LARGEST_ASSET = 0.3, 32_000  # bytes of a file that the tests read


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="Length of the sound. Default: 3.")
    parser.add_argument("--cuts", type=int, default=20, help="Cuts of each file. Default: 20.")
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--output", type=Path, help="JSON file for the results.")
    goal.add_argument("--assets", type=Path, help="Folder for the files of the tests, instead of results.")
    args = parser.parse_args()
    if args.assets:
        write_assets(args.assets)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = []
        for recording in make_recordings(folder, args.seconds):
            row = compare(folder, recording) | compare_cuts(folder / recording.name, args.cuts, recording.endless)
            rows.append(row)
            print(recording.name, row["result"], row["cuts"], flush=True)
    wrong = [row["name"] for row in rows if not row["right"] or row["cuts"]["heard in part"]]
    results = {
        "command": "python research/compare_decoders.py",
        "seconds": args.seconds,
        "cuts": args.cuts,
        "encoders": versions(),
        "environment": describe_environment(),
        "files": rows,
    }
    write_json(results, args.output)
    print(f"{len(rows)} files; heard in part or otherwise wrong: {', '.join(wrong) or 'none'}")


def write_assets(folder: Path):
    """Make the files of the tests, with a list of what each is, its rate, and how many samples FFmpeg decodes."""
    with tempfile.TemporaryDirectory() as whole:
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for recording in make_recordings(Path(whole), ASSET_SECONDS):
            content = (Path(whole) / recording.name).read_bytes()
            if recording.fault not in ("", "written to a pipe") or len(content) > LARGEST_ASSET:
                continue
            (folder / recording.name).write_bytes(content)
            parts, _ = decode(content)
            rate = parts[0][1] if parts else None
            samples = len(decode_with_ffmpeg(content, rate)) if parts else None
            rows.append({"name": recording.name, "format": recording.format, "rate": rate, "samples": samples})
    write_json(rows, folder / "recordings.json")


def compare(folder: Path, recording: Recording) -> dict:
    """Return what happens to a file, and how that differs from the reference."""
    description = asdict(recording)
    content = (folder / recording.name).read_bytes()
    parts, error = decode(content)
    if error:
        reason = re.sub(r"^.*?(?:only: |: )", "", error).replace(" Copy or record it again.", "")
        return description | {"result": "refused", "reason": reason, "right": recording.refused}
    rates = [rate for _, rate in parts] if len(parts) == len(recording.holds) else [parts[0][1]] * len(recording.holds)
    reference = [decode_with_ffmpeg((folder / name).read_bytes(), rate) for name, rate in zip(recording.holds, rates)]
    expected, found = sum(map(len, reference)), sum(len(part) for part, _ in parts)
    levels = [level_of_difference(*pair) for pair in zip(match(parts, reference), reference)]
    exact = recording.format.startswith(LOSSLESS)
    tolerance = 0 if exact else DELAY * len(reference)
    right = abs(found - expected) <= tolerance and min(levels) >= FLOOR
    decoder = "PyAV" if any(part.foreign for part in find_parts(io.BytesIO(content))) else "libsndfile"
    return description | {
        "result": "read",
        "decoder": decoder,
        "samples": found,
        "difference": found - expected,
        "decibels": round(min(levels), 1),
        "right": bool(right),
    }


def decode(content: bytes) -> tuple[list[tuple[np.ndarray, int]], str | None]:
    """Return the sound of a file, in mono, divided where its rate changes, and the error at its end, if any."""
    parts: list[tuple[list, int]] = []
    error = None
    try:
        for block, rate in decode_blocks(io.BytesIO(content), "the file"):
            if not parts or parts[-1][1] != rate:
                parts.append(([], rate))
            parts[-1][0].append(block.mean(1))
    except AudioFileError as raised:
        error = str(raised)
    return [(np.concatenate(blocks), rate) for blocks, rate in parts], error


def decode_with_ffmpeg(content: bytes, rate: int) -> np.ndarray:
    """Return what FFmpeg decodes of a file, in mono, whatever it complains about.

    Args:
        content: The file.
        rate: Hertz, for Opus, which has a rate of 48 kHz or that of its source.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        command = ["ffmpeg", "-v", "error", "-nostdin", "-i", file.name, "-map", "0:a:0"]
        streams = subprocess.run(
            ["ffprobe", "-v", "error", "-show_entries", "stream=channels", "-of", "csv=p=0", file.name],
            capture_output=True,
            text=True,
        ).stdout.split()
        sound = subprocess.run([*command, "-ar", str(rate), "-f", "f32le", "-"], capture_output=True).stdout
    channels = int(streams[0].strip(",")) if streams else 1
    samples = np.frombuffer(sound[: len(sound) // 4 // channels * channels * 4], np.float32)
    return samples.reshape(-1, channels).mean(1)


def match(parts: list[tuple[np.ndarray, int]], reference: list[np.ndarray]) -> list[np.ndarray]:
    """Return what is decoded, divided like the reference."""
    if len(parts) == len(reference):
        return [part for part, _ in parts]
    whole = np.concatenate([part for part, _ in parts])
    places = np.cumsum([round(len(whole) * len(part) / sum(map(len, reference))) for part in reference])
    return np.split(whole, places[:-1])


def level_of_difference(sound: np.ndarray, reference: np.ndarray) -> float:
    """Return how many decibels the difference between two sounds is below them, at the best alignment; 200 if none."""
    size = 2 ** int(np.ceil(np.log2(len(sound) + len(reference) + 1)))
    correlation = np.fft.irfft(np.fft.rfft(reference, size) * np.conj(np.fft.rfft(sound, size)), size)
    lags = np.r_[np.arange(DELAY + 1), np.arange(size - DELAY, size)]
    lag = int(lags[correlation[lags].argmax()])
    lag -= size if lag > size // 2 else 0
    sound, reference = sound[max(-lag, 0) :], reference[max(lag, 0) :]
    length = min(len(sound), len(reference)) - DELAY
    start = min(DELAY, length // 2)
    error = np.square(sound[start:length] - reference[start:length]).mean()
    power = np.square(reference[start:length]).mean()
    return 200.0 if error < 1e-20 else float(10 * np.log10(power / error))


def compare_cuts(path: Path, cuts: int, endless: bool) -> dict:
    """Return how many cuts of a file are refused, read to their end, and heard in part without a word.

    Args:
        path: The file.
        cuts: How many to make.
        endless: Whether it does not announce its length. Then a cut may be read to its end, as FFmpeg does. A cut of
            another file must be refused, unless only what follows the sound is missing.
    """
    content, draw = path.read_bytes(), random.Random(path.name)
    counts, whole = {"refused": 0, "read": 0, "heard in part": 0}, sum(len(part) for part, _ in decode(content)[0])
    for _ in range(cuts):
        piece = content[: draw.randrange(len(content))]
        parts, error = decode(piece)
        if error or not parts:  # without samples, which is an error, too
            counts["refused"] += 1
            continue
        found = sum(len(part) for part, _ in parts)
        expected = len(decode_with_ffmpeg(piece, parts[-1][1])) - DELAY if endless else whole
        counts["read" if found >= expected else "heard in part"] += 1
    return {"cuts": counts}


def format_results(results: dict) -> str:
    """Return a Markdown table with a row for each file."""
    lines = ["| format | container | encoder | unusual | what happens | samples more | dB | cuts refused, read |"]
    lines.append("| --- " * 8 + "|")
    for row in results["files"]:
        if row["result"] == "read":
            difference, decibels = f"{row['difference']:+d}", "equal" if row["decibels"] == 200 else row["decibels"]
            happens = f"read with {row['decoder']}"
        else:
            difference = decibels = ""
            happens = f"refused: {row['reason'].rstrip('.')}"
        cuts = f"{row['cuts']['refused']}, {row['cuts']['read']}"
        cells = [row["format"], row["container"], row["encoder"], row["fault"], happens, difference, decibels, cuts]
        lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Return the version of each encoder, as it tells it."""
    names = ("wavpack", "lame", "sox", "flac", "oggenc", "opusenc", "speexenc")
    commands = {"ffmpeg": "-version", **dict.fromkeys(names, "--version")}
    outputs = {
        name: subprocess.run([name, option], capture_output=True, text=True) for name, option in commands.items()
    }
    found = {name: re.search(r"\d+\.\d+(\.\d+)*", run.stdout + run.stderr) for name, run in outputs.items()}
    return {name: match[0] for name, match in found.items() if match}


if __name__ == "__main__":
    main()
