"""Mean and standard deviation of one's own recordings, for the feature extractor; and the command `asm-stats`.

    asm-stats recordings --output_dir features

prints both, and writes a feature extractor that has them: `ASMFeatureExtractor.from_pretrained("features")`. Files are
read in blocks. One that cannot be read is named, and the exit status is then 1 (2 where nothing could be measured).
"""

import argparse
import math
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm.auto import tqdm

from .audio import AudioFileError
from .commands import one_line, quiet_decoder
from .feature_extraction_asm import ASMFeatureExtractor
from .sources import open_audio
from .windows import FrameStream


ENDINGS = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".oga", ".opus"}
ENDINGS -= {".raw"}  # headerless


class FeatureStatistics:
    """Mean and standard deviation of all values of the frames that were added, in double precision."""

    def __init__(self):
        self.count, self.total, self.squares = 0, 0.0, 0.0

    def add(self, frames: torch.Tensor):
        """Add log-mel energies of any shape."""
        frames = frames.double()
        self.count += frames.numel()
        self.total += frames.sum().item()
        self.squares += frames.square().sum().item()

    def result(self) -> tuple[float, float]:
        """Return mean and standard deviation.

        Raises:
            ValueError: If there were no frames, or all are digital silence.
        """
        if self.count == 0:
            raise ValueError("There is no recording to measure.")
        mean = self.total / self.count
        std = math.sqrt(max(self.squares / self.count - mean**2, 0.0))
        if std == 0:
            raise ValueError("All clips are digital silence: nothing can be learnt from them.")
        return mean, std


def measure_recording(source, feature_extractor: ASMFeatureExtractor, statistics: FeatureStatistics):
    """Add the frames of a whole recording, as [`open_audio`] takes it; with zeros behind one shorter than a frame.

    Args:
        source: The recording.
        feature_extractor: Without normalisation; its rate, frames and mel bins.
        statistics: What the frames are added to; nothing, if the recording cannot be read to its end.
    """
    frames, own = FrameStream(feature_extractor), FeatureStatistics()
    for block in open_audio(source, feature_extractor.sampling_rate):
        own.add(frames.push(torch.from_numpy(np.ascontiguousarray(block))))
    if own.count == 0:
        own.add(frames.push(torch.zeros(frames.window - len(frames.samples))))
    statistics.count += own.count
    statistics.total += own.total
    statistics.squares += own.squares


def list_files(names: Iterable[str]) -> list[str]:
    """Return files as they are, and of folders what is named like audio, at any depth."""
    files = []
    for name in names:
        if Path(name).is_dir():
            inside = sorted(file for file in Path(name).rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
            files += map(str, inside)
        else:
            files.append(name)
    return files


@quiet_decoder()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    defaults = ASMFeatureExtractor()
    parser = argparse.ArgumentParser(prog="asm-stats", description="Measure mean and deviation of recordings.")
    parser.add_argument("recordings", nargs="+", help="Audio files, or folders of them.")
    parser.add_argument("--output_dir", help="Where to write a feature extractor with them.")
    parser.add_argument("--num_mel_bins", type=int, default=defaults.num_mel_bins, help="Number of mel bins.")
    parser.add_argument("--sampling_rate", type=int, default=defaults.sampling_rate, help="In hertz.")
    parser.add_argument("--max_length", type=int, default=defaults.max_length, help="Frames of the model's window.")
    args = parser.parse_args(arguments)
    try:
        fields = {name: getattr(args, name) for name in ("num_mel_bins", "sampling_rate", "max_length")}
        extractor, statistics, failures = ASMFeatureExtractor(**fields, do_normalize=False), FeatureStatistics(), 0
        files = list_files(args.recordings)
        for file in tqdm(files, unit="file", disable=len(files) == 1 or not sys.stderr.isatty()):
            try:
                measure_recording(file, extractor, statistics)
            except AudioFileError as error:
                print(f"asm-stats: {one_line(error)}", file=sys.stderr)
                failures += 1
        mean, std = statistics.result()
        print(f"mean {mean:.7f}\nstd {std:.7f}\nframes {statistics.count // args.num_mel_bins}")
        if args.output_dir:
            ASMFeatureExtractor(**fields, mean=mean, std=std).save_pretrained(args.output_dir)
    except (OSError, ValueError) as error:
        print(f"asm-stats: {one_line(error)}", file=sys.stderr)
        return 2
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
