"""A stem that does not learn does not move, whatever trains the rest; its shapes are in test_modeling_asm.py."""

import copy

import pytest
import torch
from transformers import Trainer, TrainingArguments

from modeling_asm import ResidualCNNConfig, ResidualCNNForAudioClassification
from modeling_asm.stem import ASMBatchNorm2d


LABELS = torch.tensor([0, 1, 2, 0])


@pytest.fixture
def residual() -> ResidualCNNForAudioClassification:
    """The other network with batch normalisation."""
    config = ResidualCNNConfig(hidden_sizes=(4, 6), depths=(1, 1), max_length=16, num_mel_bins=24, num_labels=3)
    return ResidualCNNForAudioClassification(config)


def state_of(module) -> dict:
    return copy.deepcopy(module.state_dict())


def moved(module, before: dict) -> list[str]:
    return [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]


def train(model, input_values, tmp_path):
    """Three steps of transformers' Trainer."""
    data = [{"input_values": row, "labels": label} for row, label in zip(input_values, LABELS)]
    arguments = TrainingArguments(
        tmp_path, max_steps=3, learning_rate=0.1, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True
    )
    Trainer(model, arguments, train_dataset=data).train()


@pytest.mark.parametrize("name", ["stemmed", "residual"])
def test_a_plain_trainer_leaves_a_frozen_base_model_as_it_was(request, input_values, tmp_path, name):
    model = request.getfixturevalue(name)
    model.base_model.requires_grad_(False)
    base, head, expected = state_of(model.base_model), state_of(model.classifier), model.eval()(input_values).logits
    train(model, input_values, tmp_path)
    assert moved(model.base_model, base) == []
    assert moved(model.classifier, head) == ["weight", "bias"]
    model.classifier.load_state_dict(head)
    assert torch.equal(model.eval()(input_values).logits, expected)


@pytest.mark.parametrize("name", ["stemmed", "residual"])
def test_what_learns_moves_its_statistics(request, input_values, tmp_path, name):
    model = request.getfixturevalue(name)
    before = state_of(model.base_model)
    train(model, input_values, tmp_path)
    counted = [key for key in moved(model.base_model, before) if key.endswith("num_batches_tracked")]
    assert len(counted) == sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()) > 1


@pytest.mark.parametrize("frozen", ["weight", "bias", "both"])
def test_a_frozen_normalisation_is_that_of_evaluation(frozen):
    """Half-frozen ones too: what is saved of them (PEFT's biases, say) does not hold the statistics."""
    norm = ASMBatchNorm2d(3)
    norm(torch.randn(4, 3, 5, 5))  # statistics of its own
    for name in ("weight", "bias") if frozen == "both" else (frozen,):
        getattr(norm, name).requires_grad_(False)
    inputs, before = torch.randn(4, 3, 5, 5), state_of(norm)
    trained = norm.train()(inputs)
    assert moved(norm, before) == []
    assert torch.equal(trained, norm.eval()(inputs))


def test_a_learning_normalisation_is_pytorchs():
    norm, torchs = ASMBatchNorm2d(3), torch.nn.BatchNorm2d(3)
    inputs = torch.randn(4, 3, 5, 5)
    assert torch.equal(norm(inputs), torchs(inputs))
    assert all(torch.equal(value, torchs.state_dict()[name]) for name, value in norm.state_dict().items())


def test_the_methods_that_freeze(stemmed):
    """Their names are those of transformers' other audio models."""
    stemmed.freeze_feature_encoder()
    frozen = {name for name, parameter in stemmed.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in stemmed.named_parameters() if ".patch_embeddings." in name}
    stemmed.freeze_base_model()
    learning = [name for name, parameter in stemmed.named_parameters() if parameter.requires_grad]
    assert learning == ["classifier.weight", "classifier.bias"]


def test_the_stem_is_convolution_normalisation_and_gelu(stemmed):
    """Step by step, from the weights alone, with running statistics and gains of its own."""
    stem, functional = stemmed.audio_spectrogram_mixer.patch_embeddings.stem, torch.nn.functional
    for module in stem.modules():
        if isinstance(module, ASMBatchNorm2d):
            module(torch.randn(4, module.num_features, 5, 5))
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    inputs = expected = torch.randn(2, 1, 24, 16)
    for convolution, norm, _ in stem:
        expected = functional.conv2d(expected, convolution.weight, stride=(2, 1), padding=1)
        mean, spread = norm.running_mean, (norm.running_var + norm.eps).sqrt()
        columns = (mean, spread, norm.weight, norm.bias)
        mean, spread, gain, bias = (value[:, None, None] for value in columns)
        expected = functional.gelu((expected - mean) / spread * gain + bias)
    torch.testing.assert_close(stem.eval()(inputs), expected)
    torch.testing.assert_close(stem.train().requires_grad_(False)(inputs), expected)


def test_replicas_on_several_devices_stay_as_they_are_too(stemmed, input_values):
    """`nn.DataParallel`, which Trainer uses on several GPUs, makes copies that have tensors but no parameters."""
    stemmed.freeze_base_model()
    replica = stemmed._replicate_for_data_parallel()
    modules = dict(stemmed.named_modules())
    for name, module in list(modules.items()):
        copied = module._replicate_for_data_parallel()
        for key, parameter in module._parameters.items():
            copy_of = parameter if parameter is None else parameter.detach().clone()
            setattr(copied, key, copy_of if copy_of is None else copy_of.requires_grad_(parameter.requires_grad))
        modules[name] = copied
    for name, copied in modules.items():
        for child in copied._modules:
            copied._modules[child] = modules[f"{name}.{child}".lstrip(".")]
    replica, before = modules[""], state_of(stemmed)
    assert not list(replica.parameters())
    replica.train()(input_values)
    assert moved(stemmed, before) == []


def test_gradient_accumulation_of_the_residual_network(residual, input_values, tmp_path):
    """Trainer divides the loss by its steps, as for the Mixer."""
    losses = []
    for steps in (1, 4):
        data = [{"input_values": row, "labels": label} for row, label in zip(input_values, LABELS)]
        arguments = TrainingArguments(
            tmp_path, max_steps=1, per_device_train_batch_size=4 // steps, gradient_accumulation_steps=steps,
            logging_steps=1, learning_rate=0.0, report_to="none", save_strategy="no", use_cpu=True,
        )  # fmt: skip
        trainer = Trainer(copy.deepcopy(residual.requires_grad_(True)), arguments, train_dataset=data)
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[1] < 2 * losses[0]
