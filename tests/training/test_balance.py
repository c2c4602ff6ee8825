import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from modeling_asm.training.balance import balancing_probabilities, class_weights, count_classes


NAMES = ClassLabel(names=["cat", "dog", "wolf"])


def labelled(labels: list, feature) -> Dataset:
    return Dataset.from_dict({"label": labels}, features=Features({"label": feature}))


def test_one_label_a_clip():
    dataset = labelled([0] * 20 + [1] * 2, ClassLabel(names=["cat", "dog"]))
    assert count_classes(dataset).tolist() == [20, 2]
    assert balancing_probabilities(dataset) == pytest.approx([1 / 40] * 20 + [1 / 4] * 2)
    assert class_weights(dataset).tolist() == pytest.approx([22 / 40, 22 / 4])


def test_several_labels_a_clip():
    """A clip is drawn for its rarest label; a weight is that of the clips that have the label against those without."""
    dataset = labelled([[0], [0, 1], [0], [], [0]], List(NAMES))
    assert count_classes(dataset).tolist() == [4, 1, 0]
    assert balancing_probabilities(dataset) == pytest.approx([1 / 7, 4 / 7, 1 / 7, 0, 1 / 7])
    assert class_weights(dataset).tolist() == pytest.approx([1 / 4, 4, 4])


def test_a_class_without_clips_has_a_finite_weight():
    assert class_weights(labelled([0, 0, 1], NAMES)).tolist() == pytest.approx([1 / 2, 1, 1])


@pytest.mark.parametrize("balance", [balancing_probabilities, class_weights])
def test_numbers_have_no_classes(balance):
    with pytest.raises(ValueError, match="needs classes, and a regression has none: leave it out"):
        balance(labelled([0.5, 1.5], Value("float32")))
