import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForAudioClassification, Trainer, TrainingArguments

import modeling_asm.modeling_asm
from modeling_asm import ASMConfig, ASMForAudioClassification, ASMModel
from modeling_asm.configuration_asm import HIDDEN_ACTS
from modeling_asm.modeling_asm import ASMAconC, ASMDropPath, ASMLayer, aggregate_windows, window_starts
from modeling_asm.waveform_classifier import ASMFeatureClassifier


def count(model_class, **arguments) -> int:
    with torch.device("meta"):
        return model_class(ASMConfig(**arguments)).num_parameters()


@pytest.mark.parametrize(
    ("model_class", "arguments", "parameters"),
    [
        pytest.param(ASMModel, {}, 61_634_304, id="base"),
        # Mixer-B/16 has 59,880,472 (https://arxiv.org/abs/2105.01601), of which two colours' patch weights fall away.
        pytest.param(
            ASMForAudioClassification,
            {"max_length": 224, "num_mel_bins": 224, "num_labels": 1000},
            59_880_472 - 2 * 16 * 16 * 768,
            id="mixer-b16",
        ),
        # Mixer-L/16 has 208,196,168.
        pytest.param(
            ASMForAudioClassification,
            {
                "hidden_size": 1024,
                "num_hidden_layers": 24,
                "tokens_mlp_dim": 512,
                "channels_mlp_dim": 4096,
                "max_length": 224,
                "num_mel_bins": 224,
                "num_labels": 1000,
            },
            208_196_168 - 2 * 16 * 16 * 1024,
            id="mixer-l16",
        ),
        pytest.param(ASMModel, {"hidden_act": "acon_c"}, 61_634_304 + 12 * 3 * (384 + 3072), id="acon-c"),
    ],
)
def test_parameter_counts(model_class, arguments, parameters):
    assert count(model_class, **arguments) == parameters


def test_outputs(config, model, input_values):
    outputs = model.audio_spectrogram_mixer(input_values, output_hidden_states=True)
    assert outputs.last_hidden_state.shape == (4, config.num_patches, config.hidden_size)
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean(1))
    assert len(outputs.hidden_states) == config.num_hidden_layers + 1
    normalised = model.audio_spectrogram_mixer.layernorm(outputs.hidden_states[-1])
    torch.testing.assert_close(outputs.last_hidden_state, normalised)
    head = model(input_values, output_hidden_states=True)
    assert head.logits.shape == (4, 3)
    assert len(head.hidden_states) == config.num_hidden_layers + 1
    torch.testing.assert_close(model(input_values, return_dict=False)[0], head.logits)
    config.return_dict = False
    torch.testing.assert_close(model(input_values)[0], head.logits)


def test_forward_is_the_papers_figure(config, model, input_values):
    """Every step again, from the weights alone: patches, token mixing, channel mixing, norm, mean, head."""
    mixer, functional = model.audio_spectrogram_mixer, torch.nn.functional
    weight, bias = mixer.patch_embeddings.projection.weight, mixer.patch_embeddings.projection.bias
    patches = [
        input_values[:, time : time + 4, bin : bin + 8].transpose(1, 2).flatten(1)
        for bin in range(0, 24, 8)
        for time in range(0, 16, 4)
    ]
    x = torch.stack([patch @ weight.flatten(1).T + bias for patch in patches], dim=1)
    for layer in mixer.layers:
        for norm, mlp, mixes_tokens in (
            (layer.layernorm_before, layer.token_mixing, True),
            (layer.layernorm_after, layer.channel_mixing, False),
        ):
            y = functional.layer_norm(x, (config.hidden_size,), norm.weight, norm.bias, config.layer_norm_eps)
            y = y.transpose(1, 2) if mixes_tokens else y
            y = functional.gelu(y @ mlp.fc1.weight.T + mlp.fc1.bias) @ mlp.fc2.weight.T + mlp.fc2.bias
            x = x + (y.transpose(1, 2) if mixes_tokens else y)
    x = functional.layer_norm(x, (config.hidden_size,), mixer.layernorm.weight, mixer.layernorm.bias, 1e-6)
    logits = x.mean(1) @ model.classifier.weight.T + model.classifier.bias
    torch.testing.assert_close(model(input_values).logits, logits, atol=1e-5, rtol=1e-5)


