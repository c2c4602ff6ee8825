import json

import pytest


@pytest.mark.slow
@pytest.mark.long
def test_latency_and_real_time_factor(run, checkpoint, tmp_path):
    assert run("benchmark_stream.py", checkpoint, "--hop", 1, "--output", tmp_path / "out.json").error is None
    results = json.loads((tmp_path / "out.json").read_text())
    assert results["hops"] == 5 * 60
    assert 0 < results["real_time_factor"]["median"] < 1
