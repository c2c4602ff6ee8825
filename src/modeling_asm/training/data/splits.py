"""Split clips into train, dev (to choose the best epoch) and test, without a speaker, kit or session in two of them."""

import collections
import itertools
import math
import random
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, DatasetDict, List, concatenate_datasets

from ...targets import REGRESSION
from ..tasks import label_names, task_of
from .copies import check_copies, describe_copies, find_copies


# Other names of splits, as an audiofolder of Hugging Face knows them.
SPLIT_NAMES = {**dict.fromkeys(("train", "training"), "train")}
SPLIT_NAMES |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
SPLIT_NAMES |= dict.fromkeys(("test", "testing", "eval", "evaluation"), "test")


HELD_OUT = 0.2  # fraction of train that is reported by default
FEW_CLIPS = 500  # are cross-validated; of more, a part says as much, and costs less
CROSS_VALIDATION = "cross-validation"  # name of what is reported of a classifier that learns from all clips


@dataclass
class SplitArguments:
    """What to train on, and what to report."""

    train_split: str = field(default="train", metadata={"help": "Split to train on (default: train)."})
    test_split: str | None = field(
        default=None, metadata={"help": "Split to report (default: test, else validation, else a part of train)."}
    )
    hold_out: str | None = field(
        default=None,
        metadata={
            "help": "COLUMN=VALUE,VALUE: test on these rows, whichever split they are in, and train on the others."
        },
    )
    fold_column: str | None = field(
        default=None, metadata={"help": "Column (fold, speaker) whose values --cross_validate holds out in turn."}
    )
    group_column: str | None = field(
        default=None,
        metadata={"help": "Column (speaker, session) with groups that must not be in both train and test."},
    )
    test_fraction: float | None = field(
        default=None,
        metadata={
            "help": f"Fraction of train to report, if there is no other split (default: {HELD_OUT}; a classifier that "
            f"is fitted to at most {FEW_CLIPS} clips learns from all of them, and is cross-validated)."
        },
    )
    dev_fraction: float = field(
        default=0.1,
        metadata={"help": "Fraction of train that chooses the best epoch; 0 trains on all and keeps the last."},
    )
    train_also: list[str] = field(
        default_factory=list,
        metadata={"help": "Folders of additional training clips of these classes, which are never reported."},
    )

    def __post_init__(self):
        if not (0 < self.held_out_fraction < 1 and 0 <= self.dev_fraction < 1):
            raise ValueError(
                f"--test_fraction is {self.held_out_fraction} and --dev_fraction {self.dev_fraction}; the first must "
                "be above 0, the second at least 0, and both below 1."
            )

    def is_set(self, name: str) -> bool:
        """Whether a value is not the default."""
        return getattr(self, name) != getattr(type(self), name)

    @property
    def held_out_fraction(self) -> float:
        """Fraction of train to report, if there is no other split."""
        return HELD_OUT if self.test_fraction is None else self.test_fraction

    @property
    def hold_out_column(self) -> str | None:
        """Column of `hold_out`."""
        return self.hold_out.partition("=")[0] if self.hold_out else None

    @property
    def train_also_names(self) -> list[str] | None:
        """Names of the additional folders, without paths of this machine; `None` if there are none."""
        return [Path(folder).resolve().name for folder in self.train_also] or None


