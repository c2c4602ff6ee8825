"""Make a corpus of unlabelled audio from Debian packages, folders, data sets on the Hub and synthesisers.

    python research/corpus/make_corpus.py --output_dir corpus --debs debs --never esc50 urbansound8k

Needs `pip install python-debian`, and Debian or its tools for `apt-get download`; without them, `--debs` may hold the
files. A run that was interrupted continues. What is left out is in `left_out.jsonl`, with the reason.
"""

import argparse
import hashlib
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Container, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from fingerprints import LEAST, FingerprintIndex
from items import Item, Prepared, prepare
from licences import is_allowed
from packages import FONTS, SCORES, Package, PackageError, fetch, read_package, read_packages
from sources import name_of, read_folder, read_hub
from synthesis import SYNTHESISERS
from tqdm.auto import tqdm

from modeling_asm.audio.listing import list_recordings
from modeling_asm.training.distillation.pool import (
    BEGUN_FILE,
    FINISHED_FILE,
    LEFT_OUT_FILE,
    PoolWriter,
    append_line,
    drop_partial_line,
    hours_by_kind,
    read_lines,
    read_recordings,
)


PACKAGES = Path(__file__).with_name("packages.yaml")
NEVER_SECONDS = 3600.0  # of a recording that the corpus must not have: it may be in it from anywhere on


class Preparer:
    """Decodes and fingerprints recordings in other processes, a bounded number ahead, in their order."""

    def __init__(self, executor: ProcessPoolExecutor, max_seconds: float, ahead: int):
        self.executor, self.max_seconds, self.ahead = executor, max_seconds, ahead

    def __call__(self, items: Iterator[Item]) -> Iterator[tuple[Item, Prepared]]:
        waiting: deque[tuple[Item, Future]] = deque()
        for item in items:
            waiting.append((item, self.executor.submit(prepare, item, self.max_seconds)))
            if len(waiting) > self.ahead:
                item, future = waiting.popleft()
                yield item, future.result()
        for item, future in waiting:
            yield item, future.result()


def find_items(args: argparse.Namespace, done: Container[str], never: bool) -> Iterator[tuple[str, Iterator[Item]]]:
    """Yield the sources that are not done, each with its recordings; or those of which there must be nothing."""
    packages = read_packages(args.packages) if args.packages else []
    for package in packages:
        wanted = package.never == never and package.kind not in ("font", "score") and package.name not in done
        if wanted and (path := fetch(package, Path(args.debs)) if never else fetch_or_warn(package, args.debs)):
            yield package.name, read_package(package, path)
    for folder in args.never if never else []:
        yield folder, read_folder(folder, "", "")
    if never:
        return
    for kind, licence, folder in args.folder:
        if folder not in done:
            yield folder, read_folder(folder, kind, licence)
    for kind, licence, name in args.hub:
        if name not in done:
            yield name, read_hub(name, kind, licence, args.clips_per_hub_set)
    missing = [(name, float(hours)) for name, hours in args.synthesise if name not in done]
    fonts, scores = read_instruments(packages, args) if missing else ([], [])
    for name, hours in missing:
        yield name, SYNTHESISERS[name].make(hours, args.seed, fonts, scores)


def fetch_or_warn(package: Package, folder: str) -> Path | None:
    """Fetch a package; if that is impossible, say so and go on with the others."""
    try:
        return fetch(package, Path(folder))
    except PackageError as error:
        tqdm.write(str(error))
        return None


def read_instruments(packages: list[Package], args: argparse.Namespace) -> tuple[list[Item], list[Item]]:
    """Return the sound fonts, written beside their packages, and the scores, if their licences allow it."""
    fonts, scores = [], []
    for package in packages:
        if package.kind in ("font", "score") and (path := fetch_or_warn(package, args.debs)):
            for item in read_package(package, path, FONTS + SCORES):
                if item.reason:
                    tqdm.write(f"{item.name} is left out: {item.reason}.")
                elif package.kind == "score":
                    scores.append(item)
                else:
                    font = Path(args.debs) / Path(item.name).name
                    font.write_bytes(item.audio)
                    fonts.append(replace(item, audio=font))
    return fonts, scores


