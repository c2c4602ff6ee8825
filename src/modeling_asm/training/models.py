"""The model to train: a new one that fits the clips, or a checkpoint with a classifier for their labels."""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
import yaml
from datasets import Dataset
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from ..configuration_asm import ASM_SIZES, ASMConfig
from ..fbank import num_frames
from ..feature_extraction_asm import PADDING_MODES, ASMFeatureExtractor
from ..loading import check_checkpoint
from ..targets import REGRESSION, problem_type_of
from .data.clips import measure_features
from .frontend import Frontend
from .tasks import label_names, task_of


LONGEST_WINDOW = 10.24  # seconds; longer windows must be requested


@dataclass
class ModelArguments:
    """Architecture and size of a new model, or the checkpoint to start from."""

    model_type: str = field(
        default=ASMConfig.model_type,
        metadata={"help": "Architecture of a new model, as in config.json (default: %(default)s)."},
    )
    config_overrides: str = field(
        default="{}",
        metadata={"help": "Fields of the config of a new model: '{hidden_size: 96, patch_size: [16, 16]}'."},
    )
    size: str = field(
        default="tiny", metadata={"help": "Named size of a new ASM (default: %(default)s).", "choices": list(ASM_SIZES)}
    )
    hidden_act: str = field(
        default="gelu", metadata={"help": "Activation: gelu, mish, silu, swish or acon_c (default: %(default)s)."}
    )
    drop_path_rate: float = field(
        default=0.1,
        metadata={
            "help": "Stochastic depth: probability of skipping a branch of the last layer (default: %(default)s)."
        },
    )
    seconds: float | None = field(
        default=None, metadata={"help": "Window of the model, in seconds (default: covers 95%% of the training clips)."}
    )
    padding: str = field(
        default="repeat",
        metadata={
            "help": "Padding of short clips: see ASMFeatureExtractor (default: %(default)s).",
            "choices": list(PADDING_MODES),
        },
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to fine-tune: ASM, AST, wav2vec2 or another audio classifier."}
    )
    model_revision: str = field(
        default="main", metadata={"help": "Branch, tag or commit of the checkpoint (default: %(default)s)."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code from the checkpoint."})
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "Attention of a Transformer: eager, sdpa, ... (default: that of transformers)."},
    )
    freeze_encoder: bool = field(default=False, metadata={"help": "Train only the classifier: a linear probe."})
    tune: str = field(
        default="all",
        metadata={
            "help": "Train all weights, or fit a linear classifier to the checkpoint's embeddings, in seconds "
            "(default: %(default)s).",
            "choices": ["all", "head"],
        },
    )

    def __post_init__(self):
        new = ("model_type", "config_overrides", "size", "hidden_act", "drop_path_rate", "padding")
        defaults = {item.name: item.default for item in fields(self) if item.default is not MISSING}
        given = {f"--{name}": name for name in new if getattr(self, name) != defaults[name]}
        if self.model_name_or_path and given:
            raise ValueError(
                f"{', '.join(given)} would have no effect: --model_name_or_path determines the model and its padding."
            )
        try:
            overrides = yaml.safe_load(self.config_overrides)
        except yaml.YAMLError:
            overrides = None
        if not isinstance(overrides, dict):
            raise ValueError(
                f"--config_overrides is {self.config_overrides!r}, expected fields and values as YAML or JSON: "
                "'{hidden_size: 96, patch_size: [16, 16]}'."
            )
        reserved = {"id2label", "label2id", "problem_type", "num_labels", "max_length"} & set(overrides)
        if reserved:
            raise ValueError(f"--config_overrides sets {min(reserved)!r}, which the clips and --seconds determine.")
        if self.model_revision != defaults["model_revision"] and not self.model_name_or_path:
            raise ValueError(
                f"--model_revision {self.model_revision} would have no effect without --model_name_or_path."
            )
        if self.tune == "head" and not self.model_name_or_path:
            raise ValueError("--tune head needs a trained encoder: --model_name_or_path.")
        own = [option for option, name in given.items() if name in ("size", "hidden_act", "drop_path_rate")]
        if twice := [option for option, name in given.items() if name in overrides]:
            raise ValueError(f"{twice[0]} would have no effect: --config_overrides sets it, too. Leave one out.")
        if self.model_type != ASMConfig.model_type and own:
            raise ValueError(
                f"{', '.join(own)} would have no effect on {self.model_type!r}. Set its fields with --config_overrides."
            )

    @property
    def config_fields(self) -> dict:
        """Fields of the config of a new model: those of `size`, for an ASM, and those that were chosen."""
        chosen = yaml.safe_load(self.config_overrides)
        if self.model_type != ASMConfig.model_type:
            return chosen
        options = {"hidden_act": self.hidden_act, "drop_path_rate": self.drop_path_rate}
        return {**ASM_SIZES[self.size].config, **options, **chosen}

    @property
    def start(self) -> str | None:
        """Name of the checkpoint, without a path of this machine."""
        return self.model_name_or_path and checkpoint_name(self.model_name_or_path)


def checkpoint_name(name: str) -> str:
    """Return the name of a checkpoint: that of its folder, without the path, or that on the Hub."""
    return Path(name).resolve().name if Path(name).exists() else name


def sampling_rate_of(args: ModelArguments) -> int:
    """Return the rate that the model's clips must have: a checkpoint's own, or that of a new ASM."""
    if args.model_name_or_path is None:
        return ASMFeatureExtractor().sampling_rate
    check_checkpoint(args.model_name_or_path)
    options = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    return AutoFeatureExtractor.from_pretrained(args.model_name_or_path, **options).sampling_rate


