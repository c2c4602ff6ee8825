import json

import pytest
import torch
from transformers import AutoModelForAudioClassification, Trainer, TrainingArguments

from modeling_asm import ASMConfig, ASMForAudioClassification, ASMModel
from modeling_asm.modeling_asm import ASMDropPath


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


def test_tokens_instead_of_a_spectrogram(model, input_values):
    base = model.audio_spectrogram_mixer
    tokens = base.get_input_embeddings()(input_values)
    torch.testing.assert_close(base(inputs_embeds=tokens)[0], base(input_values)[0])
    for arguments in ({}, {"input_values": input_values, "inputs_embeds": tokens}):
        with pytest.raises(ValueError, match="Pass either `input_values` or `inputs_embeds`"):
            base(**arguments)


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
    assert all(layer.gradient_checkpointing for layer in model.audio_spectrogram_mixer.layers)
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
@pytest.mark.compiles
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


@pytest.mark.compiles
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


@pytest.mark.compiles
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
    message = (
        "If `classifier` differs, so does the number of labels. For a new task, pass `ignore_mismatched_sizes=True`"
    )
    with pytest.raises(RuntimeError, match=message):
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


def test_training_on_windows(model):
    loss = model(torch.randn(2, 40, 24), labels=torch.tensor([0, 2])).loss
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


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


def test_without_a_stem_there_are_no_weights_of_one(model):
    assert not [name for name in model.state_dict() if "stem" in name]


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "flex_attention"])
def test_a_model_without_attention_takes_any_implementation_of_it(checkpoint, model, input_values, implementation):
    loaded = ASMForAudioClassification.from_pretrained(checkpoint, attn_implementation=implementation)
    assert torch.equal(loaded(input_values).logits, model(input_values).logits)
    made = AutoModelForAudioClassification.from_config(model.config, attn_implementation=implementation)
    assert made.num_parameters() == model.num_parameters()


def test_hidden_states_of_several_windows_are_refused(model):
    message = "`output_hidden_states=True` is for clips of one window, got 40 frames"
    with pytest.raises(ValueError, match=message):
        model(torch.randn(1, 40, 24), output_hidden_states=True)
    model.config.output_hidden_states = True
    with pytest.raises(ValueError, match=message):
        model(torch.randn(1, 40, 24))
    assert model(torch.randn(1, 40, 24), output_hidden_states=False).logits.shape == (1, 3)


def test_numbers_of_the_configuration_reach_the_layers(config):
    config.layer_norm_eps, config.drop_path_rate, config.num_hidden_layers = 1e-3, 0.5, 3
    mixer = ASMModel(config)
    norms = [module for module in mixer.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 7 and {norm.eps for norm in norms} == {1e-3}
    assert [layer.drop_path.drop_prob for layer in mixer.layers] == [0.0, 0.25, 0.5]


@pytest.mark.parametrize("by_argument", [True, False])
def test_hidden_states_and_tuples_on_request(config, input_values, by_argument):
    model = ASMForAudioClassification(config).eval()
    assert model(input_values).hidden_states is None
    options = {"output_hidden_states": True, "return_dict": False}
    if not by_argument:
        config.output_hidden_states, config.return_dict = True, False
        options = {}
    for part in (model, model.audio_spectrogram_mixer):
        outputs = part(input_values, **options)
        assert isinstance(outputs, tuple) and len(outputs[-1]) == 3
        assert part(input_values, return_dict=True).to_tuple()[0].shape == outputs[0].shape
        assert part(input_values, return_dict=True, output_hidden_states=False).hidden_states is None


def test_the_arguments_of_save_pretrained_are_meant(model, tmp_path):
    model.config.auto_map = {"AutoModelForPreTraining": "other.Class"}
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    saved = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert saved["AutoModel"] == "modeling_asm.ASMModel"
    assert saved["AutoModelForAudioClassification"] == "modeling_asm.ASMForAudioClassification"
    assert saved["AutoModelForPreTraining"] == "other.Class"


def test_only_logits_of_several_windows_are_marked(model):
    """A padded batch of short clips has one window each, and any function may be applied to its logits."""
    short = torch.zeros(2, 40, 24)
    short[:, :10] = torch.randn(2, 10, 24)
    assert torch.sigmoid(model(short).logits).shape == (2, 3)
    short[1, :17] = torch.randn(17, 24)
    with pytest.raises(ValueError, match="combine several windows"):
        torch.sigmoid(model(short).logits)


def test_windows_of_a_model_that_returns_tuples(config):
    config.return_dict = False
    model = ASMForAudioClassification(config).eval()
    assert model(torch.randn(2, 40, 24))[0].shape == (2, 3)