def digest_never(args: argparse.Namespace) -> str:
    """Return a digest of what the corpus must not have anything like: packages and folders."""
    packages = read_packages(args.packages) if args.packages else []
    names = [package.sha256 for package in packages if package.never] + [digest_folder(name) for name in args.never]
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def digest_folder(folder: str) -> str:
    """Return a digest of the names and sizes of the recordings in a folder."""
    files = list_recordings(Path(folder)).files if Path(folder).is_dir() else []
    names = [f"{name_of(folder)}/{file.relative_to(folder)} {file.stat().st_size}" for file in files]
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def describe_sources(args: argparse.Namespace) -> dict[str, str]:
    """Return what is asked of each source, by its name in the arguments.

    Raises:
        ValueError: If two sources, or two folders of what must not be there, have one name, or there is no such folder.
    """
    for folder in [*(row[2] for row in args.folder), *args.never]:
        if not Path(folder).is_dir():
            raise ValueError(f"{folder!r} is not a folder.")
    packages = read_packages(args.packages) if args.packages else []
    asked = [(row.name, row.name, f"{row.sha256} {row.kind} {row.licence}") for row in packages]
    asked += [(row[2], name_of(row[2]), f"{row[0]} {row[1]} {digest_folder(row[2])}") for row in args.folder]
    asked += [(row[2], row[2], f"{row[0]} {row[1]} {args.clips_per_hub_set}") for row in args.hub]
    asked += [(name, name, f"{float(hours)} {args.seed}") for name, hours in args.synthesise]
    for names in ([name for _, name, _ in asked], list(map(name_of, args.never))):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"Two sources have the name {twice[0]!r}, by which recordings are told apart. Rename one.")
    return {source: f"{settings} {args.max_seconds}" for source, _, settings in asked}


def index_never(args: argparse.Namespace, prepare_all: Preparer, path: Path) -> FingerprintIndex:
    """Fingerprint the recordings that the corpus must not have anything like; kept in a file for the next run."""
    if path.is_file():
        with np.load(path) as kept:
            return FingerprintIndex({unquote(name, errors="surrogateescape"): kept[name] for name in kept.files})
    pairs, missed = {}, {}
    for name, items in find_items(args, set(), never=True):
        before = len(pairs)
        for item, prepared in tqdm(prepare_all(items), desc=f"Fingerprinting {name}", unit="file"):
            if prepared.pairs is None or len(prepared.pairs) < LEAST:
                missed[item.name] = prepared.reason or "it has too few spectral peaks"
            else:
                pairs[item.name] = prepared.pairs
        if len(pairs) == before:
            raise ValueError(
                f"{name!r} has no recording that could be recognised in the corpus. Remove it, or mend it."
            )
    if missed:
        name, reason = next(iter(missed.items()))
        tqdm.write(
            f"{len(missed)} recordings that must not be in the corpus cannot be recognised there, such as {name!r}: "
            f"{reason}."
        )
    with open(path.with_name(f"unfinished-{path.name}"), "wb") as file:
        np.savez(file, **{quote(name, errors="surrogateescape"): rows for name, rows in pairs.items()})
    os.replace(file.name, path)
    return FingerprintIndex(pairs)


def after_line(items: Iterator[Item], path: Path, row: dict) -> Iterator[Item]:
    """Yield recordings, once there is a first one and a line of their source has been appended to a file."""
    for number, item in enumerate(items):
        if number == 0:
            append_line(path, row)
        yield item


def add_source(writer: PoolWriter, name: str, prepared: Iterator[tuple[Item, Prepared]], index: FingerprintIndex):
    """Write the recordings of a source that are new and like none that must not be there."""
    for item, result in tqdm(prepared, desc=name, unit="file"):
        reason = result.reason
        if not reason and result.sha256 in writer.digests:
            reason = "it is a copy of another recording"
        if not reason and (match := index.find(result.pairs)).is_same:
            reason = f"it sounds like {match.name} ({match.pairs} pairs of peaks, {match.share:.0%})"
        if reason:
            writer.leave_out(item.name, reason)
        else:
            fields = ("name", "source", "version", "licence", "kind")
            writer.add(result.samples, sha256=result.sha256, **{field: getattr(item, field) for field in fields})


