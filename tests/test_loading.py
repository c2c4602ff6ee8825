import pytest
import torch

from modeling_asm.loading import check_weights, load_pipeline


def test_the_pipeline_of_a_checkpoint(checkpoint, model):
    classifier = load_pipeline(str(checkpoint), "cpu")
    for ours, saved in zip(classifier.model.parameters(), model.parameters()):
        assert torch.equal(ours, saved)
    assert classifier.model.device.type == "cpu"


def test_weights_that_are_missing_are_named():
    check_weights("my-model", {"missing_keys": set()})
    with pytest.raises(ValueError, match=r"^my-model is not a trained classifier: .* for a, b\. Train it first\.$"):
        check_weights("my-model", {"missing_keys": {"b", "a"}})