def test_rows_are_independent(model, input_values):
    torch.testing.assert_close(model(input_values).logits[1:2], model(input_values[1:2]).logits)


@pytest.mark.parametrize("hidden_act", HIDDEN_ACTS)
def test_blocks_of_examples_give_what_the_whole_batch_gives(config, input_values, monkeypatch, hidden_act):
    """Parity of the layers' way through the cache with the plain one, whatever is left for the last block."""
    config.hidden_act = hidden_act
    model = ASMForAudioClassification(config).eval()
    calls, mix = [], ASMLayer.mix
    monkeypatch.setattr(ASMLayer, "mix", lambda layer, states: calls.append(len(states)) or mix(layer, states))
    units = max(config.hidden_size * config.tokens_mlp_dim, config.num_patches * config.channels_mlp_dim)
    monkeypatch.setattr(modeling_asm.modeling_asm, "BYTES_PER_BLOCK", 3 * 4 * units)
    with torch.no_grad():
        logits = model(input_values).logits
    assert calls == [3, 1] * config.num_hidden_layers
    calls.clear()
    torch.testing.assert_close(logits, model(input_values).logits, atol=1e-6, rtol=1e-5)
    assert calls == [4] * config.num_hidden_layers  # with gradients, the whole batch at once

    sizes, layer = [], model.audio_spectrogram_mixer.layers[0]
    layer.channel_mixing.fc1.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    with torch.no_grad():
        model(input_values)
    assert sizes == [4]  # so does whoever looks on
    with torch.no_grad():
        traced = torch.jit.trace(ASMFeatureClassifier(model), input_values[:3], check_trace=False)
        torch.testing.assert_close(traced(input_values), logits, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("hidden_act", HIDDEN_ACTS)
def test_activations(config, input_values, hidden_act):
    """Sources: torch's own; x tanh(log(1 + exp(x))) for Mish; Acon-C starts as Swish."""
    config.hidden_act = hidden_act
    x = torch.linspace(-4, 4, config.channels_mlp_dim)
    expected = {"gelu": torch.nn.functional.gelu(x), "mish": x * torch.tanh(torch.log1p(x.exp()))}
    model = ASMForAudioClassification(config)
    activation_fn = model.audio_spectrogram_mixer.layers[0].channel_mixing.activation_fn
    torch.testing.assert_close(activation_fn(x), expected.get(hidden_act, x / (1 + torch.exp(-x))))
    model(input_values, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_swish_is_silu_and_acon_c_starts_there(config, input_values):
    logits = {}
    for hidden_act in ("swish", "silu", "acon_c", "mish"):
        torch.manual_seed(0)
        config.hidden_act = hidden_act
        logits[hidden_act] = ASMForAudioClassification(config)(input_values).logits
    assert torch.equal(logits["swish"], logits["silu"])
    torch.testing.assert_close(logits["acon_c"], logits["swish"])
    assert not torch.allclose(logits["mish"], logits["swish"], atol=1e-7)


def test_acon_c_formula_and_random_start():
    """Source: equation of Acon-C in https://arxiv.org/abs/2009.04759."""
    activation = ASMAconC(2)
    with torch.no_grad():
        activation.p1.copy_(torch.tensor([1.5, -0.5]))
        activation.p2.copy_(torch.tensor([0.25, 2.0]))
        activation.beta.copy_(torch.tensor([2.0, 0.5]))
    x = torch.tensor([[1.0, -2.0]])
    first = 1.25 * 1.0 / (1 + torch.exp(torch.tensor(-2.0 * 1.25))) + 0.25
    second = -2.5 * -2.0 / (1 + torch.exp(torch.tensor(-0.5 * 5.0))) + 2.0 * -2.0
    torch.testing.assert_close(activation(x), torch.stack([first, second])[None])

    config = ASMConfig(hidden_act="acon_c", acon_c_init="random", num_hidden_layers=1, max_length=64)
    mlp = ASMModel(config).layers[0].channel_mixing.activation_fn
    assert mlp.p1.shape == (3072,)
    for parameter in (mlp.p1, mlp.p2):
        assert abs(parameter.mean()) < 0.1
        assert abs(parameter.std() - 1) < 0.1
    assert (mlp.beta == 1).all()


def test_initialisation(config):
    config.hidden_size, config.channels_mlp_dim = 256, 512
    model = ASMModel(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "layernorm" in name:
            assert (parameter == 1).all()
        else:
            assert abs(parameter.std() - config.initializer_range) < 0.005


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "drop_path_rate"])
def test_dropout_and_stochastic_depth_act_in_training_only(config, input_values, name):
    setattr(config, name, 0.5)
    model = ASMForAudioClassification(config).train()
    probabilities = [layer.drop_path.drop_prob for layer in model.audio_spectrogram_mixer.layers]
    assert probabilities == ([0.0, 0.5] if name == "drop_path_rate" else [0.0, 0.0])
    assert not torch.equal(model(input_values).logits, model(input_values).logits)
    model.eval()
    assert torch.equal(model(input_values).logits, model(input_values).logits)


def test_drop_path_drops_whole_rows_and_keeps_the_expectation():
    dropped = ASMDropPath(0.25).train()(torch.ones(4000, 2, 3))
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0.0, 4 / 3])
    assert (dropped == dropped[:, :1, :1]).all()
    assert abs(dropped.mean() - 1) < 0.05


