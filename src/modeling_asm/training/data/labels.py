"""Labels: from text, numbers or lists to class indices, from one model's classes to another's, and their balance."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers.utils import logging

from ..tasks import MultiLabel, Regression, SingleLabel, label_names, task_of


logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class LabelColumn:
    """The column `label` of splits, as it was loaded.

    Args:
        dataset: The splits.
        source: Name of the data in messages.
        separator: Separator between the labels in a text, if a clip may have several.
    """

    dataset: DatasetDict
    source: str
    separator: str | None = None

    def __post_init__(self):
        if next(iter(self.dataset.values())).features is None:
            raise ValueError(f"{self.source!r} does not declare its columns. Load it without --streaming.")

    @property
    def feature(self):
        """Type of a label, without a list around it."""
        feature = next(iter(self.dataset.values())).features["label"]
        return feature.feature if isinstance(feature, List) else feature

    @property
    def listed(self) -> bool:
        """Whether the column holds lists."""
        return isinstance(next(iter(self.dataset.values())).features["label"], List)

    @property
    def several(self) -> bool:
        """Whether a clip may have several labels."""
        return self.listed or self.separator is not None

    @property
    def streamed(self) -> bool:
        return not isinstance(next(iter(self.dataset.values())), Dataset)

    def texts(self, value) -> list[str]:
        """Return the labels of a clip as text."""
        values = value if self.listed else [value]
        if isinstance(self.feature, ClassLabel):
            return [self.feature.names[item].strip() for item in values]
        return [text for item in values for text in split_text(item, self.separator)]

    def known(self) -> list[str] | None:
        """Return the classes: those that the column declares, or all that occur; `None` for a stream."""
        if isinstance(self.feature, ClassLabel):
            return list(dict.fromkeys(name.strip() for name in self.feature.names))
        if self.streamed:
            return None
        return sorted(
            {text for split in self.dataset.values() for value in split["label"] for text in self.texts(value)}
        )

    def padded(self) -> list[str]:
        """Return labels with space around them, as they were written; those of a stream are not known."""
        if isinstance(self.feature, ClassLabel):
            texts = set(self.feature.names)
        elif self.streamed or self.separator is not None:
            texts = set()
        else:
            values = (value for split in self.dataset.values() for value in split["label"])
            texts = {str(item) for value in values for item in (value if self.listed else [value])}
        return sorted(text for text in texts if text != text.strip())

    def infer_problem_type(self) -> str:
        """Return several labels for lists, a regression for numbers with fractions, and else one label per clip."""
        if self.several:
            return MultiLabel.problem_type
        return Regression.problem_type if self._has_fractions() else SingleLabel.problem_type

    def _has_fractions(self) -> bool:
        if not isinstance(self.feature, Value) or self.feature.dtype.startswith("float"):
            return isinstance(self.feature, Value)
        if self.feature.dtype not in ("string", "large_string"):
            return False
        splits = [split for split in self.dataset.values() if isinstance(split, Dataset)]
        try:
            numbers = [float(value) for split in splits for value in split["label"]]
        except ValueError:
            return False
        return any(not number.is_integer() for number in numbers)

    def check_labelled(self):
        """Raise `ValueError` at the first clip without a label: `None`, or the -1 of a `ClassLabel`."""
        lowest = 0 if isinstance(self.feature, ClassLabel) else None
        for name, split in self.dataset.items():
            for row, value in enumerate(split["label"] if isinstance(split, Dataset) else []):
                items = value if isinstance(value, list) else [value]
                if any(item is None or (lowest is not None and item < lowest) for item in items):
                    raise ValueError(
                        f"The split {name!r} of {self.source!r} has no label in row {row}: {value}. Add it, or remove "
                        "the clip."
                    )


def split_text(value, separator: str | None) -> list[str]:
    """Return the labels in a text, or in a number."""
    if separator is None:
        return [str(value).strip()]
    return [item.strip() for item in str(value).split(separator) if item.strip()]


def encode_labels(
    dataset: DatasetDict,
    source: str,
    problem_type: str | None = None,
    labels: list[str] | None = None,
    other_label: str | None = None,
    separator: str | None = None,
):
    """Turn the column `label` into what models are trained with.

    Args:
        dataset: Splits with the column `label`: text, numbers, class indices, or lists of them.
        source: Name of the data in messages.
        problem_type: As in a model's config; by default, the type of the column decides.
        labels: The classes, in order; by default all that occur in any split, sorted. Clips with other labels are
            dropped or, if a clip may have several labels, the other labels are.
        other_label: One of `labels`, which replaces all that are not among them.
        separator: Separator between the labels in a text, if a clip may have several.

    Returns:
        The splits with a `ClassLabel`, a list of them, or a float32 in `label`.

    Raises:
        ValueError: If labels do not fit the problem type, are fewer than two, must be listed but are not, or are
            listed but do not occur.
    """
    column = LabelColumn(dataset, source, separator)
    column.check_labelled()
    if problem_type is None:
        problem_type = SingleLabel.problem_type if labels and not column.several else column.infer_problem_type()
    if column.several != (problem_type == MultiLabel.problem_type):
        raise ValueError(
            f"The labels of {source!r} are {'lists' if column.several else 'single values'}, which does not fit the "
            f"problem type {problem_type!r}."
            f"{'' if column.several else ' Use --label_separator if a text holds several labels.'}"
        )
    if problem_type == Regression.problem_type:
        if labels or other_label is not None:
            raise ValueError("--labels and --other_label choose classes, and a regression has none. Leave them out.")
        return encode_numbers(dataset, source)
    if other_label is not None and not labels:
        raise ValueError("--other_label is one of --labels, which lists the classes to keep. Set both.")
    if padded := column.padded():
        names = ", ".join(map(repr, padded[:3])) + (", ..." if len(padded) > 3 else "")
        logger.warning(f"Labels of {source!r} are read without the space around them: {names}.")
    labels = choose_classes(column, labels, other_label)
    index = {label: number for number, label in enumerate(labels)}
    other = index.get(other_label)

    def encode(value) -> list[int]:
        found = (index.get(text, other) for text in column.texts(value))
        return sorted({number for number in found if number is not None})

    class_label = ClassLabel(names=list(labels))
    return replace_labels(dataset, encode, List(class_label) if column.several else class_label)


def choose_classes(column: LabelColumn, labels: list[str] | None, other_label: str | None) -> list[str]:
    """Return the classes to train on, and check that they occur."""
    known, source = column.known(), column.source
    if not labels and known is None:
        raise ValueError(f"The labels of {source!r} are text in a stream. List them with --labels.")
    for label in (labels or []) if known is not None else []:
        if label not in known and label != other_label:
            raise ValueError(f"No clip of {source!r} has the label {label!r}. They have: {', '.join(known)}.")
    labels = labels or known
    if other_label is not None and other_label not in labels:
        raise ValueError(f"--other_label {other_label!r} must be one of --labels. They are: {', '.join(labels)}.")
    if len(labels) < 2:
        raise ValueError(
            f"{source!r} has the labels: {', '.join(labels)}. A classifier needs at least two: one sub-folder per "
            "class, or a metadata.csv, in the folder itself or in one sub-folder per split (train, validation, test)."
        )
    return labels


def encode_alike(clips: Dataset, features: Features, source: str, separator: str | None = None) -> Dataset:
    """Encode the column `label`, of text or numbers, as another data set's features do.

    Raises:
        ValueError: If a clip has no label, an unknown one, or several where there should be one.
    """
    column = LabelColumn(DatasetDict(all=clips), source, separator)
    column.check_labelled()
    task, names = task_of(features), label_names(features)
    if isinstance(task, Regression):
        return encode_numbers(column.dataset, source)["all"]

    def encode(value) -> list[int]:
        texts = column.texts(value)
        if unknown := [text for text in texts if text not in names]:
            raise ValueError(
                f"{source!r} has the label {unknown[0]!r}, but the reported data does not. It has: {', '.join(names)}. "
                "Remove the clips of other classes."
            )
        if isinstance(task, SingleLabel) and len(texts) != 1:
            raise ValueError(f"{source!r} has a clip with the labels {value}, expected one. Remove it.")
        return sorted(names.index(text) for text in texts)

    return replace_labels(column.dataset, encode, features["label"])["all"]


def replace_labels(dataset: DatasetDict, encode: Callable[[object], list[int]], feature):
    """Replace labels with what `encode` returns. Without several labels, rows that it maps to nothing are dropped."""
    several, result = isinstance(feature, List), {}
    for name, split in dataset.items():
        if isinstance(split, Dataset):  # a new column leaves the audio in place, which `map` would copy
            encoded = [encode(value) for value in split["label"]]
            rows = [row for row, value in enumerate(encoded) if value or several]
            column = encoded if several else [value[0] if value else -1 for value in encoded]
            split = split.remove_columns("label").add_column("label", column, feature=feature)
            result[name] = split if len(rows) == len(split) else split.select(rows)
            continue
        known = split if several else split.filter(lambda value: bool(encode(value)), input_columns="label")
        result[name] = known.map(
            lambda value: {"label": encode(value) if several else encode(value)[0]},
            input_columns="label",
            features=Features({**split.features, "label": feature}),
        )
    return type(dataset)(result)


def encode_numbers(dataset: DatasetDict, source: str):
    """Cast the column `label` to float32, and check that its values are finite."""
    try:
        dataset = dataset.cast_column("label", Value("float32"))
    except Exception as error:  # pyarrow's errors have no common class
        raise ValueError(f"A regression needs numbers, but the labels of {source!r} are not: {error}") from error
    for name, split in dataset.items():
        values = np.array(split["label"] if isinstance(split, Dataset) else [], dtype=np.float32)
        if (wrong := np.flatnonzero(~np.isfinite(values))).size > 0:
            raise ValueError(
                f"The split {name!r} of {source!r} has the label {values[wrong[0]]} in row {wrong[0]}, expected a "
                "number. Correct it, or remove the clip."
            )
    return dataset


def align_labels(dataset: Dataset, id2label: dict[int, str], model_name: str) -> Dataset:
    """Renumber the labels of a data set as a model's config does.

    Raises:
        ValueError: If the data has a label that the model does not have.
    """
    task, names = task_of(dataset.features), label_names(dataset.features)
    if isinstance(task, Regression):
        return dataset
    known = [id2label[index] for index in sorted(id2label)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"The data has the label {unknown[0]!r}, but the checkpoint {model_name!r} does not. It has: "
            f"{', '.join(known)}. Drop such clips with --labels, or train the checkpoint on them."
        )
    several, feature = isinstance(task, MultiLabel), ClassLabel(names=known)
    split = replace_labels(
        DatasetDict(all=dataset),
        lambda value: [known.index(names[item]) for item in (value if several else [value])],
        List(feature) if several else feature,
    )
    return split["all"]


def count_classes(dataset: Dataset) -> np.ndarray:
    """Count the clips of each class: integers of shape `(num_labels,)`.

    Raises:
        ValueError: If the labels are numbers.
    """
    return task_of(dataset.features).count_classes(dataset["label"], len(label_names(dataset.features)))


def balancing_probabilities(dataset: Dataset) -> np.ndarray:
    """Return the probability of each clip, shape `(num_clips,)`, with which all classes are drawn equally often.

    A clip with several labels has the weight of its rarest one.
    """
    rarity = 1 / np.maximum(count_classes(dataset), 1)
    weights = np.array([np.max(rarity[label], initial=0.0) for label in dataset["label"]])
    return weights / weights.sum()
