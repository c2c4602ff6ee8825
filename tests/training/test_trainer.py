import math

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, set_seed

from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.clips import ClipDataset, ClipTransform
from modeling_asm.training.frontend import Frontend
from modeling_asm.training.models import ModelArguments, make_model
from modeling_asm.training.run_folder import CheckpointError, checkpoints
from modeling_asm.training.trainer import AudioTrainer, EpochCallback, layer_of, mean_loss, mean_of
from modeling_asm.training.training_arguments import AudioTrainingArguments


@pytest.fixture
def make_trainer(clips, tmp_path):
    """Make a trainer of a tiny model, of a few epochs, with arguments of `AudioTrainingArguments`."""

    def make(model_args=None, augmentation=None, class_weights=None, callbacks=None, teachers=None, **arguments):
        model, extractor = make_model(model_args or ModelArguments(model_name_or_path="scratch"), clips)
        frontend = Frontend(extractor, 0.2)
        transform = ClipTransform(frontend, clips.features, augmentation)
        defaults = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "use_cpu": True, "eval_strategy": "no"}
        defaults |= {"load_best_model_at_end": False, "output_dir": str(tmp_path / "run"), "disable_tqdm": True}
        return AudioTrainer(
            model=model,
            args=AudioTrainingArguments(**{**defaults, **arguments}),
            train_dataset=ClipDataset(clips, transform),
            eval_dataset=ClipDataset(clips, transform),
            processing_class=extractor,
            class_weights=class_weights,
            callbacks=callbacks,
            teachers=teachers,
        )

    return make


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("name", ["asm", "ast", "wav2vec2"])
@pytest.mark.parametrize("augmentation", [None, Augmentation()], ids=["plain", "augmented"])
def test_three_architectures_train_through_one_trainer(make_trainer, name, augmentation, request):
    arguments = ModelArguments(model_name_or_path=str(request.getfixturevalue(name)) if name != "asm" else "scratch")
    trainer = make_trainer(arguments, augmentation, num_train_epochs=1, save_strategy="no")
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    assert math.isfinite(trainer.train().training_loss)
    assert any(not torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
    output = trainer.predict(trainer.eval_dataset)
    assert output.predictions.shape == (40, 2)
    assert math.isfinite(output.metrics["test_loss"])


def test_accumulated_steps_are_one_step(make_trainer):
    """Four clips twice are eight clips: the same weights after an epoch."""
    states = []
    for batch_size, steps in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        trainer = make_trainer(
            ModelArguments(drop_path_rate=0.0),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=steps,
            num_train_epochs=1,
            save_strategy="no",
            optim="sgd",
        )
        trainer.train()
        states.append(trainer.model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-6, rtol=1e-5)


def test_a_frozen_encoder_stays(make_trainer):
    trainer = make_trainer(ModelArguments(freeze_encoder=True), Augmentation(), num_train_epochs=1, save_strategy="no")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert not trainer.model.base_model.training  # no dropout, no stochastic depth


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("name", ["asm", "ast", "wav2vec2"])
def test_layer_decay(make_trainer, name, request):
    arguments = ModelArguments(model_name_or_path=str(request.getfixturevalue(name)) if name != "asm" else "scratch")
    trainer = make_trainer(arguments, layer_decay=0.5, learning_rate=1.0)
    optimizer = trainer.create_optimizer()
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    names = dict(trainer.model.named_parameters())
    assert len(rates) == len(names)
    depth = trainer.model.config.num_hidden_layers + 1
    for parameter, value in names.items():
        layer = layer_of(parameter, depth)
        assert rates[id(value)] == pytest.approx(0.5 ** (depth - layer))
    assert rates[id(names[next(key for key in names if key.startswith("classifier"))])] == 1.0
    assert {layer_of(key, depth) for key in names} == set(range(depth + 1))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("asm.embeddings.patch_embeddings.projection.weight", 0),
        ("asm.layers.0.token_mixing.fc1.weight", 1),
        ("wav2vec2.encoder.layers.3.attention.k_proj.bias", 4),
        ("audio_spectrogram_transformer.encoder.layer.11.output.dense.weight", 12),
        ("asm.layernorm.weight", 13),
        ("layer_norm.bias", 13),
        ("wav2vec2.feature_projection.layer_norm.weight", 0),
        ("wav2vec2.encoder.pos_conv_embed.conv.bias", 0),
        ("asm.layernorm.weight_mask", 0),
        ("projector.bias", 13),
        ("classifier.layernorm.weight", 13),
    ],
)
def test_layers_by_their_names(name, layer):
    assert layer_of(name, 13) == layer


