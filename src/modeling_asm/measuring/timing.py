"""Time and memory of calls that are compared: in turns, so that all meet the same noise of the machine."""

import ctypes
import gc
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch


RESET_HIGHEST = Path("/proc/self/clear_refs")  # Linux: writing 5 resets the peak memory of the process
PAUSE = 0.1  # seconds before a turn: the idle threads of another library spin for a while
LONG = 1.0  # seconds; calls that take longer need no warm-up


def time_in_turns(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    least: float = 0.1,
    budget: float = float("inf"),
    device: str | torch.device = "cpu",
) -> dict[str, list[float]]:
    """Time alternatives, each once per round.

    Each alternative is called once before all rounds, to compile and allocate. A turn is a pause, an uncounted call
    (unless every alternative takes more than a second), and calls for at least `least` seconds.

    Args:
        ways: The alternatives by name.
        rounds: Number of rounds.
        least: Minimum seconds of calls per turn; at least one call is made.
        budget: Seconds for all rounds: after the first two, no round starts that would probably exceed it.
        device: Where the work is done; accelerators are synchronised.

    Returns:
        For each alternative the mean seconds of a call, one value per round.
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
    """Return the mean seconds of a call that is repeated for at least `least` seconds."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < least:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        calls += 1
    return (time.perf_counter() - start) / calls


def measure_memory(work: Callable[[], object], device: str | torch.device = "cpu") -> float | None:
    """Return the peak memory of a call beyond what was allocated before it, in MB (1,000,000 bytes).

    It is the memory of the device or, on a CPU, of the process. Call the work once before: a first call needs more.

    Returns:
        The MB, or `None` for a CPU on systems other than Linux, which do not report it.
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
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps freed memory, whose reuse would not count
    if trim is not None:
        trim(0)
    RESET_HIGHEST.write_text("5")
    before = read_memory("VmRSS")
    work()
    return round(read_memory("VmHWM") - before, 1)


def read_memory(name: str) -> float:
    """Return the current (`VmRSS`) or peak (`VmHWM`) memory of the process on Linux, in MB."""
    kibibytes = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)
    return int(kibibytes) * 1024 / 1e6
