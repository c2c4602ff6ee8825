"""Measure how much memory the commands need beyond the model, for recordings of different lengths and numbers.

    python research/benchmark_memory.py --output research/results/memory.json

It makes recordings of noise, in two classes, and runs each command on them in a process of its own, while the memory of
that process and its children is sampled. Pages of files, which the system can drop at any time, do not count: the cache
of decoded clips is such a file. The first set of clips shows what a command needs by itself.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import soundfile
from datasets import Dataset

from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.arguments import describe_command
from modeling_asm.training.report.tables import format_table, write_json


RATE = 16000
SAVED = "saved "
# Name, format, number of recordings, seconds of each, channels. The first is the baseline. A data set that was saved
# with the files in it is no folder, which asm-stats needs.
SETS = [
    ("8 of 1 second, WAV", "WAV", 8, 1, 1),
    ("10,000 of 1 second, WAV", "WAV", 10_000, 1, 1),
    ("24 of 10 minutes, stereo WAV", "WAV", 24, 600, 2),
    ("the same in a saved data set", "saved WAV", 24, 600, 2),
    ("24 of 10 minutes, MP3", "MP3", 24, 600, 1),
    ("4 of 3 hours, WAV", "WAV", 4, 3 * 3600, 1),
    ("4 of 3 hours, FLAC", "FLAC", 4, 3 * 3600, 1),
]
TRAIN = "--size tiny --max_steps 30 --per_device_train_batch_size 8 --test_fraction 0.4 --dev_fraction 0 --resamples 0"
COMMANDS = {
    "asm-stats": "modeling_asm.commands.stats {clips}",
    "asm-train": "modeling_asm.commands.train --data_dir {clips} --output_dir {out}/model {train}",
    "asm-train, nothing kept": "modeling_asm.commands.train --data_dir {clips} --output_dir {out}/anew {train} "
    "--keep_audio False",
    "asm-predict": "modeling_asm.commands.predict --data_dir {clips} --model {model} --output_dir {out}/scores",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write.")
    parser.add_argument("--sets", type=int, default=len(SETS), help="Number of sets to measure (default: all).")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, own = Path(name), {}
        for number, (title, kind, *size) in enumerate(SETS[: args.sets]):
            clips = folder / f"clips{number}"
            make_clips(clips, kind, *size)
            out = folder / f"out{number}"
            places = {"clips": clips, "out": out, "model": folder / "out0" / "model", "train": TRAIN}
            for command, template in COMMANDS.items():
                if kind.startswith(SAVED) and command == "asm-stats":
                    continue
                megabytes = measure(template.format(**places).split(), folder / "cache")
                own.setdefault(command, megabytes)
                rows.append({"clips": title, "command": command, "megabytes": round(megabytes - own[command])})
                print(title, command, rows[-1]["megabytes"], flush=True)
            shutil.rmtree(clips)
    results = {
        "command": describe_command("python research/benchmark_memory.py", sys.argv[1:]),
        "alone": {command: round(megabytes) for command, megabytes in own.items()},
        "memory": rows,
        "environment": describe_environment(),
    }
    write_json(results, args.output)
    print(format_table([("clips", "command", "MB"), *(tuple(row.values()) for row in rows)]))


def format_results(results: dict) -> str:
    """Return a Markdown table: megabytes for each set of clips and command."""
    commands = list(results["alone"])
    lines = ["| clips | " + " | ".join(f"`{command}`" for command in commands) + " |"]
    lines.append("| --- " * (len(commands) + 1) + "|")
    for clips in dict.fromkeys(row["clips"] for row in results["memory"]):
        values = {row["command"]: row["megabytes"] for row in results["memory"] if row["clips"] == clips}
        lines.append(f"| {clips} | " + " | ".join(str(values.get(command, "-")) for command in commands) + " |")
    return "\n".join(lines)


def make_clips(folder: Path, kind: str, number: int, seconds: int, channels: int):
    """Write noise, half of it louder, into two folders; long recordings in pieces. Or save them as a data set."""
    if kind.startswith(SAVED):
        with tempfile.TemporaryDirectory() as name:
            make_clips(Path(name), kind.removeprefix(SAVED), number, seconds, channels)
            rows = partial(read_rows, Path(name))
            Dataset.from_generator(rows, writer_batch_size=1, cache_dir=name).save_to_disk(str(folder))
        return
    rng = np.random.default_rng(0)
    for index in range(number):
        path = folder / ("loud" if index % 2 else "quiet") / f"{index}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with soundfile.SoundFile(path, "w", RATE, channels, format=kind) as file:
            for start in range(0, seconds, 60):
                size = (min(seconds - start, 60) * RATE, channels)
                file.write(rng.uniform(-0.1, 0.1, size) * (1 + 4 * (index % 2)))


def read_rows(folder: Path) -> Iterator[dict]:
    """Yield the clips of folders of classes, with the content of their files."""
    for path in sorted(folder.glob("*/*.*")):
        yield {"audio": {"path": path.name, "bytes": path.read_bytes()}, "label": path.parent.name}


def measure(arguments: list[str], cache: Path) -> float:
    """Run a module, and return the most memory that it and its children had at once, in megabytes."""
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )
    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, memory_of(process.pid))
        threading.Event().wait(0.1)
    reader.join()
    if process.returncode != 0:
        raise RuntimeError(f"{arguments[0]} failed: {errors[0].decode()[-2000:]}")
    return peak


def memory_of(pid: int) -> float:
    """Return the memory of a process and its children without that of files, in megabytes."""
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for member in family:
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem")))
    return total / 1024


if __name__ == "__main__":
    main()