def choose_splits(
    dataset: DatasetDict, args: SplitArguments, seed: int, further: Dataset | None = None
) -> tuple[DatasetDict, str]:
    """Split a data set.

    Args:
        dataset: The splits as they were loaded.
        args: How to split.
        seed: Seed of random splits.
        further: Clips with the same features, which all go to `train`.

    Returns:
        The splits `train`, `test` and, to choose the best epoch, `dev`; and the name of the test split.

    Raises:
        ValueError: If a split, column or value does not exist, nothing is left to train on, a class of test or dev is
            missing in train, a group is in two splits, or an additional clip is also reported.
    """
    train, test, test_name = choose_test(dataset, args)
    if train is None:
        raise ValueError(
            f"There is no split {args.train_split!r}. The data has: {', '.join(dataset)}. If these are folders of one "
            "level, such as speakers, name the levels: --folder_columns speaker label."
        )
    if test is not None and args.is_set("test_fraction"):
        raise ValueError(f"--test_fraction would have no effect: {test_name} is reported. Leave it out.")
    if args.dev_fraction > 0 and args.is_set("dev_fraction") and test_name == "test" and "validation" in dataset:
        raise ValueError(
            "--dev_fraction would have no effect: the split 'validation' chooses the best epoch. Leave it out, or "
            "set 0 to keep the last epoch."
        )
    if test is None:
        train, test = split_groups(train, args.held_out_fraction, args.group_column, seed)
        test_name = f"{args.held_out_fraction:.0%} of {args.train_split}"
    splits = DatasetDict(test=test)
    if args.dev_fraction > 0 and test_name == "test" and "validation" in dataset:
        splits["dev"] = dataset["validation"]
    elif args.dev_fraction > 0:
        train, splits["dev"] = split_groups(train, args.dev_fraction, args.group_column, seed)
    splits["train"] = train
    if further is not None:
        check_further(further, test, args)
        splits["train"] = concatenate_datasets([train, further])
    check_classes(splits, test_name)
    check_copies(splits)
    if args.group_column is not None:
        check_groups(splits, args.group_column)
    return splits, test_name


def choose_test(dataset: DatasetDict, args: SplitArguments) -> tuple[Dataset | None, Dataset | None, str | None]:
    """Return the clips to train on, those to report, and the name of the latter; `None` if the data has none."""
    if args.hold_out is not None:
        column, separator, values = args.hold_out.partition("=")
        values = [value.strip() for value in values.split(",")]
        if not separator:
            raise ValueError(f"--hold_out is {args.hold_out!r}, expected COLUMN=VALUE or COLUMN=VALUE,VALUE.")
        return *hold_out(dataset, column, values), f"rows with {column} {' or '.join(values)}"
    train_name, test_name = find_split(dataset, args.train_split), find_split(dataset, args.test_split)
    if args.test_split is not None and test_name == train_name:
        raise ValueError(
            f"--test_split {args.test_split} would report the clips that the model trains on. Choose another."
        )
    if args.test_split is not None and test_name not in dataset:
        raise ValueError(f"There is no split {args.test_split!r}. The data has: {', '.join(dataset)}.")
    others = (name for name in ("test", "validation") if name in dataset and name != train_name)
    name = test_name or next(others, None)
    return dataset.get(train_name), dataset[name] if name else None, name


def find_split(dataset: DatasetDict, name: str | None) -> str | None:
    """Return the name of a split as the data has it: `dev` may have become `validation`."""
    return name if name is None or name in dataset else known_name(name)


def known_name(split: str) -> str:
    """Return `train`, `validation` or `test` for other names of them, in any case, and other names as they are."""
    return SPLIT_NAMES.get(split.lower(), split)


def hold_out(dataset: DatasetDict, column: str, values: list[str]) -> tuple[Dataset, Dataset]:
    """Pool all splits, and return the rows whose `column` is none of `values`, and those whose column is one.

    Values are compared as text, so that fold 1 is `"1"`.

    Raises:
        ValueError: If the column or a value does not exist.
    """
    pool = concatenate_datasets(list(dataset.values()))
    found = column_as_text(pool, column)
    missing = sorted(set(values) - set(found))
    if missing:
        raise ValueError(
            f"Column {column!r} does not contain {', '.join(missing)}. It has: {', '.join(sorted(set(found) - {''}))}."
        )
    held = set(values)
    if held == set(found):
        raise ValueError(f"{', '.join(sorted(held))} are all values of column {column!r}: nothing is left to train on.")
    rows: dict[bool, list[int]] = {False: [], True: []}
    for index, value in enumerate(found):
        rows[value in held].append(index)
    return pool.select(rows[False]), pool.select(rows[True])