@pytest.mark.parametrize(("frames", "bins"), [(15, 24), (16, 25), (24, 16)])
def test_input_of_another_geometry_names_both_shapes_and_the_field(model, frames, bins):
    with pytest.raises(ValueError) as error:
        model(torch.zeros(2, frames, bins))
    for word in (f"(2, {frames}, {bins})", "(batch_size, 16, 24)", "`max_length`=16", "`num_mel_bins`=24"):
        assert word in str(error.value)


def test_losses(config, model, input_values):
    logits = model(input_values).logits
    functional = torch.nn.functional
    classes = torch.tensor([0, 2, 1, -100])
    loss = model(input_values, labels=classes).loss
    assert config.problem_type == "single_label_classification"
    torch.testing.assert_close(loss, functional.cross_entropy(logits, classes))
    soft = torch.rand(4, 3).softmax(1)
    torch.testing.assert_close(model(input_values, labels=soft).loss, functional.cross_entropy(logits, soft))

    config.problem_type = "multi_label_classification"
    many = torch.randint(2, (4, 3)).float()
    expected = functional.binary_cross_entropy_with_logits(logits, many)
    torch.testing.assert_close(model(input_values, labels=many).loss, expected)

    config.problem_type = "regression"
    torch.testing.assert_close(model(input_values, labels=many).loss, functional.mse_loss(logits, many))


def test_regression_with_one_label(config, input_values):
    config.num_labels = 1
    model = ASMForAudioClassification(config)
    values = torch.randn(4)
    expected = torch.nn.functional.mse_loss(model(input_values).logits[:, 0], values)
    torch.testing.assert_close(model(input_values, labels=values).loss, expected)
    assert config.problem_type == "regression"


SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


