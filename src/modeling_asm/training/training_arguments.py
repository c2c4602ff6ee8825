"""transformers' `TrainingArguments` with other defaults and some additions, and which of them decide a result."""

from dataclasses import MISSING, Field, dataclass, field, fields

import torch
from transformers import TrainingArguments

from .arguments import use_defaults
from .tasks import METRICS


# The arguments that decide the result of a run, transformers' and ours: a run is continued only with the same ones.
DECISIVE = ("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps")
DECISIVE += ("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay")
DECISIVE += ("optim", "optim_args", "optim_target_modules", "adam_beta1", "adam_beta2", "adam_epsilon")
DECISIVE += ("max_grad_norm", "label_smoothing_factor", "neftune_noise_alpha", "seed", "data_seed", "full_determinism")
DECISIVE += ("bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval", "gradient_checkpointing", "torch_compile")
DECISIVE += ("auto_find_batch_size", "eval_on_start", "eval_strategy", "eval_steps", "eval_delay")
DECISIVE += ("save_strategy", "save_steps", "load_best_model_at_end")
DECISIVE += ("metric_for_best_model", "greater_is_better", "early_stopping_patience", "average_last")
DECISIVE += ("dataloader_drop_last", "train_sampling_strategy", "ignore_data_skip", "class_balance")
DECISIVE += ("layer_decay", "step_factor", "step_start", "start_share", "teachers", "teacher_share")


TRANSFORMERS = {item.name: item for item in fields(TrainingArguments)}


def changed(name: str, default):
    """Return a field of transformers' with another default and the same help."""
    return field(default=default, metadata=TRANSFORMERS[name].metadata)


# Where they are not given: for a new model or another checkpoint, and for the general encoder.
DEFAULTS = {"num_train_epochs": 40, "learning_rate": 1e-3, "layer_decay": 1.0, "start_share": 0.0}
GENERAL_DEFAULTS = {"num_train_epochs": 10, "learning_rate": 5e-4, "layer_decay": 0.9, "start_share": 0.5}


def by_start(name: str, description: str):
    """Return a field whose default depends on what is trained, which its help says."""
    values = f"{DEFAULTS[name]:g}, and {GENERAL_DEFAULTS[name]:g} for the general encoder"
    return field(default=None, metadata={"help": f"{description} (default: {values})."})


def default_of(item: Field):
    """Return the default of a field."""
    return item.default if item.default_factory is MISSING else item.default_factory()


@dataclass
class AudioTrainingArguments(TrainingArguments):
    """transformers' arguments with defaults for small Mixers that start from random weights, and some of our own."""

    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder for the model, its card and its results. The same command continues an interrupted run."
        },
    )
    push_to_hub: bool = field(
        default=False, metadata={"help": "Upload the finished model to the Hub, in one commit (default: false)."}
    )
    num_train_epochs: float | None = by_start("num_train_epochs", "Number of epochs")
    learning_rate: float | None = by_start("learning_rate", "Peak learning rate of AdamW")
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay of AdamW (default: %(default)s)."})
    warmup_steps: float = changed("warmup_steps", 0.1)
    lr_scheduler_type: str = changed("lr_scheduler_type", "cosine")
    per_device_train_batch_size: int = field(
        default=32, metadata={"help": "Training clips per step and device (default: %(default)s)."}
    )
    per_device_eval_batch_size: int = field(
        default=128, metadata={"help": "Test clips per step and device (default: %(default)s)."}
    )
    eval_strategy: str = changed("eval_strategy", "epoch")
    save_strategy: str = changed("save_strategy", "epoch")
    logging_strategy: str = changed("logging_strategy", "epoch")
    save_total_limit: int = changed("save_total_limit", 1)
    load_best_model_at_end: bool = changed("load_best_model_at_end", True)
    remove_unused_columns: bool = changed("remove_unused_columns", False)
    label_smoothing_factor: float = changed("label_smoothing_factor", 0.1)
    hub_strategy: str = changed("hub_strategy", "end")
    report_to: str = changed("report_to", "none")
    restore_callback_states_from_checkpoint: bool = changed(
        "restore_callback_states_from_checkpoint", True
    )  # early stopping counts on
    dataloader_pin_memory: bool = changed("dataloader_pin_memory", torch.cuda.is_available())
    class_balance: str = field(
        default="none",
        metadata={
            "help": "Balance classes: by weights in the loss, or by drawing rare classes more often.",
            "choices": ["none", "weights", "sampling"],
        },
    )
    layer_decay: float | None = by_start("layer_decay", "Learning rate of a layer relative to that of the next one")
    start_share: float | None = by_start(
        "start_share", "Share of the weights that training started from in those that are kept (WiSE-FT)"
    )
    step_factor: float | None = field(
        default=None, metadata={"help": "Factor of the learning rate after each epoch, instead of a schedule."}
    )
    step_start: int = field(default=5, metadata={"help": "First epoch after which --step_factor applies."})
    average_last: int = field(
        default=0, metadata={"help": "Average the weights of the last N checkpoints instead of keeping the best."}
    )
    teachers: list[str] = field(
        default_factory=list,
        metadata={"help": "Checkpoints, or runs with --seeds, whose mean scores the model imitates (distillation)."},
    )
    teacher_share: float = field(default=0.7, metadata={"help": "Weight of the teachers in the loss."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without improvement."}
    )

    def __post_init__(self):
        if not self.output_dir:
            raise ValueError("Set --output_dir to the folder for the model and its results.")
        self.given = {item.name for item in fields(self) if getattr(self, item.name) != default_of(item)}
        use_defaults(self, DEFAULTS)
        super().__post_init__()
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"--layer_decay must be above 0 and at most 1, got {self.layer_decay}.")
        if not 0 <= self.start_share < 1:
            raise ValueError(f"--start_share must be at least 0 and below 1, got {self.start_share}.")
        if self.step_factor is not None and self.lr_scheduler_type != "cosine":
            raise ValueError("--step_factor replaces the schedule of --lr_scheduler_type. Leave one of them out.")
        if self.step_factor is not None and self.max_steps > 0:
            raise ValueError("--step_factor applies after epochs. Set --num_train_epochs instead of --max_steps.")
        if not 0 < self.teacher_share <= 1:
            raise ValueError(f"--teacher_share must be above 0 and at most 1, got {self.teacher_share}.")
        metric = METRICS.get((self.metric_for_best_model or "").removeprefix("eval_"))
        if metric is not None:
            self.greater_is_better = metric.greater_is_better
        if self.dataloader_persistent_workers:
            raise ValueError(
                "--dataloader_persistent_workers would repeat the augmentation of the first epoch. Omit it."
            )
        if self.average_last > 0:
            if self.save_strategy == "no":
                raise ValueError(f"--average_last {self.average_last} needs checkpoints. Omit --save_strategy no.")
            self.load_best_model_at_end = False
            self.save_total_limit = max(self.save_total_limit or 0, self.average_last)