def fold_names(dataset: DatasetDict, column: str) -> list[str]:
    """Return the values of a column in all splits: numbers by size, others alphabetically."""
    names = {value for split in dataset.values() for value in column_as_text(split, column)} - {"", "None"}
    if len(names) < 2:
        raise ValueError(f"Column {column!r} has {len(names)} values {sorted(names)}, expected at least two folds.")
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def split_groups(dataset: Dataset, fraction: float, column: str | None, seed: int) -> tuple[Dataset, Dataset]:
    """Split off about a fraction of the clips of each class, so that no group (speaker, kit, session) is in both parts.

    Every class keeps a clip in the first part. Groups may be too large to take the same share of every class.

    Args:
        dataset: The clips.
        fraction: Fraction to split off, in (0, 1).
        column: Column with the group of each clip. A clip without one (`""`) is its own group, and so is every clip if
            `column` is `None`; copies of a clip then belong together.
        seed: Seed of the random choice.

    Returns:
        The remaining clips, and those that were split off.

    Raises:
        ValueError: If nothing would be left, or nothing can be split off.
    """
    names, copies = group_names(dataset, column), find_copies({"all": dataset})
    if column is None:
        names = [copies.get(("all", index), name) for index, name in enumerate(names)]
    members: dict[str, list[int]] = {}
    for index, group in enumerate(names):
        members.setdefault(group, []).append(index)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    classes = classes_of(dataset)
    counts = {
        group: collections.Counter(itertools.chain.from_iterable(map(classes.__getitem__, rows)))
        for group, rows in members.items()
    }
    total: collections.Counter = collections.Counter()
    for number in counts.values():
        total.update(number)
    taken, chosen = collections.Counter(), []
    limits = [
        {index: math.floor(fraction * number) for index, number in total.items()},
        {index: min(math.ceil(fraction * number), number - 1) for index, number in total.items()},
        {index: number - 1 for index, number in total.items()},
    ]
    for limit in limits:
        left = []
        for group in order:
            fits = all(taken[index] + number <= limit[index] for index, number in counts[group].items())
            if fits and (len(chosen) + len(members[group]) / 2 <= fraction * len(dataset) or not chosen):
                chosen += members[group]
                taken.update(counts[group])
            else:
                left.append(group)
        order = left
    rest = sorted(set(range(len(dataset))) - set(chosen))
    if not rest or not chosen:
        groups = "" if column is None else f" in {len(members)} groups"
        more = "Use more clips." if column is None else "Use more clips, or a column with more groups."
        raise ValueError(
            f"Splitting off {fraction:.0%} of {len(dataset)} clips{groups} leaves nothing of some class to train on: "
            f"each needs two {'clips' if column is None else 'groups'}. {more}"
        )
    return dataset.select(rest), dataset.select(sorted(chosen))


def classes_of(dataset: Dataset) -> list[list[int]]:
    """Return the classes of each clip; none if the labels are numbers."""
    if task_of(dataset.features).problem_type == REGRESSION:
        return [[] for _ in range(len(dataset))]
    labels = dataset["label"][:]
    return labels if isinstance(dataset.features["label"], List) else [[label] for label in labels]


def group_names(dataset: Dataset, column: str | None) -> list[str]:
    """Return the group of each clip; a clip without one is its own group."""
    if column is None:
        return [str(index) for index in range(len(dataset))]
    return [name or f"row {index}" for index, name in enumerate(column_as_text(dataset, column))]


def column_as_text(dataset: Dataset, column: str) -> list[str]:
    """Return the values of a column as text, and missing ones as `""`."""
    if column not in dataset.column_names:
        raise ValueError(f"There is no column {column!r}. The columns are: {', '.join(dataset.column_names)}.")
    return ["" if value is None else str(value) for value in dataset[column]]


