"""Time and memory of calls that are compared: in turns, so that all meet the same noise of the machine."""

import ctypes
import gc
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch


RESET_HIGHEST = Path("/proc/self/clear_refs")  # Linux: writing 5 makes what the process has the highest it had
PAUSE = 0.1  # seconds before a way's turn: the idle threads of another library spin for a while
LONG = 1.0  # seconds of a call before which none is left uncounted


def time_in_turns(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    least: float = 0.1,
    budget: float = float("inf"),
    device: str | torch.device = "cpu",
) -> dict[str, list[float]]:
    """Time ways of doing something, each once in every round.

    A turn is a pause, an uncounted call (unless calls take more than a second), and calls for at least `least` seconds.

    Args:
        ways: What to call, by name.
        rounds: How many rounds.
        least: Seconds that a way is called for in each round, at least once.
        budget: Seconds for all rounds: beyond the first two, none begins that would be likely to exceed it.
        device: Where the work is done; an accelerator is waited for.

    Returns:
        For each way the mean seconds of a call, of each round.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    start = time.perf_counter()
    for index in range(rounds):
        if index >= 2 and (time.perf_counter() - start) * (index + 1) / index > budget:
            break
        for name, work in ways.items():
            times[name].append(time_turn(work, least, torch.device(device)))
    return times


def time_turn(work: Callable[[], object], least: float, device: torch.device) -> float:
    """Return the mean seconds of a call in one turn."""

    def call():
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    time.sleep(PAUSE)
    start, calls = time.perf_counter(), 0
    call()
    if (first := time.perf_counter() - start) > LONG:
        return first
    start = time.perf_counter()
    while calls == 0 or time.perf_counter() - start < least:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def measure_memory(work: Callable[[], object], device: str | torch.device = "cpu") -> float | None:
    """Return the MB that a call needs at most beyond what is there before it: on the device, or of the process.

    `None` for a processor's memory where the system does not tell it (only Linux does).
    """
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return round((torch.cuda.max_memory_allocated(device) - before) / 1e6, 1)
    if not RESET_HIGHEST.exists():
        work()
        return None
    ctypes.CDLL(None).malloc_trim(0)  # memory that was used and is kept would not count
    RESET_HIGHEST.write_text("5")
    before = read_memory("VmRSS")
    work()
    return round(read_memory("VmHWM") - before, 1)


def read_memory(name: str) -> float:
    """Return the MB that Linux keeps under a name: what the process has (`VmRSS`), or had at most (`VmHWM`)."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1000
