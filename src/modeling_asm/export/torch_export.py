"""Programs of `torch.export`, for `torch.export.load`."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from .formats import Examples, Format, any_batch, two_clips


def write(module: nn.Module, examples: Examples, path: Path, metadata: dict[str, str]):
    """Write a program for any batch size, with the metadata as extra files."""
    program = torch.export.export(module, two_clips(examples), dynamic_shapes=any_batch(examples))
    torch.export.save(program, path, extra_files=metadata)


def read(path: Path, examples: Examples) -> np.ndarray:
    """Return the logits that the program computes."""
    module = torch.export.load(path).module()
    return module(*(torch.from_numpy(example) for example in examples)).numpy()


TORCH_EXPORT = Format(".pt2", None, (), write, read)