@pytest.mark.parametrize(
    ("problem_type", "labels", "message"),
    [
        pytest.param(None, torch.tensor([0, 1, 2, 3]), "contains 3, but `num_labels`=3 allows 0 to 2", id="too-high"),
        pytest.param(SINGLE, torch.tensor([0, 1, 2, -1]), "contains -1, but `num_labels`=3", id="negative"),
        pytest.param(SINGLE, torch.zeros(4, 3).long(), r"\(4, 3\), but class indices must have.*\(4,\)", id="one-hot"),
        pytest.param(SINGLE, torch.zeros(4), r"\(4,\), but class probabilities must have.*\(4, 3\)", id="soft"),
        pytest.param(MULTI, torch.zeros(4), r"\(4,\), but multi_label_classification must have.*\(4, 3\)", id="many"),
        pytest.param(MULTI, torch.full((4, 3), 7.0), "contains 7.0, but multi-label targets are between 0", id="seven"),
        pytest.param(REGRESSION, torch.zeros(4), r"\(4,\), but regression must have.*\(4, 3\)", id="regression"),
    ],
)
def test_labels_that_do_not_fit(config, model, input_values, problem_type, labels, message):
    config.problem_type = problem_type
    with pytest.raises(ValueError, match=message):
        model(input_values, labels=labels)


def test_integer_labels_of_any_width_and_loss(config, model, input_values):
    classes, many = torch.tensor([0, 1, 2, 0]), torch.randint(2, (4, 3))
    assert model(input_values, labels=classes.int()).loss == model(input_values, labels=classes).loss
    config.problem_type = MULTI
    assert model(input_values, labels=many).loss == model(input_values, labels=many.float()).loss


@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression", "single_label_classification"])
def test_gradient_accumulation_leaves_the_loss_alone(config, input_values, tmp_path, problem_type):
    """A Trainer that takes four steps of one clip logs the loss of one step of four clips, not four times that.

    The models that say nothing of `accepts_loss_kwargs` fail this for multi-label and regression losses.
    """
    config.problem_type = problem_type
    labels = torch.tensor([0, 1, 2, 1]) if problem_type.startswith("single") else torch.rand(4, 3)
    data = [{"input_values": row, "labels": label} for row, label in zip(input_values, labels)]
    losses = {}
    for steps in (1, 4):
        torch.manual_seed(0)
        args = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4 // steps,
            gradient_accumulation_steps=steps,
            max_steps=1,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(ASMForAudioClassification(config), args, train_dataset=data)
        trainer.train()
        losses[steps] = trainer.state.log_history[0]["loss"]
    assert losses[4] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # the name that older versions know, too
def test_gradient_checkpointing_gives_the_same_gradients(config, input_values):
    model = ASMForAudioClassification(config).train()
    labels = torch.tensor([0, 1, 2, 0])
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(input_values, labels=labels).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert model.is_gradient_checkpointing
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("hidden_act", ["gelu", "acon_c"])
def test_half_precision(config, input_values, dtype, hidden_act):
    config.hidden_act = hidden_act
    model = ASMForAudioClassification(config).eval()
    expected = model(input_values).logits
    logits = model.to(dtype)(input_values).logits
    assert logits.dtype == dtype
    torch.testing.assert_close(logits.float(), expected, atol=0.02, rtol=0.05)


def test_autocast_trains(model, input_values):
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_values, labels=torch.tensor([0, 1, 2, 0])).loss
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("hidden_act", ["gelu", "acon_c"])
def test_compile_fullgraph(config, input_values, hidden_act):
    """Forward, loss and gradients in training mode, in one graph."""
    torch._dynamo.reset()
    config.hidden_act, config.num_hidden_layers, labels = hidden_act, 1, torch.tensor([0, 1, 2, 0])
    model = ASMForAudioClassification(config).train()
    results = []
    for function in (model, torch.compile(model, fullgraph=True)):
        model.zero_grad()
        outputs = function(input_values, labels=labels)
        outputs.loss.backward()
        results.append([outputs.logits, outputs.loss, *(parameter.grad.clone() for parameter in model.parameters())])
    torch.testing.assert_close(results[0], results[1])