def test_no_layer_is_above_embeddings_without_a_head():
    assert layer_of("classifier.weight") == 0


def test_a_factor_an_epoch(make_trainer):
    """AST's schedule, from the fifth epoch on; source: YuanGongND/ast, MultiStepLR at 5, 6, ... by .85."""
    trainer = make_trainer(step_factor=0.85, step_start=5, num_train_epochs=8, warmup_steps=0)
    trainer.create_optimizer()
    schedule = trainer.create_scheduler(80)
    rates = []
    for _ in range(80):
        rates.append(schedule.get_last_lr()[0] / trainer.args.learning_rate)
        schedule.step()
    assert rates[::10] == pytest.approx([1, 1, 1, 1, 1, 0.85, 0.85**2, 0.85**3])


def test_the_mean_of_the_last_checkpoints(make_trainer):
    trainer = make_trainer(average_last=2, num_train_epochs=3)
    trainer.train()
    last = checkpoints(trainer.args.output_dir)
    assert [path.name for path in last] == ["checkpoint-10", "checkpoint-15"]
    assert trainer.average_checkpoints() == 2
    states = [load_file(path / "model.safetensors") for path in last]
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, (states[0][name] + states[1][name]) / 2)


def test_the_mean_of_checkpoints_in_sharded_weights(make_trainer, shard):
    trainer = make_trainer(average_last=2)
    trainer.train()
    trainer.average_checkpoints()
    mean = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    torch.nn.init.zeros_(trainer.model.classifier.weight)
    shard(trainer.model)
    assert trainer.average_checkpoints() == 2
    weights = get_model_state_dict(trainer.model, options=StateDictOptions(full_state_dict=True))
    assert all(torch.equal(weights[name], value) for name, value in mean.items())


@pytest.mark.parametrize("sharded", [False, True])
def test_a_share_of_the_start_is_kept(make_trainer, shard, sharded):
    trainer = make_trainer()
    trainer.model.base_model.requires_grad_(False)
    start = trainer.copy_weights()
    trainer.train()
    trained = trainer.copy_weights()
    if sharded:
        shard(trainer.model)
    trainer.mix_with_start(start, 0.25)
    mixed = get_model_state_dict(trainer.model, options=StateDictOptions(full_state_dict=True))
    for name, value in mixed.items():
        torch.testing.assert_close(value, 0.25 * start[name] + 0.75 * trained[name])
        assert torch.equal(value, start[name]) == torch.equal(trained[name], start[name])


@pytest.mark.parametrize("number", [3, 7])
def test_what_does_not_change_is_no_mean(number):
    """Of frozen weights, which a mean of equal numbers would round."""
    frozen, moving = torch.randn(1000), [torch.randn(1000) for _ in range(number)]
    assert torch.equal(mean_of([frozen] * number), frozen)
    torch.testing.assert_close(mean_of(moving), sum(moving) / number)
    assert mean_of([torch.tensor([3]), torch.tensor([5])]).tolist() == [4]
    assert mean_of([torch.ones(2).bfloat16()] * 3).dtype == torch.bfloat16


def test_a_loss_that_is_no_number(make_trainer):
    """It stops at once, and names step, batch and files."""
    trainer = make_trainer(learning_rate=1e38, max_grad_norm=0, warmup_steps=0)
    with pytest.raises(FloatingPointError) as error:
        trainer.train()
    words = str(error.value)
    assert "The loss is nan at step" in words
    assert "in a batch of 8 clips: " in words
    assert len({audio["path"] for audio in trainer.train_dataset.rows.audio["audio"] if audio["path"] in words}) == 8
    assert "Lower --learning_rate" in words


