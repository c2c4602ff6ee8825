# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Inference on a CPU, a few examples at a time: the hidden units of a layer then stay in the processor's cache.

The stage `forward` of the benchmark measures it against the matrix products alone, which are done in the same blocks.
Elsewhere (training, accelerators, compiled or traced graphs, modules with hooks) a layer gets the whole batch.
"""

import torch
from torch import Tensor, nn


BYTES_PER_BLOCK = 2**24  # bytes of hidden units that a layer computes together


def run_layer(layer: nn.Module, hidden_states: Tensor) -> Tensor:
    """Apply a layer to `(batch_size, num_patches, hidden_size)`, in blocks of examples where that is faster."""
    graph = torch.compiler.is_compiling() or torch.jit.is_tracing()  # which must accept any batch size
    if graph or torch.is_grad_enabled() or layer.training or hidden_states.device.type != "cpu":
        return layer(hidden_states)
    if any(module._forward_hooks or module._forward_pre_hooks for module in layer.modules()):  # they expect the batch
        return layer(hidden_states)
    blocks = split_into_blocks(layer, hidden_states)
    return torch.cat([layer(block) for block in blocks]) if len(blocks) > 1 else layer(hidden_states)


def split_into_blocks(layer: nn.Module, hidden_states: Tensor) -> tuple[Tensor, ...]:
    """Split a batch into blocks of at least one example, by the hidden units of the layer's two mixings."""
    units = max(layer.token_mixing.num_units, hidden_states.shape[1] * layer.channel_mixing.fc1.out_features)
    return hidden_states.split(max(1, BYTES_PER_BLOCK // (units * hidden_states.element_size())))
