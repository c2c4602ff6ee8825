"""Muon (https://kellerjordan.github.io/posts/muon/) for the matrices of a Mixer's layers, and AdamW for all else.

Muon orthogonalises the update of a matrix. Small students learn clearly more from it in the same time.
"""

from collections.abc import Callable

import torch
from torch import nn


MUON_FACTOR = 5.0  # learning rate of the matrices relative to AdamW's


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers of PyTorch as one: `torch.optim.Muon` and `torch.optim.AdamW`.

    Args:
        model: The model.
        is_matrix: Whether Muon trains a parameter, by its name; it must have two axes.
        lr: Learning rate of AdamW.
        weight_decay: Weight decay of parameters with several axes.
        betas: Coefficients of AdamW.
    """

    def __init__(
        self,
        model: nn.Module,
        is_matrix: Callable[[str], bool],
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
    ):
        trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
        matrices = [value for name, value in trained if value.ndim == 2 and is_matrix(name)]
        chosen = {id(value) for value in matrices}
        rest = [value for _, value in trained if id(value) not in chosen]
        groups = [
            {"params": [value for value in rest if value.ndim > 1], "weight_decay": weight_decay},
            {"params": [value for value in rest if value.ndim <= 1], "weight_decay": 0.0},
        ]
        muon = {"lr": MUON_FACTOR * lr, "weight_decay": weight_decay, "adjust_lr_fn": "original"}
        self.parts = [torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=betas)]
        self.parts += [torch.optim.Muon(matrices, **muon)] if matrices else []
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure=None):
        """Take a step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict:
        """Return the states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict):
        """Load what `state_dict` returned."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
