"""Run mutation tests with mutmut, in parts: `make mutants`; not a test.

    python tests/mutants.py                       # all parts: hours
    python tests/mutants.py windows metrics       # some of them

Each part is a group of files with the tests that should kill its mutants. It runs in a folder of its own under
`build/mutants` and continues there after an interruption. Once it is complete, the next run tries the survivors again,
with the tests of then; remove the folder to try all. The report, tests/mutants.json, has the parts that were run last,
and lists the survivors. Lines that hold nothing but text, as in messages, and progress bars are not mutated.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm


REPOSITORY = Path(__file__).resolve().parent.parent
REPORT = REPOSITORY / "tests" / "mutants.json"
COPIED = ("src", "tests", "examples", "research", "checkpoints", "model_cards", "docs")
COPIED += ("recipes", "setup.cfg", "README.md", "LICENSE", "Makefile", "constraints.txt")
WORDING = [r"""^\s*[rf]*("[^"]*"|'[^']*')[,)]*\s*$""", r"\b(tqdm\(|desc=)"]
# mutmut's codes: a test failed, pytest broke down, or the time was up; none failed; no test runs the code.
OUTCOMES = dict.fromkeys((1, 3, 36, 24, -24, 152, 255), "killed") | {0: "survived", 5: "untested", 33: "untested"}


def pytest_configure():
    """Give each mutant a lock of its own for progress bars: see [`plant`], which makes this file a plugin of pytest.

    The lock is shared between processes, so that a mutant stopped while it holds the lock would hang all others.
    """
    tqdm.set_lock(threading.RLock())


class Part(NamedTuple):
    """Files of the package, and tests, both relative to their folders."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


def flat(*names: str, tests: tuple[str, ...] = ()) -> Part:
    """Return a part of modules at the top of the package, with a test file each."""
    return Part(tuple(f"{name}.py" for name in names), (*(f"test_{name}.py" for name in names), *tests))


RUNS = ("experiments", "run", "run_folder", "models", "teachers", "trainer", "arguments", "training_arguments")
RUNS += ("frontend", "settings")

PARTS = {
    "model": flat(
        "configuration_asm", "modeling_asm", "mixing", "stem", "resizing", "scoring", "targets", "cpu_blocks",
        tests=("test_residual_cnn.py", "test_windowing.py"),
    ),
    "features": Part(
        ("fbank.py", "feature_extraction_asm.py", "waveforms.py", "audio/*.py"),
        ("test_fbank.py", "test_feature_extraction_asm.py", "test_waveforms.py", "test_windowing.py", "audio"),
    ),
    "windows": flat("windowing", "pipeline_asm", "hear", "saliency", tests=("audio/test_windows.py",)),
    "streaming": flat("streaming", tests=("examples/test_stream.py",)),
    "splits": Part(("training/data/splits.py", "training/data/folders.py"), ("training/data",)),
    "labels": Part(
        ("training/data/labels.py", "training/data/clips.py", "training/data/decoding.py", "training/data/loading.py"),
        ("training/data",),
    ),
    "metrics": Part(
        ("training/metrics.py", "training/tasks.py", "training/augmentation.py"),
        ("training/test_metrics.py", "training/test_tasks.py", "training/test_augmentation.py", "training/data",
         "training/report/test_results.py", "training/test_trainer.py"),
    ),
    "runs": Part(
        (*(f"training/{name}.py" for name in RUNS), "prediction.py"),
        (*(f"training/test_{name}.py" for name in RUNS), "test_prediction.py"),
    ),
    "export": Part(
        tuple(f"export/{name}.py" for name in ("formats", "graphs", "onnx", "onnx_runtime", "torch_export", "write")),
        ("export",),
    ),
    "rest": Part(  # export/executorch.py is in none: its package is not among the tests' extras
        ("residual_cnn.py", "loading.py", "conversion/*.py", "measuring/*.py", "training/report/*.py", "commands/*.py"),
        ("test_residual_cnn.py", "test_loading.py", "conversion", "measuring", "training/report", "commands"),
    ),
}  # fmt: skip


def plant(name: str, part: Part) -> dict[str, dict]:
    """Run mutmut on a part; return for each file the counts of the outcomes, and the survivors."""
    folder = REPOSITORY / "build" / "mutants" / name
    folder.mkdir(parents=True, exist_ok=True)
    for item in COPIED:
        source, copy = REPOSITORY / item, folder / item
        if source.is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy)
    mutated = [f"src/modeling_asm/{pattern}" for pattern in part.files]
    settings = {
        "source_paths": ["src/"],
        "only_mutate": mutated,
        "do_not_mutate": ["*/plots.py"],
        "do_not_mutate_patterns": WORDING,
        "pytest_add_cli_args_test_selection": [f"tests/{test}" for test in part.tests],
        "pytest_add_cli_args": ["-p", "tests.mutants", "-p", "no:cacheprovider", "-m", "not gpu and not compiles"],
        "also_copy": [item for item in COPIED if item not in ("src", "tests", "setup.cfg")],
    }
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(f"{project}\n[tool.mutmut]\n{table}\n", encoding="utf-8")
    forget_survivors(folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", os.environ.get("JOBS", "2")]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return dict(sorted(read_outcomes(folder).items()))


def forget_survivors(folder: Path):
    """Let mutmut try the survivors of a complete run again, and find out anew which tests run which code."""
    metas = {path: json.loads(path.read_text(encoding="utf-8")) for path in (folder / "mutants").rglob("*.py.meta")}
    outcomes = [codes for meta in metas.values() for codes in meta["exit_code_by_key"].values()]
    if not outcomes or None in outcomes:
        return
    for path, meta in metas.items():
        codes = meta["exit_code_by_key"]
        meta["exit_code_by_key"] = {
            key: code if OUTCOMES.get(code) == "killed" else None for key, code in codes.items()
        }
        path.write_text(json.dumps(meta, indent=4), encoding="utf-8")
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)


def read_outcomes(folder: Path) -> dict[str, dict]:
    """Read what mutmut left in its folder: see [`plant`]."""
    files = {}
    for meta in (folder / "mutants" / "src").rglob("*.py.meta"):
        codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        counts, missed = {}, []
        for mutant, code in codes.items():
            outcome = OUTCOMES.get(code, "not decided")
            counts[outcome] = counts.get(outcome, 0) + 1
            if outcome != "killed":
                missed.append(mutant.removeprefix("modeling_asm."))
        if codes:
            file = meta.relative_to(folder / "mutants" / "src" / "modeling_asm").as_posix().removesuffix(".meta")
            files[file] = {**dict(sorted(counts.items())), "missed": missed}
    return files


def share(files: dict[str, dict]) -> float:
    """Return the share of the planted faults of some files that were noticed."""
    noticed = sum(counts.get("killed", 0) for counts in files.values())
    planted = sum(value for counts in files.values() for key, value in counts.items() if key != "missed")
    return round(noticed / max(planted, 1), 4)


def main(names: list[str]):
    unknown = set(names) - set(PARTS)
    if unknown:
        sys.exit(f"There is no part {min(unknown)!r}. The parts are: {', '.join(PARTS)}.")
    report = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.is_file() else {}
    for name in names or PARTS:
        files = plant(name, PARTS[name])
        report[name] = {"noticed": share(files), "files": files}
        REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {report[name]['noticed']:.1%} noticed")


if __name__ == "__main__":
    main(sys.argv[1:])