def test_a_trainer_compiles(config, input_values, tmp_path):
    """`TrainingArguments(torch_compile=True)`: the losses of the eager model."""
    dataset = [{"input_values": values, "labels": index % 3} for index, values in enumerate(input_values)]
    losses = {}
    for compiled in (False, True):
        torch.manual_seed(0)
        arguments = TrainingArguments(
            tmp_path, max_steps=2, logging_steps=1, torch_compile=compiled, report_to="none", use_cpu=True, seed=1
        )
        trainer = Trainer(ASMForAudioClassification(config), arguments, train_dataset=dataset)
        trainer.train()
        assert hasattr(trainer.model_wrapped, "_orig_mod") == compiled
        losses[compiled] = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert len(losses[True]) == 2
    assert losses[True] == pytest.approx(losses[False], abs=1e-4)


def test_export_with_any_batch_size(model, input_values):
    shapes = {"input_values": {0: torch.export.Dim("batch_size")}}
    program = torch.export.export(model, (), {"input_values": input_values}, dynamic_shapes=shapes)
    for batch_size in (1, 4):
        outputs = program.module()(input_values=input_values[:batch_size])
        torch.testing.assert_close(outputs.logits, model(input_values[:batch_size]).logits)


@pytest.mark.parametrize("hidden_act", ["gelu", "acon_c"])
def test_safetensors_round_trip(config, input_values, tmp_path, hidden_act):
    config.hidden_act, config.acon_c_init = hidden_act, "random"
    model = ASMForAudioClassification(config).eval()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded, info = ASMForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(loaded(input_values).logits, model(input_values).logits)
    base = ASMModel.from_pretrained(tmp_path)
    expected = model.audio_spectrogram_mixer(input_values).pooler_output
    assert torch.equal(base(input_values).pooler_output, expected)


def test_another_number_of_labels_needs_ignore_mismatched_sizes(checkpoint, input_values):
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        ASMForAudioClassification.from_pretrained(checkpoint, num_labels=7)
    model = ASMForAudioClassification.from_pretrained(checkpoint, num_labels=7, ignore_mismatched_sizes=True)
    assert model(input_values).logits.shape == (4, 7)
    assert 0 < model.classifier.weight.std() < 0.1


def test_the_same_seed_gives_the_same_model(config, input_values):
    logits = []
    for _ in range(2):
        torch.manual_seed(7)
        logits.append(ASMForAudioClassification(config)(input_values).logits)
    assert torch.equal(*logits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_on_a_gpu(model, input_values):
    expected = model(input_values).logits
    logits = model.cuda()(input_values.cuda()).logits
    torch.testing.assert_close(logits.cpu(), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("problem_type", "scores"),
    [
        (None, lambda logits: logits.softmax(-1)),
        ("multi_label_classification", torch.sigmoid),
        ("regression", lambda logits: logits),
    ],
)
def test_windows_of_a_long_clip_are_averaged(model, problem_type, scores):
    """16 frames a window, 8 to the next: 37 frames are heard in windows from 0, 8, 16 and, at the end, 21."""
    model.eval()
    model.config.problem_type = problem_type
    long = torch.randn(1, 37, 24)
    with torch.no_grad():
        windows = torch.cat([model(long[:, start : start + 16]).logits for start in (0, 8, 16, 21)])
        torch.testing.assert_close(scores(model(long).logits)[0], scores(windows).mean(0))
        model.config.window_aggregation = "max"
        best = scores(windows).amax(0)
        best = best / best.sum() if problem_type is None else best
        torch.testing.assert_close(scores(model(long).logits)[0], best)
        model.config.window_aggregation = "logits"
        torch.testing.assert_close(model(long).logits[0], windows.mean(0))
        model.config.window_overlap = 0
        assert window_starts(37, 16, model.config.window_shift) == [0, 16, 21]


@pytest.mark.parametrize("aggregation", ["mean", "max", "logits"])
@pytest.mark.parametrize("problem_type", [None, "multi_label_classification", "regression"])
def test_windows_that_agree_have_the_logits_of_one(problem_type, aggregation):
    """So that a sigmoid over a softmax's logits, or the logits themselves, do not jump beyond one window."""
    logits = torch.tensor([2.0, -1.0, 0.5])
    torch.testing.assert_close(aggregate_windows(logits.expand(4, 3), aggregation, problem_type), logits)


def test_one_label_without_a_problem_type_is_a_regression():
    assert aggregate_windows(torch.tensor([[1.0], [3.0]])).tolist() == [2.0]
    assert aggregate_windows(torch.tensor([[1.0], [3.0]]), "max").tolist() == [3.0]


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4), row=st.integers(0, 3))
def test_a_clip_in_a_padded_batch_is_heard_as_if_alone(lengths, row):
    torch.manual_seed(0)
    config = ASMConfig(
        hidden_size=8, num_hidden_layers=1, tokens_mlp_dim=4, channels_mlp_dim=8, patch_size=4, frequency_stride=4,
        time_stride=4, max_length=16, num_mel_bins=8, num_labels=3,
    )  # fmt: skip
    model, row = ASMForAudioClassification(config).eval(), row % len(lengths)
    frames = max(16, *lengths)
    batch, mask = torch.full((len(lengths), frames, 8), 7.0), torch.zeros(len(lengths), frames, dtype=torch.long)
    for index, length in enumerate(lengths):
        batch[index, :length] = torch.randn(length, 8)
        mask[index, :length] = 1
    with torch.no_grad():
        alone = model(batch[row : row + 1, : max(16, lengths[row])]).logits
        torch.testing.assert_close(model(batch, attention_mask=mask).logits[row : row + 1], alone, atol=1e-5, rtol=0)


