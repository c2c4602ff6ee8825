import os
import time
from functools import partial

import pytest
import torch

from modeling_asm.measuring import timing
from modeling_asm.measuring.timing import RESET_HIGHEST, measure_memory, time_in_turns


def test_ways_take_turns():
    order = []

    def work(name: str, seconds: float):
        order.append(name)
        time.sleep(seconds)

    times = time_in_turns({name: partial(work, name, wait) for name, wait in (("short", 0.03), ("long", 0.06))}, 3, 0)
    assert [len(values) for values in times.values()] == [3, 3]
    assert min(times["short"]) >= 0.03
    assert min(times["long"]) >= 0.06
    turns = [name for name, before in zip(order, ["", *order]) if name != before]
    assert turns == ["short", "long"] * (1 + 3)
    assert order.count("short") == order.count("long") == 1 + 3 * 2  # the first, and that of each turn, do not count


def test_a_budget_ends_the_rounds_after_two():
    assert len(time_in_turns({"nothing": list}, 5, least=0, budget=0)["nothing"]) == 2


@pytest.mark.parametrize("shortest, calls", [(1.05, 1 + 1), (0.2, 1 + 2)])
def test_long_calls_are_as_warm_as_those_beside_them(shortest: float, calls: int):
    order = []

    def work(name: str, seconds: float):
        order.append(name)
        time.sleep(seconds)

    time_in_turns({name: partial(work, name, wait) for name, wait in (("shorter", shortest), ("long", 1.1))}, 1)
    assert order.count("long") == order.count("shorter") == calls


@pytest.mark.skipif(not os.access(RESET_HIGHEST, os.W_OK), reason="Linux tells what a process had at most")
def test_memory_that_is_given_back_counts():
    def work():
        torch.ones(50_000_000).sum()

    work()  # what only a first call needs is of no interest
    assert 195 < measure_memory(work) < 215  # 200: 50 million float32 of 4 bytes; the system counts in steps


def test_memory_of_a_processor_that_does_not_tell(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(timing, "RESET_HIGHEST", tmp_path / "missing")
    assert measure_memory(partial(calls.append, 1)) is None
    assert calls == [1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_of_a_gpu():
    assert measure_memory(lambda: torch.ones(50_000_000, device="cuda"), "cuda") == pytest.approx(200, abs=1)
