"""The command `asm-stats`: measure mean and standard deviation of recordings, for a feature extractor.

    asm-stats recordings --output_dir features

prints both and writes a feature extractor with them: `ASMFeatureExtractor.from_pretrained("features")`. Files are read
in blocks. A file that cannot be read is reported on standard error, and the exit status is then 1, or 2 if nothing
could be measured.
"""

import argparse
import sys
from pathlib import Path

from tqdm.auto import tqdm

from ..audio.files import AudioFileError
from ..audio.listing import list_recordings
from ..audio.statistics import FeatureStatistics, measure_recording
from ..feature_extraction_asm import ASMFeatureExtractor
from ..training.run_folder import check_folder
from .console import one_line, quiet_decoder


@quiet_decoder()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    defaults = ASMFeatureExtractor()
    parser = argparse.ArgumentParser(
        prog="asm-stats",
        description="Measure mean and standard deviation of the log-mel energies of recordings.",
        epilog="Exit status: 0 on success, 1 if a file could not be read, 2 if nothing could be measured.",
    )
    parser.add_argument("recordings", nargs="+", help="Audio files, or folders of them.")
    parser.add_argument("--output_dir", help="Folder for a feature extractor with these statistics.")
    parser.add_argument(
        "--num_mel_bins", type=int, default=defaults.num_mel_bins, help="Number of mel bins (default: %(default)s)."
    )
    parser.add_argument(
        "--sampling_rate", type=int, default=defaults.sampling_rate, help="In hertz (default: %(default)s)."
    )
    parser.add_argument(
        "--max_length",
        type=int,
        default=defaults.max_length,
        help="Length of the model's window, in frames (default: %(default)s).",
    )
    parser.add_argument("--channel", type=int, help="Channel of each file, from 0 (default: the mean of all).")
    args = parser.parse_args(arguments)
    try:
        if args.output_dir:
            check_folder(args.output_dir)
        fields = {name: getattr(args, name) for name in ("num_mel_bins", "sampling_rate", "max_length")}
        extractor, statistics, failures = ASMFeatureExtractor(**fields, do_normalize=False), FeatureStatistics(), 0
        files = list_files(args.recordings)
        for file in tqdm(files, unit="file", disable=len(files) == 1 or not sys.stderr.isatty()):
            try:
                measure_recording(file, extractor, statistics, args.channel)
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


def list_files(names: list[str]) -> list[str]:
    """Return the named files, and the recordings in the named folders, and say what is left out of these."""
    files = []
    for name in names:
        if Path(name).is_dir():
            listing = list_recordings(Path(name))
            print(f"{name}: {listing.describe(Path(name))}", file=sys.stderr)
            files += map(str, listing.files)
        else:
            files.append(name)
    return files


if __name__ == "__main__":
    sys.exit(main())
