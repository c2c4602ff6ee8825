import json


def test_each_way_is_timed(run, tones, tmp_path):
    arguments = ("--data_dir", tones, "--output", tmp_path / "new" / "loading.json", "--rounds", 1)
    outcome = run("benchmark_loading.py", *arguments)
    assert outcome.error is None
    results = json.loads((tmp_path / "new" / "loading.json").read_text())
    assert [(row["samples"], row["workers"]) for row in results["loading"]] == [
        (samples, workers) for workers in (0, 1, 2) for samples in ("kept", "decoded in each epoch")
    ]
    assert all(row["clips_per_second"] > 0 for row in results["loading"])
    assert results["clips"] == 40
    assert str(tmp_path) not in json.dumps(results)
    assert "clips/s" in outcome.stdout
