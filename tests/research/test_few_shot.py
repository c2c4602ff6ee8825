import json

import numpy as np
import soundfile


def test_few_clips_of_each_class(run, checkpoint, tmp_path):
    rng = np.random.default_rng(0)
    for split, number in (("train", 6), ("test", 4)):
        for label, step in (("low", 40), ("high", 3)):
            (tmp_path / "sounds" / split / label).mkdir(parents=True)
            for index in range(number):
                clip = np.sin(np.arange(3000) / step) + 0.01 * rng.standard_normal(3000)
                soundfile.write(tmp_path / "sounds" / split / label / f"{index}.wav", 0.5 * clip, 16000)
    arguments = [tmp_path / "sounds", "--model", checkpoint, "--seeds", 1, 2, "--output", tmp_path / "out.json"]
    assert run("few_shot.py", *arguments).error is None
    table = json.loads((tmp_path / "out.json").read_text())["accuracy"]["sounds"]
    assert (table["test_split"], table["clips"]) == ("test", 8)
    assert table["trained, 5 a class"] == [1.0, 1.0]
