"""The one loader of labelled audio: Hub data sets, saved data sets, folders and manifests alike. Nothing here needs
torchcodec or FFmpeg: the audio stays undecoded."""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from datasets import (
    Audio,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    IterableDatasetDict,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)

from .folders import OWN_COLUMNS, find_label_column, read_folder, read_manifest
from .labels import encode_alike, encode_labels


PLAIN_AUDIO = Features({"bytes": Value("binary"), "path": Value("string")})
SAVED = ("dataset_dict.json", "dataset_info.json")  # what `save_to_disk` leaves


@dataclass
class DataArguments:
    """Where the clips are: `data_dir`, `manifest` or `dataset_name`, and which columns hold what."""

    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of recordings (an audiofolder), or one that Dataset.save_to_disk wrote."},
    )
    manifest: str | None = field(
        default=None,
        metadata={"help": "CSV or JSON-lines file, a row a clip; its paths start at --data_dir, or at its own folder."},
    )
    dataset_name: str | None = field(default=None, metadata={"help": "Data set on the Hub: owner/name."})
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the data set on the Hub."})
    dataset_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the data set on the Hub: refs/convert/parquet."}
    )
    streaming: bool = field(default=False, metadata={"help": "Read the Hub's data set as it comes, without a copy."})
    audio_column: str | None = field(
        default=None, metadata={"help": "Column with the audio; by default file_name, and audio in a data set."}
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column with the labels; by default label, or labels."}
    )
    label_separator: str | None = field(
        default=None, metadata={"help": "What stands between the labels of a clip in a column of text: several labels."}
    )
    split_column: str | None = field(default=None, metadata={"help": "Column of the manifest that names the split."})
    split_lists: list[str] = field(
        default_factory=list,
        metadata={"help": "SPLIT=FILE: lists of the clips of a split in the folder: test=testing_list.txt."},
    )
    folder_columns: list[str] = field(
        default_factory=list, metadata={"help": "What the levels of sub-folders stand for: speaker label."}
    )
    labels: list[str] = field(
        default_factory=list,
        metadata={"help": "The classes, in order; by default all that occur. Others are left out."},
    )
    other_label: str | None = field(
        default=None, metadata={"help": "One of --labels: the class of the clips whose label is not among them."}
    )
    problem_type: str | None = field(
        default=None,
        metadata={
            "help": "By default, several labels where the column has lists, regression where it has fractions.",
            "choices": ["single_label_classification", "multi_label_classification", "regression"],
        },
    )

    @property
    def name(self) -> str:
        """What to call the data, without a path of this machine."""
        if self.hub_name:
            return self.hub_name
        return Path(self.data_dir or self.manifest or self.dataset_name or "").resolve().name

    @property
    def hub_name(self) -> str | None:
        """The data set's name on the Hub; a folder that `load_dataset` takes has none."""
        return None if self.dataset_name is None or Path(self.dataset_name).exists() else self.dataset_name

    @property
    def root(self) -> Path | None:
        """The folder that holds the clips, where they come from the disk."""
        if self.data_dir:
            return Path(self.data_dir)
        return Path(self.manifest).parent if self.manifest else None


def load_audio_dataset(args: DataArguments, labelled: bool = True) -> DatasetDict | IterableDatasetDict:
    """Load the splits of labelled audio that the arguments name.

    Args:
        args: The source and its columns.
        labelled: Whether clips need labels; without, `predict` takes any audio.

    Returns:
        Splits with the columns `audio` (undecoded: `path` and `bytes`), `label` and the others of the source.
        `label` is a `ClassLabel`, a list of them (several labels a clip) or a float (regression).

    Raises:
        FileNotFoundError: If there is no such folder, file or data set.
        ValueError: If none or several sources are given, or one does not hold what it must; the message says what.
    """
    sources = [name for name in ("data_dir", "manifest", "dataset_name") if getattr(args, name)]
    if sources not in (["data_dir"], ["manifest"], ["data_dir", "manifest"], ["dataset_name"]):
        given = ", ".join(f"--{name}" for name in sources) or "no data"
        raise ValueError(f"Got {given}, expected one of --data_dir, --manifest (with --data_dir) and --dataset_name.")
    if args.dataset_name:
        dataset = load_hub_dataset(args)
    elif args.manifest is None and any((Path(args.data_dir) / name).is_file() for name in SAVED):
        dataset = load_from_disk(args.data_dir)
        dataset = dataset if isinstance(dataset, DatasetDict) else DatasetDict(train=dataset)
    else:
        return finish(load_files(args, labelled), args, labelled)
    return finish(rename(dataset, args, labelled), args, labelled)


