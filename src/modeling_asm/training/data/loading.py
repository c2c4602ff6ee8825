"""Load labelled audio from folders, manifests, saved data sets and the Hub. The audio stays undecoded, so nothing here
needs torchcodec or FFmpeg.

A new kind of source is one more branch of [`load_audio_dataset`].
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import pyarrow as pa
from datasets import (
    Audio,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    IterableDatasetDict,
    concatenate_datasets,
    load_dataset,
    load_dataset_builder,
    load_from_disk,
)

from .folders import list_outside, read_folder
from .labels import encode_alike, encode_labels
from .manifests import OWN_COLUMNS, find_label_column, read_manifest
from .splits import known_name


SAVED = ("dataset_dict.json", "dataset_info.json")  # what `save_to_disk` leaves
HUB, MANIFEST, SAVED_SET, FOLDER = "--dataset_name", "--manifest", "a saved data set", "a folder of recordings"
# The one source that an option is for: with any other, it would have no effect.
ONLY_FOR = {"dataset_config": HUB, "dataset_revision": HUB, "streaming": HUB}
ONLY_FOR |= {"split_column": MANIFEST, "split_lists": FOLDER, "folder_columns": FOLDER}
FOR_LABELS = ("label_column", "label_separator", "labels", "other_label", "problem_type", "folder_columns")


@dataclass
class DataArguments:
    """Where the clips are, and what their columns mean."""

    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of recordings (an audiofolder), or of a data set that save_to_disk wrote."},
    )
    manifest: str | None = field(
        default=None,
        metadata={
            "help": "CSV or JSON-lines file with one row per clip. Paths are relative to --data_dir, or to the file."
        },
    )
    dataset_name: str | None = field(default=None, metadata={"help": "Data set on the Hub: owner/name."})
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the data set on the Hub."})
    dataset_revision: str | None = field(
        default=None,
        metadata={"help": "Branch, tag or commit of the data set on the Hub, such as refs/convert/parquet."},
    )
    streaming: bool = field(default=False, metadata={"help": "Stream the data set from the Hub without a local copy."})
    audio_column: str | None = field(
        default=None, metadata={"help": "Column with the audio (default: file_name, or audio in a data set)."}
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column with the labels (default: label or labels)."}
    )
    label_separator: str | None = field(
        default=None, metadata={"help": "Separator of labels in a text column; makes the problem multi-label."}
    )
    channel: int | None = field(
        default=None, metadata={"help": "Channel of each clip, from 0, to take (default: the mean of all)."}
    )
    split_column: str | None = field(default=None, metadata={"help": "Column of the manifest with the split."})
    split_lists: list[str] = field(
        default_factory=list,
        metadata={"help": "SPLIT=FILE: list, in --data_dir, of the clips of a split, such as test=testing_list.txt."},
    )
    folder_columns: list[str] = field(
        default_factory=list, metadata={"help": "Meaning of each level of sub-folders, such as: speaker label."}
    )
    labels: list[str] = field(
        default_factory=list,
        metadata={"help": "Classes, in order (default: all). Clips of other classes are dropped."},
    )
    other_label: str | None = field(
        default=None, metadata={"help": "One of --labels that replaces all labels that are not among them."}
    )
    problem_type: str | None = field(
        default=None,
        metadata={
            "help": "Kind of problem (default: multi-label for lists, regression for fractions, else single-label).",
            "choices": ["single_label_classification", "multi_label_classification", "regression"],
        },
    )

    def __post_init__(self):
        if self.channel is not None and self.channel < 0:
            raise ValueError(f"--channel must be at least 0, got {self.channel}.")

    @property
    def name(self) -> str:
        """Name of the data, without a path of this machine."""
        if self.hub_name:
            return self.hub_name
        return Path(self.data_dir or self.manifest or self.dataset_name or "").resolve().name

    @property
    def hub_name(self) -> str | None:
        """Name of the data set on the Hub, if it comes from there."""
        return None if self.dataset_name is None or Path(self.dataset_name).exists() else self.dataset_name

    @property
    def root(self) -> Path | None:
        """Folder of the clips, if they come from disk."""
        if self.data_dir:
            return Path(self.data_dir)
        return Path(self.manifest).parent if self.manifest else None


class StreamedAudio(Audio):
    """Audio in a stream, undecoded: `bytes` and `path`.

    A stream encodes its rows at each step, for which `Audio` needs torchcodec. Rows that come as the name of a file,
    as those of an audiofolder do, are read here, from wherever `datasets` finds them.
    """

    def encode_example(self, value) -> dict:
        if isinstance(value, str):
            with fsspec.open(value) as file:
                return {"bytes": file.read(), "path": value}
        return {"bytes": value["bytes"], "path": value["path"]}


def load_audio_dataset(
    args: DataArguments, labelled: bool = True, say: Callable[[str], None] = print
) -> DatasetDict | IterableDatasetDict:
    """Load the splits of labelled audio that the arguments name.

    Splits with a name like `valid`, `val`, `dev` or `eval` become `validation` and `test`, as in an audiofolder of
    Hugging Face.

    Args:
        args: The source and its columns.
        labelled: Whether clips need labels.
        say: What takes one line about each split: how many files were found, used and left out, and why.

    Returns:
        Splits with the columns `audio` (undecoded: `path` and `bytes`), `label` and the others of the source.
        `label` is a `ClassLabel`, a list of them (multi-label) or a float (regression).

    Raises:
        FileNotFoundError: If the folder, file or data set does not exist.
        ValueError: If no or several sources are given, an option would have no effect, or the data is invalid; the
            message says how.
    """
    sources = [name for name in ("data_dir", "manifest", "dataset_name") if getattr(args, name)]
    if sources not in (["data_dir"], ["manifest"], ["data_dir", "manifest"], ["dataset_name"]):
        given = ", ".join(f"--{name}" for name in sources) or "no data"
        raise ValueError(
            f"Got {given}, expected one of --data_dir, --manifest (optionally with --data_dir) and --dataset_name."
        )
    source = kind_of_source(args)
    for name, needed in ONLY_FOR.items():
        if getattr(args, name) and source != needed:
            raise ValueError(f"--{name} is for {needed}, and would have no effect with {source}. Leave it out.")
    if source == HUB:
        dataset = load_hub_dataset(args)
    elif source == SAVED_SET:
        dataset = load_from_disk(args.data_dir)
        dataset = dataset if isinstance(dataset, DatasetDict) else DatasetDict(train=dataset)
    else:
        return finish(load_files(args, labelled, say), args, labelled, say)
    for name, split in dataset.items():
        if isinstance(split, Dataset):
            say(f"{name}: {len(split)} clips found in {args.name!r}, {len(split)} used")
    return finish(rename(dataset, args, labelled), args, labelled, say)


def silent(line: str):
    """Say nothing: another process does."""


def kind_of_source(args: DataArguments) -> str:
    """Return how errors name the kind of source that the arguments name."""
    if args.dataset_name:
        return HUB
    if args.manifest:
        return MANIFEST
    return SAVED_SET if any((Path(args.data_dir) / name).is_file() for name in SAVED) else FOLDER


def load_further_clips(
    folders: list[str], dataset: DatasetDict, separator: str | None = None, say: Callable[[str], None] = print
) -> Dataset | None:
    """Load all clips of additional folders in the form of the data; `None` if there are no folders.

    Args:
        folders: Audiofolders, with one sub-folder per class, or a `metadata.csv` with `file_name` and `label`.
        dataset: The data. Columns that it does not have are dropped.
        separator: Separator between the labels in a text, if a clip may have several.
        say: What takes one line about each folder.

    Raises:
        FileNotFoundError: If a folder does not exist.
        ValueError: If a folder has no labelled clips, a label that the data does not have, or values of another type.
    """
    loaded, features = [], next(iter(dataset.values())).features
    for folder in folders:
        for clips in load_files(DataArguments(data_dir=folder), True, say).values():
            clips = encode_alike(clips, features, folder, separator)
            columns = {name: features[name] for name in clips.column_names if name in features}
            try:
                loaded.append(clips.select_columns(list(columns)).cast(Features(columns)))
            except pa.ArrowException as error:
                raise ValueError(f"A column of {folder!r} has another type than in the data: {error}.") from error
    return concatenate_datasets(loaded) if loaded else None


def load_hub_dataset(args: DataArguments) -> DatasetDict | IterableDatasetDict:
    """Load a data set from the Hub; the error for a data set script says what to use instead."""
    try:
        if not args.streaming:
            return load_dataset(args.dataset_name, args.dataset_config, revision=args.dataset_revision)
        builder = load_dataset_builder(args.dataset_name, args.dataset_config, revision=args.dataset_revision)
        builder.config.decode_num_threads = 0  # an audiofolder's threads would decode, with torchcodec
        return builder.as_streaming_dataset()
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise ValueError(
            f"{args.dataset_name!r} is a script, which `datasets` no longer runs. Try its copy in Parquet: "
            "--dataset_revision refs/convert/parquet."
        ) from error


def load_files(args: DataArguments, labelled: bool, say: Callable[[str], None]) -> DatasetDict:
    """Read a folder or a manifest, and say what was found."""
    audio_column = args.audio_column or "file_name"
    if args.manifest:
        columns = read_manifest(args.manifest, args.data_dir, audio_column, args.label_column, labelled)
        splits = {"train": columns} if args.split_column is None else divide_rows(columns, args)
        for name, rows in splits.items():
            say(f"{name}: {len(rows['audio'])} clips found in {args.manifest!r}, {len(rows['audio'])} used")
        if args.split_column is None and "split" in columns:
            say("The column 'split' does not divide the clips. To use it, add --split_column split.")
    else:
        lists = dict(pair.split("=", 1) for pair in args.split_lists if "=" in pair)
        if len(lists) != len(args.split_lists):
            raise ValueError(f"--split_lists is {' '.join(args.split_lists)!r}, expected SPLIT=FILE for each split.")
        found = read_folder(
            args.data_dir, audio_column, args.label_column, args.folder_columns, lists, labelled=labelled
        )
        for name, split in found.items():
            say(f"{name}: {split.listing.describe(Path(args.data_dir))}")
        beside = list_outside(Path(args.data_dir), Path(args.data_dir))
        if beside.left_out and Path(args.data_dir) not in [split.folder for split in found.values()]:
            say(f"Beside the splits: {beside.describe(Path(args.data_dir))}")
        splits = {name: split.columns for name, split in found.items()}
        if list(splits) == ["train"] and "split" in splits["train"]:
            say(
                "The column 'split' does not divide the clips. To use it, name the file: --manifest and --split_column."
            )
    dataset = DatasetDict({name: as_dataset(columns, args.name) for name, columns in splits.items()})
    return dataset.cast_column("audio", Audio(decode=False))


def divide_rows(columns: dict[str, list], args: DataArguments) -> dict[str, dict[str, list]]:
    """Divide the rows of a manifest by their split."""
    if args.split_column not in columns:
        raise ValueError(f"{args.manifest!r} has no column {args.split_column!r}. It has: {', '.join(columns)}.")
    names = columns[args.split_column]
    for row, name in enumerate(names, start=1):
        if not str("" if name is None else name).strip():
            raise ValueError(
                f"{args.manifest!r} has no {args.split_column!r} for clip {row}. Add it, or remove the clip."
            )
    names = [str(name).strip() for name in names]
    return {
        split: {name: [value for value, own in zip(values, names) if own == split] for name, values in columns.items()}
        for split in dict.fromkeys(names)
    }


def as_dataset(columns: dict[str, list], source: str) -> Dataset:
    """Build a data set from columns, each of which must have values of one type."""
    for name, values in columns.items():
        try:
            pa.array(values)
        except UnicodeEncodeError as error:
            raise ValueError(
                f"The name {error.object!a} in the column {name!r} of {source!r} is not UTF-8. Rename it."
            ) from error
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"The column {name!r} of {source!r} mixes types: {error}.") from error
    return Dataset.from_dict(columns)


def rename(dataset: DatasetDict | IterableDatasetDict, args: DataArguments, labelled: bool):
    """Rename the columns of a data set to `audio` and `label`, and leave the audio undecoded."""
    columns = next(iter(dataset.values())).column_names
    audio_column = args.audio_column or "audio"
    if audio_column not in columns:
        raise ValueError(
            f"{args.name!r} has no column {audio_column!r}. It has: {', '.join(columns)}. Set --audio_column to the "
            "one with the audio."
        )
    names = {audio_column: "audio"}
    if labelled:
        names[find_label_column(columns, args.label_column, args.name)] = "label"
    dataset = dataset.cast_column(audio_column, (StreamedAudio if is_streamed(dataset) else Audio)(decode=False))
    dataset = dataset.remove_columns([name for name in OWN_COLUMNS if name in columns and name not in names])
    return dataset.rename_columns({old: new for old, new in names.items() if old != new})


def finish(dataset, args: DataArguments, labelled: bool, say: Callable[[str], None]):
    """Name the splits, encode the labels, and check before and after that no split is empty."""
    dataset = name_splits(dataset)
    check_not_empty(dataset, args.name)
    if not labelled:
        if given := [name for name in FOR_LABELS if getattr(args, name)]:
            raise ValueError(f"--{given[0]} would have no effect: the labels of the clips are not read. Leave it out.")
        return dataset
    labels = (args.labels, args.other_label, args.label_separator)
    encoded = encode_labels(dataset, args.name, args.problem_type, *labels)
    check_not_empty(encoded, args.name, f" with the labels {' '.join(args.labels)}")
    for name, split in encoded.items():
        if isinstance(split, Dataset) and len(split) < len(dataset[name]):
            say(f"{name}: {len(dataset[name]) - len(split)} clips have none of --labels and are left out")
    return encoded


def name_splits(dataset):
    """Rename splits to `train`, `validation` and `test`, unless there are such already."""
    names = {name: known_name(name) for name in dataset}
    taken, renamed = set(dataset), {}
    for name, split in dataset.items():
        free = names[name] not in taken - {name} and names[name] not in renamed
        renamed[names[name] if free else name] = split
    return type(dataset)(renamed)


def check_not_empty(dataset: DatasetDict | IterableDatasetDict, source: str, what: str = ""):
    """Raise `ValueError` if a split has no clips."""
    for name, split in dataset.items():
        if isinstance(split, Dataset) and len(split) == 0:
            raise ValueError(f"The split {name!r} of {source!r} has no clips{what}.")


def is_streamed(dataset: DatasetDict | IterableDatasetDict) -> bool:
    return isinstance(next(iter(dataset.values())), IterableDataset)