def test_training_on_windows(model):
    loss = model(torch.randn(2, 40, 24), labels=torch.tensor([0, 2])).loss
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


GEOMETRY = {"max_length": 16, "num_mel_bins": 24, "patch_size": (8, 4), "frequency_stride": 8, "time_stride": 4}


def test_the_same_geometry_leaves_every_bit(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.resize_spectrogram(**GEOMETRY) is model
    assert model.resize_spectrogram(max_length=17) is model  # another window, the same patches
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


CHANGES = {
    "longer": {"max_length": 32},
    "shorter": {"max_length": 8},
    "more-bins": {"num_mel_bins": 40},
    "denser": {"time_stride": 1, "frequency_stride": 4},
    "patch": {"patch_size": (12, 6), "frequency_stride": 12},
}


@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_resized_model_runs_saves_and_loads(model, tmp_path, change, stretch):
    model.eval().resize_spectrogram(**CHANGES[change], stretch=stretch).save_pretrained(tmp_path)
    again = ASMForAudioClassification.from_pretrained(tmp_path).eval()
    config = again.config
    assert (config.patch_grid, config.patch_shape) == (model.config.patch_grid, model.config.patch_shape)
    assert again.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight.shape == (8, config.num_patches)
    input_values = torch.randn(2, config.max_length, config.num_mel_bins)
    torch.testing.assert_close(again(input_values).logits, model(input_values).logits)


def test_what_was_learnt_of_a_moment_stays_there(model):
    """Twice the window and back: every bit returns, and on the way the new patches have no say."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.resize_spectrogram(max_length=32)
    fc1 = model.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight.unflatten(1, (3, 8))
    old = before["audio_spectrogram_mixer.layers.0.token_mixing.fc1.weight"].unflatten(1, (3, 4))
    assert torch.equal(fc1[..., :4], old)
    assert (fc1[..., 4:] == 0).all()
    model.resize_spectrogram(max_length=16)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("change", [{"time_stride": 1}, {"num_mel_bins": 72}, {"frequency_stride": 2}], ids=str)
def test_there_and_back_again_loses_little(model, change):
    """Less than a fifth of smooth weights' size, as trained ones are; white noise has no neighbours to ask."""
    smooth = torch.cos(torch.arange(4) / 4) * torch.arange(1, 4)[:, None]
    for layer in model.audio_spectrogram_mixer.layers:
        layer.token_mixing.fc1.weight.data[:] = smooth.flatten()
    before = model.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight.clone()
    model.resize_spectrogram(**change)
    model.resize_spectrogram(**{name: GEOMETRY[name] for name in change})
    after = model.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight
    assert (after - before).norm() / before.norm() < 0.2


@pytest.mark.parametrize("change", [{"time_stride": 1}, {"frequency_stride": 4}, {"num_mel_bins": 48}], ids=str)
@pytest.mark.parametrize("stretch", [False, True])
def test_pre_activations_keep_their_size(model, change, stretch):
    """Tokens that are alike everywhere: the sums over more of them are the same, but for the grid's edges."""
    mixing = model.audio_spectrogram_mixer.layers[0].token_mixing
    mixing.fc1.weight.data.uniform_(0.5, 1.0)
    before = mixing.fc1.weight.sum(1)
    model.resize_spectrogram(**change, stretch=stretch)
    ratio = mixing.fc1.weight.sum(1) / before
    assert (ratio > 0.7).all()
    assert (ratio < 1.3).all()


def test_a_resized_patch_gives_the_token_of_the_original(model):
    """Source: https://arxiv.org/abs/2212.08013, equation 4: exact where the patch grows."""
    projection, patches = model.audio_spectrogram_mixer.patch_embeddings.projection, torch.randn(5, 1, 8, 4)
    before = projection(patches)
    model.resize_spectrogram(patch_size=(16, 8))
    larger = torch.nn.functional.interpolate(patches, size=(16, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(projection(larger), before, atol=1e-4, rtol=0)


def test_a_new_window_without_the_call_names_it(model, tmp_path):
    model.save_pretrained(tmp_path)
    for load in (ASMForAudioClassification.from_pretrained, AutoModelForAudioClassification.from_pretrained):
        with pytest.raises(RuntimeError, match=r"another geometry.*\.resize_spectrogram\(max_length="):
            load(tmp_path, max_length=32)
    with pytest.raises(ValueError, match="resize_spectrogram"):
        model(torch.zeros(1, 12, 24))


def test_an_impossible_geometry_leaves_the_model_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit"):
        model.resize_spectrogram(max_length=2)
    assert model.config.max_length == 16
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.fixture
def stemmed(config) -> ASMForAudioClassification:
    """Two convolutions in front of the patches."""
    config.stem_channels = (3, 5)
    return ASMForAudioClassification(config)


def test_a_stem_keeps_the_grid(stemmed, input_values, tmp_path):
    config = stemmed.config
    patches = stemmed.audio_spectrogram_mixer.patch_embeddings
    spectrogram = input_values.transpose(1, 2).unsqueeze(1)
    assert patches.stem(spectrogram).shape == (4, 5, config.num_mel_bins // 4, config.max_length)
    assert patches(input_values).shape == (4, config.num_patches, config.hidden_size)
    loss = stemmed(input_values, labels=torch.tensor([0, 1, 2, 0])).loss
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in stemmed.parameters())
    stemmed.eval().save_pretrained(tmp_path)
    again = ASMForAudioClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(input_values).logits, stemmed(input_values).logits, rtol=0, atol=0)


def test_a_stem_starts_with_running_statistics_that_change_nothing(stemmed):
    for module in stemmed.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
            assert (module.running_mean == 0).all() and (module.running_var == 1).all()


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_with_a_stem_is_resized(stemmed, change):
    stemmed.eval().resize_spectrogram(**CHANGES[change])
    config = stemmed.config
    input_values = torch.randn(2, config.max_length, config.num_mel_bins)
    outputs = stemmed.audio_spectrogram_mixer(input_values)
    assert outputs.last_hidden_state.shape == (2, config.num_patches, config.hidden_size)


def test_without_a_stem_there_are_no_weights_of_one(model):
    assert not [name for name in model.state_dict() if "stem" in name]
