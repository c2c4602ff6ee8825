"""Time and memory of calls that are compared: in turns, so that all meet the same noise of the machine."""

import ctypes
import gc
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch


RESET_HIGHEST = Path("/proc/self/clear_refs")  # Linux: writing 5 makes what the process has the highest it had
PAUSE = 0.1  # seconds before a way's turn: the idle threads of another library spin for a while
LONG = 1.0  # seconds of a call after which another begins as warm as it gets


def time_in_turns(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    least: float = 0.1,
    budget: float = float("inf"),
    device: str | torch.device = "cpu",
) -> dict[str, list[float]]:
    """Time ways of doing something, each once in every round.

    Each way is called once before all rounds, which compiles and allocates what it needs. A turn is a pause, an
    uncounted call (of each way, unless every one takes more than a second), and calls for at least `least` seconds.

    Args:
        ways: What to call, by name.
        rounds: How many rounds.
        least: Seconds that a way is called for in each round, at least once.
        budget: Seconds for all rounds: beyond the first two, none begins that would be likely to exceed it.
        device: Where the work is done; an accelerator is waited for.

    Returns:
        For each way the mean seconds of a call, of each round.
    """
    device = torch.device(device)
    warm_up = min(time_call(work, device) for work in ways.values()) < LONG
    times: dict[str, list[float]] = {name: [] for name in ways}
    start = time.perf_counter()
    for index in range(rounds):
        if index >= 2 and (time.perf_counter() - start) * (index + 1) / index > budget:
            break
        for name, work in ways.items():
            time.sleep(PAUSE)
            if warm_up:
                time_call(work, device)
            times[name].append(time_call(work, device, least))
    return times


def time_call(work: Callable[[], object], device: torch.device, least: float = 0.0) -> float:
    """Return the mean seconds of a call, which is repeated for at least so many seconds."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < least:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        calls += 1
    return (time.perf_counter() - start) / calls


def measure_memory(work: Callable[[], object], device: str | torch.device = "cpu") -> float | None:
    """Return the MB (of 1,000,000 bytes) that a call needs at most beyond what is there before it.

    They are the device's, or the process's. What a first call alone needs counts, too: call it once before.

    Returns:
        The MB; or `None` for a processor's memory where the system does not tell it (only Linux does).
    """
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return round((torch.cuda.max_memory_allocated(device) - before) / 1e6, 1)
    if not os.access(RESET_HIGHEST, os.W_OK):
        work()
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps memory for later calls, which would not count
    if trim is not None:
        trim(0)
    RESET_HIGHEST.write_text("5")
    before = read_memory("VmRSS")
    work()
    return round(read_memory("VmHWM") - before, 1)


def read_memory(name: str) -> float:
    """Return the MB that Linux keeps under a name: what the process has (`VmRSS`), or had at most (`VmHWM`)."""
    kibibytes = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)
    return int(kibibytes) * 1024 / 1e6
