import csv
import subprocess
import sys

import soundfile


def read(folder):
    with open(folder / "metadata.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_small_set_with_other_voices_for_the_test(repository, tmp_path):
    script = repository / "research" / "make_spoken_words.py"
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        command = [sys.executable, str(script), "--output_dir", str(folder), "--clips_per_word", "6"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    train, test = read(folders[0] / "train"), read(folders[0] / "test")
    assert (len(train), len(test)) == (60, 20)
    assert len({row["label"] for row in train}) == 10
    assert not {row["voice"] for row in train} & {row["voice"] for row in test}
    for row in train[:5]:
        first, second = (soundfile.read(folder / "train" / row["file_name"]) for folder in folders)
        assert first[1] == 22050
        assert 0.1 < first[0].size / 22050 < 2
        assert abs(first[0]).max() > 0.05
        assert (first[0] == second[0]).all()  # a seed gives the same data again

    command = [sys.executable, str(script), "--output_dir", str(folders[0])]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode != 0  # nothing is overwritten