def report(folder: Path) -> str:
    """Return a table of hours by kind, and the number of recordings left out by reason."""
    table = hours_by_kind(read_recordings(folder))
    lines = ["| kind | recordings | sources | hours |", "| --- | --- | --- | --- |"]
    lines += [f"| {kind} | {row['recordings']} | {row['sources']} | {row['hours']} |" for kind, row in table.items()]
    rows = read_lines(folder / LEFT_OUT_FILE)
    reasons = Counter(row["reason"].partition("(")[0].partition(" like ")[0][:60] for row in rows)
    return "\n".join([*lines, "", *(f"left out, {count}: {reason}" for reason, count in reasons.most_common(12))])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", required=True, help="Folder of the corpus.")
    parser.add_argument("--packages", default=str(PACKAGES), help="List of Debian packages; empty for none.")
    parser.add_argument("--debs", default="debs", help="Folder of their files, downloaded if they are not there.")
    parser.add_argument(
        "--folder", nargs=3, action="append", default=[], metavar=("KIND", "LICENCE", "FOLDER"), help="Add a folder."
    )
    parser.add_argument(
        "--hub", nargs=3, action="append", default=[], metavar=("KIND", "LICENCE", "NAME"), help="Add a data set."
    )
    parser.add_argument("--clips_per_hub_set", type=int, default=10000, help="Clips to stream of each data set.")
    parser.add_argument(
        "--synthesise", nargs=2, action="append", default=[], metavar=("NAME", "HOURS"),
        help=f"Add synthetic sound: {', '.join(SYNTHESISERS)}.",
    )  # fmt: skip
    parser.add_argument(
        "--never", nargs="*", action="extend", default=[], help="Folders of recordings that nothing may sound like."
    )
    parser.add_argument("--max_seconds", type=float, default=90.0, help="Longer recordings are cut.")
    parser.add_argument("--num_processes", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        make_corpus(args)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(str(error))


def make_corpus(args: argparse.Namespace):
    """Make or continue a corpus, and print what it has.

    Raises:
        ValueError: If nothing was found.
    """
    if unknown := [name for name, _ in args.synthesise if name not in SYNTHESISERS]:
        raise ValueError(f"There is no synthesiser {unknown[0]!r}, expected one of {', '.join(SYNTHESISERS)}.")
    for kind, licence, name in args.folder + args.hub:
        if not is_allowed(licence):
            raise ValueError(
                f"The licence {licence!r} of {name!r} ({kind}) does not allow what is done here, or is unknown."
            )
    sources, folder = describe_sources(args), Path(args.output_dir)
    never = folder / f"never-{digest_never(args)}.npz"
    if not never.is_file() and any(folder.glob("never-*.npz")):
        raise ValueError(
            f"The corpus in {str(folder)!r} was made with another --never, and may have recordings that sound like "
            "what is named now. Make it anew in another folder."
        )
    begun, finished = folder / BEGUN_FILE, folder / FINISHED_FILE
    for path in (begun, finished):
        drop_partial_line(path)
    known = {row["name"]: row["settings"] for row in read_lines(begun)}
    done = {row["name"] for row in read_lines(finished)}
    if changed := sorted(name for name, settings in known.items() if sources.get(name, settings) != settings):
        raise ValueError(
            f"{changed[0]!r} is in the corpus in {str(folder)!r} with other settings or files. Make the corpus anew in "
            "another folder."
        )
    writer = PoolWriter(folder)
    with ProcessPoolExecutor(args.num_processes) as executor:
        ahead = 8 * args.num_processes
        index = index_never(args, Preparer(executor, NEVER_SECONDS, ahead), never)
        prepare_all = Preparer(executor, args.max_seconds, ahead)
        for name, items in find_items(args, done, never=False):
            start = time.perf_counter()
            if name not in known:
                items = after_line(items, begun, {"name": name, "settings": sources[name]})
            try:
                add_source(writer, name, prepare_all(item for item in items if item.name not in writer), index)
            except PackageError as error:
                tqdm.write(str(error))
                continue
            append_line(finished, {"name": name, "seconds": round(time.perf_counter() - start, 1)})
    writer.close()
    if not writer.names:
        raise ValueError(
            f"The corpus in {str(folder)!r} has no recording: see {folder / LEFT_OUT_FILE} for the reasons."
        )
    print(report(folder))


if __name__ == "__main__":
    main()
