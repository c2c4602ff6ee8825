import mmap
import os
import sys

import pytest
from benchmark_memory import COMMANDS, SETS, format_results, make_clips, measure, memory_of
from datasets import load_from_disk
from recordings import samples_of


def test_the_memory_of_a_process_grows_with_what_it_holds():
    before = memory_of(os.getpid())
    with mmap.mmap(-1, 60 * 2**20) as held:  # not from the allocator, which may hand out what was freed before
        for _ in range(60):
            held.write(bytes([1]) * 2**20)
        assert memory_of(os.getpid()) - before == pytest.approx(60, abs=15)
    assert memory_of(os.getpid()) - before == pytest.approx(0, abs=15)
    assert memory_of(2**22 + 1) == 0.0  # no such process


@pytest.mark.parametrize("kind", ["WAV", "MP3", "FLAC"])
def test_clips_of_two_classes(tmp_path, kind):
    make_clips(tmp_path, kind, 3, 2, 2)
    files = sorted(tmp_path.glob("*/*"))
    assert [file.parent.name for file in files] == ["loud", "quiet", "quiet"]
    assert samples_of(files[0].read_bytes()).shape == (32000, 2)


def test_clips_of_a_saved_data_set(tmp_path):
    make_clips(tmp_path / "saved", "saved WAV", 3, 2, 1)
    clips = load_from_disk(str(tmp_path / "saved"))
    assert clips["label"][:] == ["loud", "quiet", "quiet"]
    assert samples_of(clips[1]["audio"]["bytes"]).shape == (32000, 1)


def test_a_command_that_fails(tmp_path):
    with pytest.raises(RuntimeError, match=r"no_such_module failed: .*No module named"):
        measure(["no_such_module"], tmp_path)
    assert measure(["timeit", "-n1", "-r1", "x = bytes(10**6)"], tmp_path) < 200
    assert sys.executable


def test_the_table():
    rows = [{"clips": title, "command": name, "megabytes": 5} for title, *_ in SETS for name in COMMANDS]
    lines = format_results({"alone": dict.fromkeys(COMMANDS, 300), "memory": rows[1:]}).splitlines()
    assert lines[2] == "| 8 of 1 second, WAV | - | 5 | 5 | 5 |"
    assert lines[0] == "| clips | `asm-stats` | `asm-train` | `asm-train, nothing kept` | `asm-predict` |"
    assert len(lines) == 2 + len(SETS)