def load_further_clips(folders: list[str], dataset: DatasetDict, separator: str | None = None) -> Dataset | None:
    """Load all clips of folders beside the data, in the data's own form; `None` where there are no folders.

    Args:
        folders: Each an audiofolder: a sub-folder a class, or a `metadata.csv` with `file_name` and `label`.
        dataset: The data. Columns that it does not have are left out.
        separator: What stands between the labels of a clip, where a text holds several.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a folder has no labelled clips, a label that the data does not have, or values that do not fit
            the data's column.
    """
    loaded, features = [], next(iter(dataset.values())).features
    for folder in folders:
        for clips in load_files(DataArguments(data_dir=folder), labelled=True).values():
            clips = encode_alike(clips, features, folder, separator)
            columns = {name: features[name] for name in clips.column_names if name in features}
            try:
                loaded.append(clips.select_columns(list(columns)).cast(Features(columns)))
            except pa.ArrowException as error:
                raise ValueError(f"A column of {folder!r} does not fit the data's: {error}.") from error
    return concatenate_datasets(loaded) if loaded else None


def load_hub_dataset(args: DataArguments) -> DatasetDict | IterableDatasetDict:
    """Load a data set from the Hub, and say how where its format is not one that loads."""
    try:
        return load_dataset(
            args.dataset_name, args.dataset_config, revision=args.dataset_revision, streaming=args.streaming
        )
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise ValueError(
            f"{args.dataset_name!r} is a script, which `datasets` does not run any more. Try its copy in Parquet: "
            "--dataset_revision refs/convert/parquet."
        ) from error


def load_files(args: DataArguments, labelled: bool) -> DatasetDict:
    """Index a folder or a manifest."""
    audio_column = args.audio_column or "file_name"
    if args.manifest:
        columns = read_manifest(args.manifest, args.data_dir, audio_column, args.label_column, labelled)
        splits = {"train": columns}
        if args.split_column:
            if args.split_column not in columns:
                raise ValueError(f"{args.manifest!r} has no column {args.split_column!r}: {', '.join(columns)}.")
            names = columns[args.split_column]
            splits = {
                split: {
                    name: [value for value, own in zip(values, names) if own == split]
                    for name, values in columns.items()
                }
                for split in dict.fromkeys(names)
            }
    else:
        lists = dict(pair.split("=", 1) for pair in args.split_lists if "=" in pair)
        if len(lists) != len(args.split_lists):
            raise ValueError(
                f"--split_lists is {' '.join(args.split_lists)!r}, expected SPLIT=FILE, one for each split."
            )
        splits = read_folder(
            args.data_dir, audio_column, args.label_column, args.folder_columns, lists, labelled=labelled
        )
    dataset = DatasetDict({name: as_dataset(columns, args.name) for name, columns in splits.items()})
    return dataset.cast_column("audio", Audio(decode=False))


def as_dataset(columns: dict[str, list], source: str) -> Dataset:
    """Make a data set of columns, each of which must have values of one type."""
    for name, values in columns.items():
        try:
            pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"The column {name!r} of {source!r} has values of several types: {error}.") from error
    return Dataset.from_dict(columns)


def rename(dataset: DatasetDict | IterableDatasetDict, args: DataArguments, labelled: bool):
    """Give the columns of a data set the names `audio` and `label`, and leave the audio undecoded."""
    columns = next(iter(dataset.values())).column_names
    audio_column = args.audio_column or "audio"
    if audio_column not in columns:
        raise ValueError(
            f"{args.name!r} has no column {audio_column!r}; it has: {', '.join(columns)}. Name the one with the audio "
            "by --audio_column."
        )
    names = {audio_column: "audio"}
    if labelled:
        names[find_label_column(columns, args.label_column, args.name)] = "label"
    # A stream encodes its rows at each step, which `Audio` does not do without torchcodec; plain columns need nothing.
    dataset = dataset.cast_column(audio_column, PLAIN_AUDIO if is_streamed(dataset) else Audio(decode=False))
    dataset = dataset.remove_columns([name for name in OWN_COLUMNS if name in columns and name not in names])
    return dataset.rename_columns({old: new for old, new in names.items() if old != new})


def finish(dataset, args: DataArguments, labelled: bool):
    """Encode the labels, and check that no split is empty, before and after."""
    check_not_empty(dataset, args.name)
    if not labelled:
        return dataset
    labels = (args.labels, args.other_label, args.label_separator)
    dataset = encode_labels(dataset, args.name, args.problem_type, *labels)
    check_not_empty(dataset, args.name, f" with the labels {' '.join(args.labels)}")
    return dataset


def check_not_empty(dataset: DatasetDict | IterableDatasetDict, source: str, what: str = ""):
    """Raise `ValueError` at a split without clips."""
    for name, split in dataset.items():
        if isinstance(split, Dataset) and len(split) == 0:
            raise ValueError(f"The split {name!r} of {source!r} has no clips{what}.")


def is_streamed(dataset: DatasetDict | IterableDatasetDict) -> bool:
    return isinstance(next(iter(dataset.values())), IterableDataset)
