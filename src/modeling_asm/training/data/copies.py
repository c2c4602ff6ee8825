"""Recordings that are in a data set more than once: files of equal content, whatever their names."""

import collections

from datasets import DatasetDict

from .decoding import clip_name, digest_of, size_of


NAMED = 10  # copies that a message names


def find_copies(splits: DatasetDict) -> dict[tuple[str, int], str]:
    """Return a digest of each recording that is not the only one with its content, by split and row.

    Only files of the same size are read.
    """
    sizes = {
        (name, index): size for name, split in splits.items() for index, size in enumerate(map(size_of, split["audio"]))
    }
    alike = collections.Counter(sizes.values())
    digests = {
        (name, index): digest_of(audio)
        for name, split in splits.items()
        for index, audio in enumerate(split["audio"])
        if sizes[name, index] > 0 and alike[sizes[name, index]] > 1
    }
    counts = collections.Counter(digests.values())
    return {clip: digest for clip, digest in digests.items() if counts[digest] > 1}


def check_copies(splits: DatasetDict):
    """Raise `ValueError` if recordings, by their content, are in two splits; the message names the first of them."""
    first: dict[str, tuple[str, int]] = {}
    pairs = []
    for clip, digest in find_copies(splits).items():
        other = first.setdefault(digest, clip)
        if other[0] != clip[0]:
            pairs.append((clip, other))
    if pairs:
        lines = [
            " and ".join(f"{clip_name(splits[name][row]['audio'], row)!r} of {name}" for name, row in pair)
            for pair in pairs[:NAMED]
        ]
        raise ValueError(
            f"{len(pairs)} recordings are in two splits, so the score would not measure new ones: {'; '.join(lines)}"
            f"{'; ...' if len(pairs) > NAMED else ''}. Remove them from one split."
        )


def describe_copies(splits: DatasetDict) -> list[str]:
    """Say how many files are copies of others, and name the first two that have different labels, if there are any."""
    copies = find_copies(splits)
    number = len(copies) - len(set(copies.values()))
    lines = [f"Files that are copies of others: {number}."] if number else []
    first: dict[str, tuple[str, int]] = {}
    for clip, digest in copies.items():
        (split, row), (other, index) = clip, first.setdefault(digest, clip)
        if splits[split]["label"][row] != splits[other]["label"][index]:
            names = [repr(clip_name(splits[name][place]["audio"], place)) for name, place in ((other, index), clip)]
            return [*lines, f"Some copies have different labels, such as {' and '.join(names)}."]
    return lines
