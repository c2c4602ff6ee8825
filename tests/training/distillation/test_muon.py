import copy

import torch
from torch import nn

from modeling_asm.training.distillation.muon import MUON_FACTOR, MuonWithAdamW


def make() -> tuple[nn.Module, MuonWithAdamW]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2))
    return model, MuonWithAdamW(model, lambda name: name.startswith("0."), 0.01, 0.05, (0.9, 0.98))


def step(model, optimizer):
    optimizer.zero_grad()
    torch.manual_seed(1)
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()


def test_matrices_get_muon_and_the_rest_adamw():
    """The first step of each against PyTorch's own optimizers."""
    model, optimizer = make()
    alone = copy.deepcopy(model)
    step(model, optimizer)
    rest = [alone[0].bias, *alone[2].parameters()]
    others = [torch.optim.Muon([alone[0].weight], lr=MUON_FACTOR * 0.01, weight_decay=0.05, adjust_lr_fn="original")]
    others.append(torch.optim.AdamW([rest[1]], lr=0.01, weight_decay=0.05, betas=(0.9, 0.98)))
    others.append(torch.optim.AdamW([rest[0], rest[2]], lr=0.01, weight_decay=0.0, betas=(0.9, 0.98)))
    torch.manual_seed(1)
    alone(torch.randn(8, 4)).square().mean().backward()
    for other in others:
        other.step()
    for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_schedule_reaches_both():
    model, optimizer = make()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: 0.0 if count else 1.0)
    step(model, optimizer)
    scheduler.step()
    before = copy.deepcopy(model.state_dict())
    step(model, optimizer)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_it_continues_from_its_state():
    model, optimizer = make()
    step(model, optimizer)
    again, other = make()
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        step(model, optimizer)
        step(again, other)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    for group in other.param_groups:
        group["lr"] = 0.0  # a schedule still reaches it
    before = copy.deepcopy(again.state_dict())
    step(again, other)
    assert all(torch.equal(before[name], value) for name, value in again.state_dict().items())


def test_frozen_parameters_and_a_model_without_matrices():
    model, _ = make()
    model[0].requires_grad_(False)
    optimizer = MuonWithAdamW(model, lambda name: name.startswith("0."), 0.01, 0.05, (0.9, 0.98))
    assert len(optimizer.parts) == 1
    step(model, optimizer)
