"""ExecuTorch programs with XNNPACK, for phones and other devices: one clip at a time."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from .formats import Examples, Format, two_clips


def write(module: nn.Module, examples: Examples, path: Path, metadata: dict[str, str]):
    """Write a program that takes one clip, with the metadata as methods without arguments."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(module, tuple(example[:1] for example in two_clips(examples)))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=metadata)
    path.write_bytes(lowered.to_executorch().buffer)


def read(path: Path, examples: Examples) -> np.ndarray:
    """Return the logits that ExecuTorch computes, clip by clip."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    rows = [[torch.from_numpy(example[row : row + 1]) for example in examples] for row in range(len(examples[0]))]
    return np.concatenate([method.execute(row)[0].numpy().copy() for row in rows])


EXECUTORCH = Format(".pte", "executorch", ("executorch",), write, read)
