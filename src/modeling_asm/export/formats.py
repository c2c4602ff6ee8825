"""What every export format has in common: how it is written, read back and described."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


Examples = tuple[np.ndarray, ...]  # the inputs of a batch: features, or waveforms and their lengths


@dataclass(frozen=True)
class Format:
    """A file format for one runtime.

    Args:
        suffix: Extension of its files, such as `".onnx"`.
        extra: The extra of `pip install "modeling_asm[...]"` that brings its packages.
        packages: The packages that it needs.
        write: Called with a module, example inputs, the path and the metadata.
        read: Called with the path and example inputs; returns the logits that the runtime computes.
    """

    suffix: str
    extra: str | None
    packages: tuple[str, ...]
    write: Callable[[nn.Module, Examples, Path, dict[str, str]], None]
    read: Callable[[Path, Examples], np.ndarray]

    def check_packages(self):
        """Raise `ImportError` if a package is missing; the message says how to install it."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            names = ", ".join(missing)
            raise ImportError(f"{self.suffix} needs {names}: `pip install 'modeling_asm[{self.extra}]'`.")


def input_names(examples: Examples) -> list[str]:
    """Return the names of the inputs: those of waveforms, or of features."""
    return ["waveform", "num_samples"] if len(examples) == 2 else ["input_values"]


def two_clips(examples: Examples) -> tuple[Tensor, ...]:
    """Return the first two examples, or one twice: exporters take an axis of size 1 for a fixed one."""
    return tuple(torch.from_numpy(example[np.arange(2) % len(example)]) for example in examples)


def any_batch(examples: Examples) -> tuple[dict, ...]:
    """Return the dynamic shapes: one batch size for all inputs."""
    batch = torch.export.Dim("batch_size")
    return tuple({0: batch} for _ in examples)
