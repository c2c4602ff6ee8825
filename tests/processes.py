"""Python processes that start fast, as forks of one that has imported the largest libraries; not a test.

Those imports take longer than most commands that are tested. huggingface_hub, transformers, datasets and this package
are not among them: they read the environment when they are imported, which each process does for itself.

What forks cannot show needs `subprocess`: a missing import of a preloaded library, an order that depends on the hash
seed, which they share, and Python's finalization.
"""

import atexit
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch


PRELOADED = ["torch", "torch._dynamo", "torch.distributed.checkpoint", "torch.distributed.tensor", "torch.export"]
PRELOADED += ["matplotlib.figure", "pandas", "pyarrow.dataset", "pyarrow.parquet", "scipy.optimize", "scipy.signal"]
PRELOADED += ["sklearn.metrics", "soundfile", "soxr", "yaml"]

REPOSITORY = Path(__file__).resolve().parent.parent
HIDDEN = [str(REPOSITORY / folder) for folder in ("tests", "research")]  # on the path of pytest alone

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)
# A fork of the tests, as mutants.py makes them, cannot use their server, and starts its own.
os.register_at_fork(after_in_child=lambda: vars(multiprocessing.forkserver._forkserver).update(_forkserver_pid=None))


class Python:
    """A started process, like that of `subprocess.Popen([sys.executable, *words])` with one thread and no input.

    Args:
        words: What would follow `python`: `-c` with code, `-m` with a module, or a script; and their arguments.
        environment: Its environment variables; by default those of this process.
        folder: Its working folder; by default that of this process.
    """

    def __init__(self, *words, environment: dict[str, str] | None = None, folder=""):
        self.words = [str(word) for word in words]
        self.output = tempfile.TemporaryDirectory(prefix="modeling_asm-output-")
        self.files = [str(Path(self.output.name) / name) for name in ("stdout", "stderr")]
        environment = {**(os.environ if environment is None else environment), "OMP_NUM_THREADS": "1"}
        arguments = (self.words, environment, str(folder), self.files)
        self.process = CONTEXT.Process(target=run_as_python, args=arguments, daemon=True)  # it ends with the tests
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
        if late := self.returncode is None:
            self.process.terminate()  # which a launcher passes on
            self.process.join(10)
            self.process.kill()
            self.process.join()
        stdout, stderr = (Path(file).read_text(encoding="utf-8") if Path(file).exists() else "" for file in self.files)
        self.output.cleanup()
        if late:
            raise subprocess.TimeoutExpired(self.words, timeout, stdout, stderr)
        return subprocess.CompletedProcess(self.words, self.returncode, stdout, stderr)


def run_python(
    *words, environment: dict[str, str] | None = None, folder="", check: bool = True
) -> subprocess.CompletedProcess:
    """Run a process to its end, which must be a good one if `check`: see [`Python`]."""
    done = Python(*words, environment=environment, folder=folder).wait()
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def without_torchao(stderr: str) -> list[str]:
    """Return the lines of a process, but for that of torchao, which comes with transformers where it is installed."""
    return [line for line in stderr.splitlines() if not line.startswith("Skipping import of cpp extensions")]


def run_as_python(words: list[str], environment: dict[str, str], folder: str, files: list[str]):
    """Give this fork the output, environment, folder and path of a process of its own, and execute what it is for."""
    for file, descriptor in zip(files, (1, 2), strict=True):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    multiprocessing.current_process().daemon = False  # it may start processes,
    multiprocessing.set_start_method(None, force=True)  # in the platform's way
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder or os.curdir)
    sys.path[:] = [path for path in sys.path if path not in HIDDEN]
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    torch.set_num_threads(1)
    np.random.seed()
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
