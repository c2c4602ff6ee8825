"""The arguments of a distillation: what is learned, from whom, and how the student is trained."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
import yaml
from transformers import TrainingArguments

from ...configuration_asm import ASMConfig
from ..training_arguments import TRANSFORMERS, changed
from .batches import StudentAugmentation
from .mixtures import MixtureSettings


def mapping(description: str):
    """Return a field for YAML or JSON with this help."""
    return field(default="{}", metadata={"help": description})


@dataclass
class DistillationArguments:
    """What is learned, from whom, and from which audio."""

    pool: str = field(default="", metadata={"help": "Folder of the pool of audio: see research/corpus."})
    bank: str = field(default="", metadata={"help": "Folder for the mixtures with what the teachers say of them."})
    teachers: str = mapping(
        "Teachers by name: their `type`, files and settings, and the `loss_weights` of their targets."
    )
    model: str = mapping("Fields of the ASMConfig of the student.")
    mixtures: str = field(
        default="{all: {number: 100000}}",
        metadata={
            "help": "Parts of the bank by name: their `number` of mixtures, and fields of MixtureSettings "
            "(default: %(default)s)."
        },
    )
    augmentation: str = mapping("Fields of StudentAugmentation.")
    start: str | None = field(default=None, metadata={"help": "Checkpoint to start from (default: random weights)."})
    num_validation: int = field(
        default=1024,
        metadata={"help": "Mixtures of held-out sources in each part, to validate (default: %(default)s)."},
    )
    validation_share: float = field(
        default=0.05,
        metadata={"help": "Share of the audio, by source, held out for validation (default: %(default)s)."},
    )
    bank_seed: int = field(
        default=0, metadata={"help": "Seed of the mixtures, and of which sources validate (default: %(default)s)."}
    )
    average_decay: float = field(
        default=0.999, metadata={"help": "Decay of the averaged weights (default: %(default)s)."}
    )
    probe_dirs: list[str] = field(default_factory=list, metadata={"help": "Labelled data sets to probe."})
    probe_steps: int = field(default=0, metadata={"help": "Steps between two probes (default: none)."})
    licence: str | None = field(default=None, metadata={"help": "Licence of the encoder (default: other)."})
    credit: str | None = field(default=None, metadata={"help": "Credits beside the teachers', for the card."})
    num_processes: int = field(default=2, metadata={"help": "Processes that fill the bank (default: %(default)s)."})

    def __post_init__(self):
        for name in ("pool", "bank"):
            if not getattr(self, name):
                raise ValueError(f"Set --{name}.")
        for name in ("teachers", "model", "mixtures", "augmentation"):
            setattr(self, name, read_mapping(name, getattr(self, name)))
        check_fields("model", self.model, set(vars(ASMConfig())) - {"id2label", "label2id", "problem_type"})
        check_fields("augmentation", self.augmentation, field_names(StudentAugmentation))
        build("augmentation", StudentAugmentation, self.augmentation)
        if not self.mixtures:
            raise ValueError("--mixtures names no part of the bank.")
        for part, settings in self.mixtures.items():
            where = f"mixtures {part}"
            if not isinstance(settings, dict) or not isinstance(settings.get("number"), int) or settings["number"] < 1:
                raise ValueError(f"--{where}: {settings!r}, expected the `number` of its mixtures and their settings.")
            if not isinstance(part, str) or re.fullmatch(r"[\w-]+", part) is None:
                raise ValueError(f"--{where}: the name of a part becomes that of a folder: use letters and digits.")
            if "seconds" in settings:
                raise ValueError(f"--{where} sets 'seconds', which `max_length` of --model determines.")
            check_fields(where, settings, {"number"} | field_names(MixtureSettings))
            build(where, MixtureSettings, {name: value for name, value in settings.items() if name != "number"})
        if bool(self.probe_dirs) != (self.probe_steps > 0):
            raise ValueError("--probe_dirs and --probe_steps have an effect only together. Set both, or neither.")
        names = [Path(folder).resolve().name for folder in self.probe_dirs]
        if len(set(names)) < len(names):
            raise ValueError(f"--probe_dirs has two folders of one name, {names}, by which results are told apart.")
        if not self.teachers:
            raise ValueError("Set --teachers: a general encoder learns from at least one.")
        for name, teacher in self.teachers.items():
            if not isinstance(teacher, dict):
                raise ValueError(f"--teachers {name}: {teacher!r}, expected its `type` and settings.")
            weights = teacher.get("loss_weights", {})
            if not isinstance(weights, dict) or not all(is_weight(value) for value in weights.values()):
                raise ValueError(
                    f"--teachers {name}: its `loss_weights` are {weights!r}, expected numbers of at least 0."
                )
        for name, low, high in (
            ("num_validation", 1, None), ("num_processes", 1, None), ("validation_share", 0.001, 0.5),
            ("average_decay", 0, 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                limits = f"at least {low}" if high is None else f"from {low} to {high}"
                raise ValueError(f"--{name} must be {limits}, got {value}.")


def is_weight(value) -> bool:
    """Whether a value is a number of at least 0."""
    return isinstance(value, (int, float)) and value >= 0


def build(name: str, kind: type, values: dict):
    """Make an instance of a dataclass; its errors then name the argument."""
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--{name}: {error}") from error


def field_names(kind: type) -> set[str]:
    """Return the names of the fields of a dataclass."""
    return {item.name for item in fields(kind)}


def check_fields(name: str, given: dict, known: set[str]):
    """Raise `ValueError` if an argument sets something unknown."""
    if unknown := sorted(set(given) - known):
        raise ValueError(f"--{name} sets {unknown[0]!r}, expected some of {sorted(known)}.")


def read_mapping(name: str, value: str | dict) -> dict:
    """Read names and values from YAML or JSON."""
    mapped = value
    if isinstance(value, str):
        try:
            mapped = yaml.safe_load(value)
        except yaml.YAMLError:
            mapped = None
    if not isinstance(mapped, dict):
        raise ValueError(f"--{name} is {value!r}, expected names and values as YAML or JSON.")
    return mapped


# Arguments of transformers' that would have no effect, or a wrong one, and why.
MUON = "matrices are trained by Muon and the rest by AdamW"
REFUSED = {
    "optim": MUON,
    "optim_args": MUON,
    "adam_epsilon": MUON,
    "label_smoothing_factor": "the targets are what the teachers say",
    "load_best_model_at_end": "the encoder is the average of the weights",
    "optim_target_modules": MUON,
    "bf16_full_eval": "the evaluation is that of the training, in bf16 with --bf16",
    "fp16_full_eval": "the evaluation is that of the training",
    "gradient_checkpointing": "students are small",
    "resume_from_checkpoint": "the same command continues an interrupted run",
}


@dataclass
class DistillationTrainingArguments(TrainingArguments):
    """transformers' arguments with defaults for a student that learns from a bank."""

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for the encoder. The same command continues an interrupted run."}
    )
    learning_rate: float = changed("learning_rate", 2e-3)
    weight_decay: float = changed("weight_decay", 0.05)
    adam_beta2: float = changed("adam_beta2", 0.98)
    warmup_steps: float = changed("warmup_steps", 300)
    lr_scheduler_type: str = changed("lr_scheduler_type", "cosine")
    per_device_train_batch_size: int = changed("per_device_train_batch_size", 64)
    per_device_eval_batch_size: int = changed("per_device_eval_batch_size", 128)
    bf16: bool = changed("bf16", True)
    eval_strategy: str = changed("eval_strategy", "epoch")
    save_strategy: str = changed("save_strategy", "steps")
    save_steps: float = changed("save_steps", 500)
    save_total_limit: int = changed("save_total_limit", 1)
    logging_steps: float = changed("logging_steps", 100)
    push_to_hub: bool = field(
        default=False, metadata={"help": "Upload the finished encoder to the Hub, in one commit (default: false)."}
    )
    hub_strategy: str = changed("hub_strategy", "end")
    report_to: str = changed("report_to", "none")
    remove_unused_columns: bool = changed("remove_unused_columns", False)
    ddp_timeout: int = changed("ddp_timeout", 7 * 24 * 3600)  # the others wait while one process fills the bank
    dataloader_pin_memory: bool = changed("dataloader_pin_memory", torch.cuda.is_available())

    def __post_init__(self):
        if not self.output_dir:
            raise ValueError("Set --output_dir to the folder for the encoder.")
        for name, why in REFUSED.items():
            if getattr(self, name) not in (TRANSFORMERS[name].default, False):
                raise ValueError(f"--{name} cannot be set: {why}.")
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()  # or transformers refuses bf16
        super().__post_init__()
