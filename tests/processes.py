"""Python processes that start fast, as forks of one that has imported the largest libraries; not a test.

Those imports take longer than most commands that are tested. huggingface_hub, transformers, datasets and this package
are not among them: they read the environment when they are imported, which each process does for itself.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import torch


PRELOADED = ["torch", "torch._dynamo", "torch.distributed.checkpoint", "torch.distributed.tensor", "torch.export"]
PRELOADED += ["matplotlib.figure", "pandas", "pyarrow.dataset", "pyarrow.parquet", "scipy.optimize", "scipy.signal"]
PRELOADED += ["sklearn.metrics", "soundfile", "soxr", "yaml"]

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)


class Python:
    """A started process, like that of `subprocess.Popen([sys.executable, *words])` with no input.

    Args:
        words: What would follow `python`: `-c` with code, `-m` with a module, or a script; and their arguments.
        environment: Its environment variables; by default those of this process.
        folder: Its working folder.
    """

    def __init__(self, *words, environment: dict[str, str] | None = None, folder=None):
        self.words = [str(word) for word in words]
        self.output = tempfile.TemporaryDirectory(prefix="modeling_asm-tests-")
        self.files = [Path(self.output.name) / name for name in ("stdout", "stderr")]
        environment = {"OMP_NUM_THREADS": "1"} | dict(os.environ if environment is None else environment)
        arguments = (self.words, environment, str(folder or Path.cwd()), [str(file) for file in self.files])
        self.process = CONTEXT.Process(target=begin, args=arguments)
        self.process.start()

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the number of the signal that ended it; `None` while it runs."""
        return self.process.exitcode

    def kill(self):
        """Send SIGKILL."""
        self.process.kill()

    def wait(self, timeout: float = 300) -> subprocess.CompletedProcess:
        """Wait for its end, and return its exit status and what it printed."""
        self.process.join(timeout)
        if self.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # with the processes that it started
            self.process.join()
            raise subprocess.TimeoutExpired(self.words, timeout)
        printed = [file.read_text(encoding="utf-8") if file.exists() else "" for file in self.files]
        return subprocess.CompletedProcess(self.words, self.returncode, *printed)


def run_python(*words, environment: dict[str, str] | None = None, folder=None) -> subprocess.CompletedProcess:
    """Run a process to its end: see [`Python`]."""
    return Python(*words, environment=environment, folder=folder).wait()


def lines_of(stderr: str) -> list[str]:
    """Return what a process said, without the line of torchao that comes, where it is installed, with transformers."""
    return [line for line in stderr.splitlines() if not line.startswith("Skipping import of cpp extensions")]


def begin(words: list[str], environment: dict[str, str], folder: str, files: list[str]):
    """Make this fork look like a process of its own, and execute what it is for."""
    os.setsid()
    for file, descriptor in zip(files, (1, 2), strict=True):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    multiprocessing.set_start_method(None, force=True)  # its own processes start as the platform's do
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    try:
        execute(words)
    finally:
        atexit._run_exitfuncs()


def execute(words: list[str]):
    """Execute what `python` would with these words."""
    flag = words[0] if words[0] in ("-c", "-m") else ""
    sys.argv = words[1:] if flag else list(words)
    sys.path.insert(0, "" if flag else str(Path(words[0]).parent))
    if flag == "-c":
        code, sys.argv[0] = sys.argv[0], "-c"
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
    elif flag == "-m":
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
