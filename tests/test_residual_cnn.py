import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from modeling_asm import ASMFeatureExtractor, ResidualCNNConfig, ResidualCNNForAudioClassification


def test_shapes_and_gradients():
    config = ResidualCNNConfig(hidden_sizes=(4, 6), depths=(1, 2), max_length=40, num_mel_bins=16, num_labels=3)
    model = ResidualCNNForAudioClassification(config)
    outputs = model(torch.randn(2, 40, 16), labels=torch.tensor([0, 2]))
    assert outputs.logits.shape == (2, 3)
    outputs.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert len(model.encoder) == 3
    assert model.encoder(torch.randn(2, 1, 40, 16)).shape == (2, 6, 10, 4)  # each stage halves both axes


def test_the_loss_is_that_of_the_problem_type():
    """Several labels: the mean binary cross-entropy, as transformers' own classifiers have it."""
    config = ResidualCNNConfig(hidden_sizes=(4,), depths=(1,), max_length=20, num_mel_bins=16, num_labels=3)
    config.problem_type = "multi_label_classification"
    model = ResidualCNNForAudioClassification(config).eval()
    labels = torch.tensor([[1.0, 0.0, 1.0]])
    outputs = model(torch.randn(1, 20, 16), labels=labels)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(outputs.logits, labels)
    torch.testing.assert_close(outputs.loss, expected)
    assert isinstance(model(torch.randn(1, 20, 16), return_dict=False), tuple)


def test_a_block_is_a_residual():
    """With its last normalisation at zero, a block leaves what is not negative as it is."""
    model = ResidualCNNForAudioClassification(ResidualCNNConfig(hidden_sizes=(4,), depths=(2,))).eval()
    block = model.encoder[1]
    torch.nn.init.zeros_(block.norm2.weight)
    features = torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(block(features), features)


def test_it_saves_and_loads_by_the_auto_classes(tmp_path):
    model = ResidualCNNForAudioClassification(ResidualCNNConfig(hidden_sizes=(4,), depths=(1,), num_labels=3)).eval()
    model.save_pretrained(tmp_path)
    ASMFeatureExtractor(num_mel_bins=64, max_length=98).save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    inputs = AutoFeatureExtractor.from_pretrained(tmp_path)(torch.randn(16000), 16000, return_tensors="pt")
    torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, rtol=0, atol=0)


def test_each_stage_has_a_depth():
    with pytest.raises(StrictDataclassError, match=r"`hidden_sizes` \(4, 8\) and `depths` \(1,\) must be of equal"):
        ResidualCNNConfig(hidden_sizes=(4, 8), depths=(1,))


def test_padding_does_not_count_as_sound():
    """The mean over time takes in whatever a batch was padded with, so that only one window is taken."""
    extractor = ASMFeatureExtractor(num_mel_bins=64, max_length=98)
    model = ResidualCNNForAudioClassification(ResidualCNNConfig(hidden_sizes=(4,), depths=(1,))).eval()
    clips = [torch.randn(40000), torch.randn(16000)]
    with pytest.raises(ValueError, match=r"shape \(2, 248, 64\), expected \(batch_size, 98, 64\).*truncation=True"):
        model(**extractor(clips, 16000, return_tensors="pt"))
    assert model(**extractor(clips, 16000, return_tensors="pt", truncation=True)).logits.shape == (2, 2)


def test_misspelt_fields_and_outputs_that_it_does_not_have(caplog):
    config = ResidualCNNConfig(dept=3)
    assert "ResidualCNNConfig has no field `dept`, so it has no effect; did you mean `depths`?" in caplog.text
    model = ResidualCNNForAudioClassification(config)
    with pytest.raises(ValueError, match="`output_hidden_states` has no effect"):
        model(torch.zeros(1, 98, 64), output_hidden_states=True)
    config.output_hidden_states = True
    with pytest.raises(ValueError, match="`output_hidden_states` has no effect"):
        model(torch.zeros(1, 98, 64))


def test_the_encoder_is_frozen_as_in_the_mixer():
    model = ResidualCNNForAudioClassification(ResidualCNNConfig())
    model.freeze_base_model()
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {"classifier.weight", "classifier.bias"}
