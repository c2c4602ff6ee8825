"""Labels: text and numbers to class indices, lists of them or floats, and from one model's classes to another's."""

from collections.abc import Callable

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value


SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def problem_type_of(features: Features) -> str:
    """Tell the problem type from the feature of the column `label`."""
    label = features["label"]
    if isinstance(label, ClassLabel):
        return SINGLE
    return MULTI if isinstance(label, List) else REGRESSION


def label_names(features: Features) -> list[str]:
    """Return the names of the classes; a regression has the one output `value`."""
    label = features["label"]
    if isinstance(label, List):
        label = label.feature
    return list(label.names) if isinstance(label, ClassLabel) else ["value"]


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
        source: What to call the data in messages.
        problem_type: As in a model's config; by default the column's type decides.
        labels: The classes, in order; by default all that occur in any split, sorted. Clips with another label are
            left out, or, where a clip has several labels, those labels are.
        other_label: One of `labels`, which stands for all that are not among them.
        separator: What stands between the labels of a clip, where a text holds several.

    Returns:
        The splits with a `ClassLabel`, a list of them, or a float32 in `label`.

    Raises:
        ValueError: If labels do not fit the problem type, are fewer than two, have to be listed, or are listed and do
            not occur.
    """
    features = next(iter(dataset.values())).features
    if features is None:
        raise ValueError(f"{source!r} does not say what its columns hold; load it without --streaming.")
    feature = features["label"]
    listed, several = isinstance(feature, List), isinstance(feature, List) or separator is not None
    feature = feature.feature if listed else feature
    check_labelled(dataset, source, feature)
    fraction = not several and not labels and has_fractions(dataset, feature)
    problem_type = problem_type or (MULTI if several else REGRESSION if fraction else SINGLE)
    if several != (problem_type == MULTI):
        raise ValueError(
            f"The labels of {source!r} are {'lists' if several else 'single values'}, which does not fit the problem "
            f"type {problem_type!r}.{'' if several else ' Give --label_separator where a text holds several labels.'}"
        )
    if problem_type == REGRESSION:
        return encode_numbers(dataset, source)
    named = feature.names if isinstance(feature, ClassLabel) else None
    streamed = not isinstance(next(iter(dataset.values())), Dataset)
    if not labels and named is None and streamed:
        raise ValueError(f"The labels of {source!r} are text and it is streamed, so they must be listed by --labels.")

    def text(value) -> list[str]:
        if named is not None:
            return [named[item] for item in (value if listed else [value])]
        return texts_of(value, separator)

    known = named
    if known is None and not streamed:
        known = sorted({item for split in dataset.values() for value in split["label"] for item in text(value)})
    for label in (labels or []) if known is not None else []:
        if label not in known and label != other_label:
            raise ValueError(f"No clip of {source!r} has the label {label!r}; they have: {', '.join(known)}.")
    labels = labels or known
    if len(labels) < 2 or (other_label is not None and other_label not in labels):
        raise ValueError(
            f"{source!r} has {len(labels)} labels {list(labels)}, expected at least two"
            f"{f', {other_label!r} among them' if other_label else ''}: one sub-folder a class, or a metadata.csv, "
            "each in the folder itself or in a sub-folder a split (train, validation, test)."
        )
    index = {label: number for number, label in enumerate(labels)}
    other = index[other_label] if other_label is not None else None

    def encode(value) -> list[int]:
        found = (index.get(item, other) for item in text(value))
        return sorted({number for number in found if number is not None})

    class_label = ClassLabel(names=list(labels))
    return replace_labels(dataset, encode, List(class_label) if several else class_label)


def texts_of(value, separator: str | None) -> list[str]:
    """Return the labels of a clip as text."""
    if isinstance(value, list):
        return [str(item) for item in value]
    if separator is not None:
        return [item.strip() for item in str(value).split(separator) if item.strip()]
    return [str(value)]


def encode_alike(clips: Dataset, features: Features, source: str, separator: str | None = None) -> Dataset:
    """Turn the column `label`, of text or numbers, into what the features of another data set have in it.

    Raises:
        ValueError: If a clip has no label, one that the other data set does not have, or, of one class each, several.
    """
    splits = DatasetDict(all=clips)
    check_labelled(splits, source, clips.features["label"])
    if problem_type_of(features) == REGRESSION:
        return encode_numbers(splits, source)["all"]
    names, several = label_names(features), isinstance(features["label"], List)

    def encode(value) -> list[int]:
        texts = texts_of(value, separator)
        if unknown := [text for text in texts if text not in names]:
            raise ValueError(
                f"{source!r} has the label {unknown[0]!r}, which the data that is reported does not have; it has: "
                f"{', '.join(names)}. Clips to train on, too, must be of these classes: leave the others out."
            )
        if not several and len(texts) != 1:
            raise ValueError(f"{source!r} has a clip with the labels {value}, expected one: leave it out.")
        return sorted(names.index(text) for text in texts)

    return replace_labels(splits, encode, features["label"])["all"]


def check_labelled(dataset: DatasetDict, source: str, feature):
    """Raise `ValueError` at the first clip without a label: `None`, or the -1 that `ClassLabel` has for it."""
    lowest = 0 if isinstance(feature, ClassLabel) else None
    for name, split in dataset.items():
        for row, value in enumerate(split["label"] if isinstance(split, Dataset) else []):
            items = value if isinstance(value, list) else [value]
            if any(item is None or (lowest is not None and item < lowest) for item in items):
                raise ValueError(
                    f"The split {name!r} of {source!r} has no label in row {row}: {value}. Fill it in, or leave the "
                    "clip out."
                )


def has_fractions(dataset: DatasetDict, feature) -> bool:
    """Tell whether labels are numbers with fractions, also as text, as in a CSV file."""
    if not isinstance(feature, Value) or feature.dtype.startswith("float"):
        return isinstance(feature, Value)
    if feature.dtype not in ("string", "large_string"):
        return False
    try:
        numbers = [float(value) for split in dataset.values() if isinstance(split, Dataset) for value in split["label"]]
    except ValueError:
        return False
    return any(not number.is_integer() for number in numbers)


def replace_labels(dataset: DatasetDict, encode: Callable[[object], list[int]], feature):
    """Replace labels by what `encode` makes of them; rows with one label that it does not know are left out."""
    several, result = isinstance(feature, List), {}
    for name, split in dataset.items():
        if isinstance(split, Dataset):  # a new column leaves the audio where it is, which `map` would copy
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
    """Make the column `label` float32."""
    try:
        return dataset.cast_column("label", Value("float32"))
    except Exception as error:  # pyarrow's own errors have no common name
        raise ValueError(f"A regression needs numbers, but the labels of {source!r} are not: {error}") from error


def align_labels(dataset: Dataset, id2label: dict[int, str], model_name: str) -> Dataset:
    """Renumber the labels of a data set as a model's config does.

    Raises:
        ValueError: If the data has a label that the model does not know.
    """
    names, known = label_names(dataset.features), [id2label[index] for index in sorted(id2label)]
    if problem_type_of(dataset.features) == REGRESSION:
        return dataset
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"The data has the label {unknown[0]!r}, which the checkpoint {model_name!r} does not know; it knows: "
            f"{', '.join(known)}. Leave such clips out by --labels, or train the checkpoint on them."
        )
    several = isinstance(dataset.features["label"], List)
    feature = ClassLabel(names=known)
    split = replace_labels(
        DatasetDict(all=dataset),
        lambda value: [known.index(names[item]) for item in (value if several else [value])],
        List(feature) if several else feature,
    )
    return split["all"]