def test_only_the_best_and_the_last_checkpoint_stay(make_trainer):
    trainer = make_trainer(
        num_train_epochs=4,
        eval_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,  # the first is the best
    )
    trainer.train()
    names = [path.name for path in checkpoints(trainer.args.output_dir)]
    assert trainer.state.best_model_checkpoint.endswith(names[0])
    assert names[-1] == "checkpoint-20"
    assert len(names) <= 2
    assert not list((checkpoints(trainer.args.output_dir)[0].parent).glob("unfinished-*"))
    best = load_file(f"{trainer.state.best_model_checkpoint}/model.safetensors")
    assert all(torch.equal(value, best[name]) for name, value in trainer.model.state_dict().items())


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(make_trainer, monkeypatch):
    """Saving fails in the midst: see tests/commands/test_survival.py for a disk that is really full."""
    trainer = make_trainer()
    save = trainer._save_optimizer_and_scheduler

    def full(folder):
        if folder.endswith("-10"):
            raise OSError(28, "No space left on device")
        save(folder)

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(CheckpointError, match=r"Cannot save checkpoint-10: .*No space left.*complete: free some space"):
        trainer.train()
    assert [path.name for path in checkpoints(trainer.args.output_dir)] == ["checkpoint-5"]


def test_the_loss_of_an_evaluation_weighs_each_clip_alike(make_trainer):
    """In batches of three, of which the last has one clip, as in a single one; with class weights, too."""
    weights = torch.tensor([1.0, 5.0])
    losses = {}
    for size in (3, 40):
        set_seed(0)
        trainer = make_trainer(class_weights=weights, per_device_eval_batch_size=size)
        losses[size] = trainer.evaluate()["eval_loss"]
    assert losses[3] == pytest.approx(losses[40], abs=1e-6)
    named = trainer.evaluate(metric_key_prefix="held_out")
    assert named["held_out_loss"] == pytest.approx(losses[40], abs=1e-6)
    assert not any(name.startswith("eval_") for name in named)


def test_the_callers_arguments_stay_as_they_are(make_trainer):
    trainer = make_trainer(save_total_limit=2)
    arguments = AudioTrainingArguments(output_dir=trainer.args.output_dir, save_total_limit=2, use_cpu=True)
    for _ in range(2):
        again = AudioTrainer(model=trainer.model, args=arguments, eval_dataset=trainer.eval_dataset)
        assert again.limit == arguments.save_total_limit == 2


def test_the_card_is_kept(make_trainer, tmp_path):
    trainer = make_trainer()
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "README.md").write_text("---\nlicense: mit\n---\nours")
    trainer.create_model_card()
    assert (tmp_path / "run" / "README.md").read_text().endswith("ours")


