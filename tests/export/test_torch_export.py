import json

import numpy as np
import pytest
import torch

from modeling_asm.export.write import export, make_inputs


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)


@pytest.mark.parametrize("inputs", ["waveform", "features"])
def test_an_exported_program(model, feature_extractor, tmp_path, inputs):
    assert export(model, feature_extractor, tmp_path / "model.pt2", inputs)["largest_difference"] < 1e-4
    files = {"labels": "", "sampling_rate": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=files)
    assert json.loads(files["labels"]) == ["bird", "cat", "dog"]
    arrays = make_inputs(feature_extractor, [NOISE[:900]], inputs)  # another batch size
    features = feature_extractor(NOISE[:900], sampling_rate=16000, return_tensors="pt")["input_values"]
    logits = program.module()(*map(torch.from_numpy, arrays))
    torch.testing.assert_close(logits, model(features).logits.detach(), atol=1e-4, rtol=0)