def make_model(args: ModelArguments, clips: Dataset, channel: int | None = None) -> tuple[PreTrainedModel, object]:
    """Return a model for the labels of the training clips, and its feature extractor.

    Args:
        args: The model to build or load.
        clips: The training clips, as `decode_audio` returns them. They determine mean, deviation and window of a new
            model.
        channel: Number of a channel of each clip, from 0, to take instead of the mean of all.
    """
    labels = label_names(clips.features)
    classes = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": task_of(clips.features).problem_type,
    }
    if args.model_name_or_path:
        model, feature_extractor = load_model(args, classes)
    else:
        feature_extractor = fit_feature_extractor(args, clips, channel)
        config = make_config(args, feature_extractor, classes)
        model = AutoModelForAudioClassification.from_config(config, attn_implementation=args.attn_implementation)
    if args.freeze_encoder:
        model.base_model.requires_grad_(False)
    return model, feature_extractor


def make_config(args: ModelArguments, feature_extractor: ASMFeatureExtractor, classes: dict) -> PreTrainedConfig:
    """Return the config of a new model, with the window of the feature extractor."""
    window = {name: getattr(feature_extractor, name) for name in ("max_length", "num_mel_bins")}
    try:
        config = AutoConfig.for_model(args.model_type, **{**args.config_fields, **window}, **classes)
    except StrictDataclassError as error:
        raise ValueError(f"--config_overrides: {error}") from error
    except ValueError as error:
        if "Unrecognized model identifier" not in str(error):
            raise
        raise ValueError(
            f"transformers has no architecture --model_type {args.model_type!r}. Use {ASMConfig.model_type}, "
            "audio-spectrogram-transformer, or another that takes spectrograms."
        ) from error
    known = {*vars(type(config)()), *config.attribute_map}  # a config silently keeps unknown fields
    if not set(window) <= known:
        raise ValueError(
            f"--model_type {args.model_type!r} does not take spectrograms with a fixed window. Fine-tune it instead."
        )
    if unknown := sorted(set(args.config_fields) - known):
        raise ValueError(f"--config_overrides: {type(config).__name__} has no field {unknown[0]!r}.")
    return config


def fit_feature_extractor(args: ModelArguments, clips: Dataset, channel: int | None = None) -> ASMFeatureExtractor:
    """Return a feature extractor with the mean, the deviation and the window of the clips."""
    frames = {"num_mel_bins": args.config_fields.get("num_mel_bins", 128)}
    probe = ASMFeatureExtractor(**frames)
    window, shift = probe.frame_samples
    samples = round(choose_seconds(args, clips) * probe.sampling_rate)
    patch = args.config_fields.get("patch_size", 16)
    frames["max_length"] = max(num_frames(samples, window, shift), patch if isinstance(patch, int) else patch[1])
    mean, std = measure_features(clips, probe, channel)
    return ASMFeatureExtractor(**frames, mean=mean, std=std, padding_mode=args.padding)


def choose_seconds(args: ModelArguments, clips: Dataset) -> float:
    """Return the requested window, or the one that covers 95 % of the clips, in seconds."""
    return args.seconds or min(float(np.quantile(clips["seconds"], 0.95)), LONGEST_WINDOW)


def load_model(args: ModelArguments, classes: dict) -> tuple[PreTrainedModel, object]:
    """Load a checkpoint and its feature extractor, with a new classifier if the labels differ."""
    options = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    config = AutoConfig.from_pretrained(args.model_name_or_path, **options)
    if classes["problem_type"] == REGRESSION == problem_type_of(config) and config.num_labels == 1:
        classes = classes | {"id2label": config.id2label, "label2id": config.label2id}  # a number by any name
    same = config.id2label == classes["id2label"]
    model, info = AutoModelForAudioClassification.from_pretrained(
        args.model_name_or_path,
        **classes,
        **options,
        attn_implementation=args.attn_implementation,
        dtype=torch.float32,  # weights in half precision hardly learn; bf16 is left to autocast
        ignore_mismatched_sizes=not same,
        output_loading_info=True,
    )
    if (name := model.main_input_name) != "input_values":
        raise ValueError(
            f"{args.model_name_or_path!r} takes {name!r}, expected a model that takes 'input_values': ASM, AST, "
            "wav2vec2 and others."
        )
    wrong = [name for name, *_ in info["mismatched_keys"] if not name.startswith("classifier.")]
    if wrong:
        raise ValueError(f"The weights of {args.model_name_or_path!r} do not fit its config.json: {', '.join(wrong)}.")
    if not same:
        for module in model.classifier.modules():
            if isinstance(module, (nn.Linear, nn.LayerNorm)):
                module.reset_parameters()
    return model, AutoFeatureExtractor.from_pretrained(args.model_name_or_path, **options)


def gather_model(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model or, if its weights are sharded over processes (FSDP2), a complete copy on the CPU.

    Every process must call this. Only the first gets the weights.
    """
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    whole = type(model)(model.config)
    if weights:
        whole.load_state_dict(weights)
    return whole


def make_frontend(args: ModelArguments, feature_extractor, clips: Dataset) -> Frontend:
    """Return how to call a feature extractor for a model with the window that was requested, or that the clips need.

    If a window was requested, but the checkpoint has one of its own, a warning says so.
    """
    frontend = Frontend(feature_extractor, choose_seconds(args, clips))
    if args.model_name_or_path and args.seconds:
        frontend.check_seconds(args.seconds, args.start)
    return frontend