def test_a_draft_of_a_card_names_the_task(make_trainer, tmp_path):
    """transformers' own draft, where no card was written: the Hub finds audio classifiers by this name."""
    trainer = make_trainer(eval_strategy="epoch", num_train_epochs=1)
    trainer.compute_metrics = lambda output: {"accuracy": (output.predictions.argmax(-1) == output.label_ids).mean()}
    trainer.train()
    trainer.create_model_card("en", model_name="tones", dataset="Tones", dataset_tags="ann/tones")
    card = (tmp_path / "run" / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    (index,) = metadata["model-index"]
    assert index["name"] == "tones"
    assert index["results"][0]["task"] == {"name": "Audio Classification", "type": "audio-classification"}
    assert metadata["language"] == ["en"]


def test_a_run_that_stopped_early_stays_stopped(make_trainer):
    """Killed after its last checkpoint, it takes no step more."""
    arguments = {"eval_strategy": "epoch", "load_best_model_at_end": True, "num_train_epochs": 9}
    arguments |= {"metric_for_best_model": "loss", "learning_rate": 0.0, "save_total_limit": 9}
    first, again = (make_trainer(callbacks=[EarlyStoppingCallback(2)], **arguments) for _ in range(2))
    first.train()
    assert first.state.global_step < first.state.max_steps
    again.train(resume_from_checkpoint=str(checkpoints(first.args.output_dir)[-1]))
    assert again.state.global_step == first.state.global_step
    assert again.state.best_model_checkpoint == first.state.best_model_checkpoint


def test_patience_is_not_renewed_by_going_on(make_trainer):
    arguments = {"eval_strategy": "epoch", "load_best_model_at_end": True, "num_train_epochs": 9}
    arguments |= {"metric_for_best_model": "loss", "learning_rate": 0.0, "save_total_limit": 9}
    first, again = (make_trainer(callbacks=[EarlyStoppingCallback(2)], **arguments) for _ in range(2))
    first.train()
    again.train(resume_from_checkpoint=str(checkpoints(first.args.output_dir)[-2]))
    assert again.state.global_step == first.state.global_step


def test_a_folder_that_moved_keeps_its_best_checkpoint(make_trainer, tmp_path):
    """With a learning rate of 0, the first epoch stays the best."""
    arguments = {"eval_strategy": "epoch", "load_best_model_at_end": True, "learning_rate": 0.0}
    make_trainer(**arguments, save_total_limit=2).train()
    (tmp_path / "run").rename(tmp_path / "moved")
    again = make_trainer(**arguments, output_dir=str(tmp_path / "moved"), num_train_epochs=3)
    again.train(resume_from_checkpoint=str(checkpoints(tmp_path / "moved")[-1]))
    assert again.state.best_model_checkpoint == str(checkpoints(tmp_path / "moved")[0])
    assert len(checkpoints(tmp_path / "moved")) == 2  # the best, and the last


def test_steps_that_end_within_an_epoch(make_trainer):
    first, again = (make_trainer(max_steps=3, save_strategy="steps", save_steps=3) for _ in range(2))
    first.train()
    again.train(resume_from_checkpoint=str(checkpoints(first.args.output_dir)[-1]))
    assert again.state.global_step == 3
    for name, value in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_the_clips_know_the_epoch(make_trainer):
    trainer, epochs = make_trainer(num_train_epochs=3), []
    dataset, set_epoch = trainer.train_dataset, trainer.train_dataset.set_epoch
    dataset.set_epoch = lambda epoch: epochs.append(epoch) or set_epoch(epoch)
    trainer.train()
    assert sorted(set(epochs)) == [0, 1, 2]
    assert dataset.epoch == 2


def test_the_clips_know_the_epoch_without_accelerate(make_trainer):
    """Its loaders tell them in a single process only."""
    trainer, callback = make_trainer(), EpochCallback()
    call = (trainer.args, TrainerState(epoch=2.0), TrainerControl())
    callback.on_epoch_begin(*call, train_dataloader=torch.utils.data.DataLoader(trainer.train_dataset))
    assert trainer.train_dataset.epoch == 2
    callback.on_epoch_begin(*call, train_dataloader=torch.utils.data.DataLoader([1, 2]))
    callback.on_epoch_begin(*call)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer_decay": 0.0}, "--layer_decay must be above 0 and at most 1"),
        ({"layer_decay": 1.5}, "--layer_decay must be above 0 and at most 1"),
        (
            {"dataloader_persistent_workers": True, "dataloader_num_workers": 1},
            "--dataloader_persistent_workers would repeat the augmentation",
        ),
    ],
)
def test_impossible_arguments(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        AudioTrainingArguments(output_dir=str(tmp_path), **arguments)


@pytest.mark.parametrize("name", ["mean_squared_error", "eval_mean_squared_error"])
def test_a_small_error_is_a_good_one(tmp_path, name):
    assert AudioTrainingArguments(output_dir=str(tmp_path), metric_for_best_model=name).greater_is_better is False


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu(make_trainer):
    trainer = make_trainer(augmentation=Augmentation(), use_cpu=False, bf16=True)
    assert math.isfinite(trainer.train().training_loss)
    assert next(trainer.model.parameters()).is_cuda


def test_averaging_keeps_the_dtype(make_trainer, tmp_path):
    trainer = make_trainer(average_last=1)
    folder = tmp_path / "run" / "checkpoint-1"
    folder.mkdir(parents=True)
    save_file({name: value.clone() for name, value in trainer.model.state_dict().items()}, folder / "model.safetensors")
    trainer.average_checkpoints()
    assert trainer.model.dtype == torch.float32


def test_a_model_learns_from_its_teacher_alone(make_trainer):
    """With a share of 1 the labels say nothing: the loss is the cross-entropy with the teachers' mean scores."""
    teacher = make_trainer().model.eval().requires_grad_(False)
    trainer = make_trainer(teachers=[teacher, teacher], teacher_share=1.0)
    rows = [trainer.train_dataset[index] for index in range(4)]
    inputs = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    trainer.model.train()
    for module in trainer.model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, dict(inputs))
        logits = trainer.model(inputs["input_values"]).logits
        scores = teacher(inputs["input_values"]).logits.softmax(1)
    expected = torch.nn.functional.cross_entropy(logits, scores)
    torch.testing.assert_close(loss, expected)
    trainer.train()
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in teacher.parameters())
    assert not any("teacher" in name for name in trainer.model.state_dict())


