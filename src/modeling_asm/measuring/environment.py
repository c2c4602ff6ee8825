"""The machine and the versions behind a measurement, without names and paths."""

import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch


PACKAGES = ("torch", "transformers", "datasets", "accelerate", "huggingface-hub", "numpy")


def describe_environment() -> dict:
    """Return date, machine and versions."""
    return {
        "date": date.today().isoformat(),
        "processor": platform.machine(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def describe_machine() -> dict:
    """Return the environment with the name of the processor and its instructions, for benchmarks."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    capability = torch.backends.cpu.get_cpu_capability()
    bf16 = any("avx512_bf16" in line or "amx_bf16" in line for line in lines if line.startswith("flags"))
    return {**describe_environment(), "processor_name": model, "instructions": capability, "bfloat16": bf16}
