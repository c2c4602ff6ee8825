import numpy as np
import pytest

from modeling_asm.export.formats import Format, any_batch, input_names, two_clips
from modeling_asm.export.write import FORMATS


def test_a_missing_package_is_named_with_the_extra_that_has_it():
    written = Format(".xyz", "xyz", ("numpy", "no_such_package"), print, print)
    with pytest.raises(ImportError, match=r"\.xyz needs no_such_package: `pip install 'modeling_asm\[xyz\]'`"):
        written.check_packages()
    Format(".pt2", None, (), print, print).check_packages()
    written = Format(".xyz", "xyz", ("no_such_package", "nor_this"), print, print)
    with pytest.raises(ImportError, match=r"\.xyz needs no_such_package, nor_this: `pip"):
        written.check_packages()


def test_formats_go_by_their_endings():
    assert list(FORMATS) == [".onnx", ".pt2", ".pte"]
    assert all(suffix == written.suffix for suffix, written in FORMATS.items())


def test_inputs_of_features_and_of_waveforms():
    assert input_names((np.zeros((1, 4, 3)),)) == ["input_values"]
    assert input_names((np.zeros((1, 99)), np.array([9]))) == ["waveform", "num_samples"]


def test_one_batch_size_for_all_inputs():
    shapes = any_batch((np.zeros((1, 99)), np.array([9])))
    assert [list(shape) for shape in shapes] == [[0], [0]]
    assert shapes[0][0] is shapes[1][0]
    assert shapes[0][0].__name__ == "batch_size"  # which ONNX files show


def test_an_exporter_gets_two_clips():
    one, three = np.zeros((1, 4)), np.arange(12.0).reshape(3, 4)
    assert [tensor.shape for tensor in two_clips((one,))] == [(2, 4)]
    assert two_clips((three,))[0].tolist() == three[:2].tolist()