def test_a_teachers_share_is_a_share(tmp_path):
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="--teacher_share must be above 0 and at most 1"):
            AudioTrainingArguments(output_dir=str(tmp_path), teacher_share=share)


def test_weight_decay_is_for_matrices_and_kernels(make_trainer):
    overrides = "{stem_channels: [4], hidden_act: acon_c, num_mel_bins: 40}"
    trainer = make_trainer(ModelArguments(config_overrides=overrides), weight_decay=0.05)
    optimizer = trainer.create_optimizer()
    decay = {id(value): group["weight_decay"] for group in optimizer.param_groups for value in group["params"]}
    for name, value in trainer.model.named_parameters():
        matrix = name.endswith("weight") and "norm" not in name and ".stem.0.1." not in name
        assert decay[id(value)] == (0.05 if matrix else 0.0), name


class Process:
    """One process of several, as far as `mean_loss` asks."""

    def __init__(self, index, number, end, remainder):
        self.process_index, self.num_processes = index, number
        self.gradient_state = type("State", (), {"end_of_dataloader": end, "remainder": remainder})


@pytest.mark.parametrize("clips", [1, 3, 4, 5, 7, 8])
def test_clips_that_fill_up_the_last_batch_do_not_count(clips):
    """Two processes with four clips each: the mean of their losses, and its gradient, are those of the real clips."""
    losses = torch.randn(8, requires_grad=True)
    shares = [mean_loss(losses[4 * i : 4 * i + 4], Process(i, 2, True, clips % 8)) for i in range(2)]
    mean = sum(shares) / 2
    torch.testing.assert_close(mean, losses[:clips].mean())
    mean.backward()
    torch.testing.assert_close(losses.grad, torch.tensor([1 / clips] * clips + [0.0] * (8 - clips)))


def test_other_batches_count_whole():
    losses = torch.randn(4)
    assert mean_loss(losses, Process(1, 2, False, 3)) == losses.mean()
    assert mean_loss(losses, Process(0, 1, True, 3)) == losses.mean()


@pytest.mark.parametrize("taught", [False, True], ids=["alone", "taught"])
def test_weights_of_classes_count_in_every_loss(make_trainer, taught):
    """In the clips' own and in the teachers', of training and of evaluation."""
    torch.manual_seed(0)
    weights, plain = torch.tensor([1.0, 5.0]), ModelArguments(drop_path_rate=0.0)
    teacher = make_trainer(plain).model.eval()
    torch.nn.init.normal_(teacher.classifier.weight)
    trainer = make_trainer(plain, class_weights=weights, teachers=[teacher] * taught, teacher_share=0.25)
    torch.nn.init.normal_(trainer.model.classifier.weight)
    batch = next(iter(trainer.get_train_dataloader()))
    features, labels = batch["input_values"], batch["labels"]
    trainer.model.train()
    with torch.no_grad():
        logits = trainer.model(features).logits.log_softmax(-1)
        targets = torch.nn.functional.one_hot(labels, 2)
        expected = -(targets * weights * logits).sum(-1).mean()
        if taught:
            imitation = -(teacher(features).logits.softmax(-1) * weights * logits).sum(-1).mean()
            expected = 0.75 * expected + 0.25 * imitation
        torch.testing.assert_close(trainer.compute_loss(trainer.model, dict(batch)), expected)
    weighted = trainer.evaluate()["eval_loss"]
    trainer.class_weights = None
    assert trainer.evaluate()["eval_loss"] < weighted < 5 * trainer.evaluate()["eval_loss"]


def test_a_factor_an_epoch_after_the_warm_up(make_trainer):
    trainer = make_trainer(step_factor=0.5, step_start=1, num_train_epochs=3, warmup_steps=4, learning_rate=1.0)
    trainer.create_optimizer()
    schedule = trainer.create_scheduler(15)
    assert [schedule.lr_lambdas[0](step) for step in range(15)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 1.0] + [0.5] * 5 + [0.25] * 5
    )
    assert trainer._created_lr_scheduler  # which Trainer otherwise replaces