def check_classes(splits: DatasetDict, test_name: str):
    """Raise `ValueError` if a class of the test or dev split is not in train."""
    if task_of(splits["train"].features).problem_type == "regression":
        return
    for name, what in (("test", test_name), ("dev", "clips that choose the best epoch")):
        missing = occurring(splits[name]) - occurring(splits["train"]) if name in splits else set()
        if missing:
            names = [label_names(splits["train"].features)[index] for index in sorted(missing)]
            raise ValueError(
                f"Class {names[0]!r} is in the {name} split ({what}), but train has no clip of it. Choose another "
                "split or fold, or drop the class with --labels."
            )


def check_groups(splits: DatasetDict, column: str, remedy: str | None = None):
    """Raise `ValueError` if a group is in two splits, as those that come with the data may have it."""
    remedy = remedy or f"Split the data with --hold_out {column}=..., or omit --group_column."
    groups = {name: set(column_as_text(split, column)) - {""} for name, split in splits.items()}
    for one, other in itertools.combinations(sorted(groups), 2):
        if both := sorted(groups[one] & groups[other]):
            raise ValueError(
                f"{column} {both[0]!r} has clips in both {one} and {other}, so the score would not measure a new "
                f"{column}. {remedy}"
            )


def check_further(further: Dataset, test: Dataset, args: SplitArguments):
    """Raise `ValueError` if a clip of `--train_also` is also reported, or belongs to a group that is held out."""
    for column in (args.hold_out_column, args.group_column):
        if column in further.column_names:
            check_groups(DatasetDict(test=test, train_also=further), column, "Remove these clips from --train_also.")
    check_copies(DatasetDict({"test": test, "--train_also": further}))


def describe_use(dataset: DatasetDict, splits: DatasetDict, test_name: str, args: SplitArguments) -> str:
    """Say what each split is used for."""
    uses = [f"{len(splits['train'])} clips to train on"]
    if "dev" in splits:
        own = test_name == "test" and "validation" in dataset
        source = "validation" if own else f"{args.dev_fraction:.0%} of the rest"
        uses.append(f"{len(splits['dev'])} that choose the best epoch ({source})")
    uses.append(f"{len(splits['test'])} that are reported ({test_name})")
    lines = [f"{', '.join(uses)}."]
    if test_name == CROSS_VALIDATION:
        splits = DatasetDict(train=splits["train"])
        lines.append("Each of these is scored by a classifier that was fitted without it.")
    used = {find_split(dataset, args.train_split), test_name, "validation" if "dev" in splits and own else None}
    if args.hold_out is None and (unused := [name for name in dataset if name not in used]):
        unused = ", ".join(f"{name} ({len(dataset[name])} clips)" for name in unused)
        lines.append(f"Neither trained on nor reported: {unused}.")
    lines += describe_copies(splits)
    if alone := single_clips(splits):
        lines.append(f"Classes with a single clip, which is trained on and never reported: {', '.join(alone)}.")
    return " ".join(lines)


def single_clips(splits: DatasetDict) -> list[str]:
    """Return the names of the classes of which there is one clip in all splits."""
    counts = collections.Counter(
        index for split in splits.values() for classes in classes_of(split) for index in classes
    )
    names = label_names(splits["train"].features)
    return [names[index] for index in sorted(counts) if counts[index] == 1]


def describe_groups(test: Dataset, args: SplitArguments) -> dict:
    """Return the number of speakers, kits or folds of the reported clips, none of which is in train."""
    column = args.hold_out_column or args.group_column
    if column is None:
        return {}
    return {"apart": {"column": column, "groups": len(set(column_as_text(test, column)) - {""})}}


def describe_further(further: Dataset | None, args: SplitArguments) -> dict:
    """Return the names and the number of the additional training clips."""
    return {} if further is None else {"train_also": {"names": args.train_also_names, "clips": len(further)}}


def occurring(dataset: Dataset) -> set[int]:
    """Return the indices of the classes with clips."""
    several = isinstance(dataset.features["label"], List)
    return {index for value in dataset["label"] for index in (value if several else [value])}
