"""Files of weights: the same Mixer in every format, and what is damaged, foreign or unsafe."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from modeling_asm.conversion.weights import MODULES, ConversionError, find_weights, read_weights


def as_google(weights: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The same weights under the names and with the axes of Google's files."""
    names = {module.timm: module.google for module in MODULES}
    arrays = {}
    for key, tensor in weights.items():
        module, _, kind = key.rpartition(".")
        number = module.split(".")[1] if module.startswith("blocks.") else ""
        pattern = names[module.replace(f"blocks.{number}.", "blocks.N.") if number else module]
        if kind == "weight":
            kind = "scale" if tensor.ndim == 1 else "kernel"
            tensor = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor
        arrays[f"{pattern.replace('_N', f'_{number}')}/{kind}"] = tensor.numpy()
    return arrays


def test_googles_file_and_timms_give_the_same_model(mixer_weights, tmp_path):
    np.savez(tmp_path / "Mixer.npz", **as_google(mixer_weights))
    save_file(mixer_weights, tmp_path / "mixer.safetensors")
    torch.save(mixer_weights, tmp_path / "mixer.pth")
    torch.save({"state_dict": mixer_weights}, tmp_path / "mixer.pt")
    for name in ("Mixer.npz", "mixer.safetensors", "mixer.pth", "mixer.pt"):
        read = read_weights(tmp_path / name)
        assert set(read) == set(mixer_weights)
        for key in mixer_weights:
            torch.testing.assert_close(read[key], mixer_weights[key], rtol=0, atol=0)


class Stranger:
    """An object whose pickle would run code."""

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize("name", ["mixer.safetensors", "mixer.npz", "mixer.pth"])
def test_a_cut_file_is_named(mixer_weights, tmp_path, name):
    file = tmp_path / name
    if name.endswith("npz"):
        np.savez(file, **as_google(mixer_weights))
    else:
        save_file(mixer_weights, file) if name.endswith("safetensors") else torch.save(mixer_weights, file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ConversionError, match=rf"'{name}'.*(truncated or )?damaged"):
        read_weights(file)


def test_a_file_of_the_old_format_that_is_cut_anywhere(mixer_weights, tmp_path):
    """What torch raises depends on the place."""
    torch.save(mixer_weights, tmp_path / "whole.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "whole.pth").read_bytes()
    assert len(read_weights(tmp_path / "whole.pth")) == len(mixer_weights)
    for length in range(0, len(whole), 101):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(ConversionError, match=r"'cut\.pth'.*damaged"):
            read_weights(tmp_path / "cut.pth")


def test_values_that_are_no_numbers(mixer_weights, tmp_path):
    broken = torch.tensor([0.0, float("nan")])
    save_file(mixer_weights | {"norm.bias": broken}, tmp_path / "mixer.safetensors")
    with pytest.raises(ConversionError, match=r"has values in 'norm\.bias' that are infinite or not a number"):
        read_weights(tmp_path / "mixer.safetensors")


def test_two_arrays_for_one_tensor(mixer_weights, tmp_path):
    arrays = as_google(mixer_weights)
    arrays["pre_head_layer_norm/kernel"] = arrays["pre_head_layer_norm/scale"]
    np.savez(tmp_path / "Mixer.npz", **arrays)
    with pytest.raises(ConversionError, match=r"'pre_head_layer_norm/kernel' and another array for the same module"):
        read_weights(tmp_path / "Mixer.npz")


def test_a_strangers_pickle_is_refused(tmp_path):
    torch.save({"stem.proj.weight": Stranger()}, tmp_path / "mixer.pth")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(Stranger()))
    np.savez(tmp_path / "mixer.npz", **{"stem/kernel": np.array([Stranger()], dtype=object)})
    for name in ("mixer.pth", "plain.bin", "mixer.npz"):
        with pytest.raises(ConversionError, match=f"'{name}'.*not loaded"):
            read_weights(tmp_path / name)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "mixer.h5").write_bytes(b"")
    with pytest.raises(ConversionError, match=r"must end in \.safetensors"):
        read_weights(tmp_path / "mixer.h5")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ConversionError, match="does not hold a dictionary of tensors"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(ConversionError, match=r"There is no file 'missing\.npz'"):
        find_weights("missing.npz")
    with pytest.raises(ConversionError, match=r"has none of model\.safetensors"):
        find_weights(str(tmp_path))
