"""The model to train: a new one that fits the clips, or a checkpoint with a classifier for their labels."""

import math
from dataclasses import dataclass, field
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
from transformers.hf_argparser import HfArg
from transformers.utils import logging

from ..configuration_asm import ASM_SIZES, ASMConfig
from ..fbank import num_frames
from ..feature_extraction_asm import PADDING_MODES, ASMFeatureExtractor
from ..general import find_encoder, is_encoder, resolve_checkpoint
from ..loading import check_checkpoint, without_report
from ..modeling_asm import ASMForAudioClassification
from ..targets import REGRESSION, problem_type_of
from .data.clips import measure_features
from .frontend import Frontend
from .tasks import label_names, task_of


logger = logging.get_logger(__name__)


LONGEST_WINDOW = 10.24  # seconds; longer windows must be requested
GENERAL, SCRATCH = "general", "scratch"  # names of starts that are no checkpoint's
AUTO, TUNINGS = "auto", ("head", "last", "all")
# Of a new model, where they are not given.
NEW_MODEL = {"model_type": ASMConfig.model_type, "config_overrides": "{}", "size": "tiny", "hidden_act": "gelu"}
NEW_MODEL |= {"drop_path_rate": 0.1, "padding": "repeat"}


def of_new_model(name: str, description: str, **metadata):
    """Return a field of a new model, which is `None` where it is not given; its help says the default."""
    return field(default=None, metadata={"help": f"{description} (default: {NEW_MODEL[name]}).", **metadata})


@dataclass
class ModelArguments:
    """Architecture and size of a new model, or the checkpoint to start from."""

    model_type: str | None = of_new_model("model_type", "Architecture of a new model, as in config.json")
    config_overrides: str | None = of_new_model(
        "config_overrides", "Fields of the config of a new model: '{hidden_size: 96, patch_size: [16, 16]}'"
    )
    size: str | None = of_new_model("size", "Named size of a new ASM", choices=list(ASM_SIZES))
    hidden_act: str | None = of_new_model("hidden_act", "Activation: gelu, mish, silu, swish or acon_c")
    drop_path_rate: float | None = of_new_model(
        "drop_path_rate", "Stochastic depth: probability of skipping a branch of the last layer"
    )
    seconds: float | None = field(
        default=None,
        metadata={
            "help": "Window of the model, in seconds (default: covers 95%% of the training clips, and "
            f"at most {LONGEST_WINDOW} s; for the general encoder at least its own; other checkpoints keep theirs)."
        },
    )
    padding: str | None = of_new_model(
        "padding", "Padding of short clips, for a new model: see ASMFeatureExtractor", choices=list(PADDING_MODES)
    )
    model_name_or_path: str | None = HfArg(
        default=None,
        aliases=["--from"],
        help=f"Checkpoint to start from: ASM, AST, wav2vec2 or another audio classifier; '{GENERAL}', this package's "
        f"encoder of any sound; or '{SCRATCH}', random weights (default: {GENERAL}, and {SCRATCH} if a new model is "
        "described).",
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
        default=AUTO,
        metadata={
            "help": "What learns: 'head', a linear classifier of a checkpoint's embeddings, fitted in seconds; 'last', "
            "with the last layers; or 'all' weights (default: from the general encoder by the number of clips, "
            "otherwise all).",
            "choices": [AUTO, *TUNINGS],
        },
    )

    def __post_init__(self):
        given = self.described()
        for name in {GENERAL, SCRATCH} & {self.model_name_or_path}:
            if Path(name).exists():
                raise ValueError(f"--from {name} may mean your folder. Write ./{name} for it, or rename it.")
        if self.model_name_or_path not in (None, SCRATCH) and given:
            raise ValueError(
                f"{', '.join(given)} would have no effect: --model_name_or_path determines the model and its padding."
            )
        try:
            overrides = yaml.safe_load(self.new("config_overrides"))
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
        if self.model_revision != "main" and self.model_name_or_path in (None, GENERAL, SCRATCH):
            raise ValueError(
                f"--model_revision {self.model_revision} would have no effect without a checkpoint of the Hub: "
                "--model_name_or_path."
            )
        if self.checkpoint is None and (self.tune in ("head", "last") or self.freeze_encoder):
            option = "--freeze_encoder" if self.freeze_encoder else f"--tune {self.tune}"
            raise ValueError(f"{option} needs a trained encoder, not the random weights of a new model.")
        if self.freeze_encoder and self.tune in ("head", "last"):
            raise ValueError(f"--freeze_encoder contradicts --tune {self.tune}. Leave one of them out.")
        own = [option for option, name in given.items() if name in ("size", "hidden_act", "drop_path_rate")]
        if twice := [option for option, name in given.items() if name in overrides]:
            raise ValueError(f"{twice[0]} would have no effect: --config_overrides sets it, too. Leave one out.")
        if self.new("model_type") != ASMConfig.model_type and own:
            raise ValueError(
                f"{', '.join(own)} would have no effect on {self.model_type!r}. Set its fields with --config_overrides."
            )

    def described(self) -> dict[str, str]:
        """Return the names of the fields that describe a new model and were given, by their options."""
        return {f"--{name}": name for name in NEW_MODEL if getattr(self, name) is not None}

    def new(self, name: str):
        """Return what a field says of a new model."""
        value = getattr(self, name)
        return NEW_MODEL[name] if value is None else value

    @property
    def config_fields(self) -> dict:
        """Fields of the config of a new model: those of `size`, for an ASM, and those that were chosen."""
        chosen = yaml.safe_load(self.new("config_overrides"))
        if self.new("model_type") != ASMConfig.model_type:
            return chosen
        options = {name: self.new(name) for name in ("hidden_act", "drop_path_rate")}
        return {**ASM_SIZES[self.new("size")].config, **options, **chosen}

    @property
    def is_general(self) -> bool:
        """Whether training starts from a general encoder of this package."""
        if self.model_name_or_path is None:
            return not self.described()
        return self.model_name_or_path == GENERAL or is_encoder(self.model_name_or_path)

    @property
    def checkpoint(self) -> str | None:
        """Path or name of the checkpoint to start from; `None` for a new model."""
        if self.is_general and self.model_name_or_path in (None, GENERAL):
            return find_encoder()
        name = None if self.model_name_or_path == SCRATCH else self.model_name_or_path
        return name and resolve_checkpoint(name)

    @property
    def start(self) -> str | None:
        """Name of the checkpoint, without a path of this machine."""
        return self.checkpoint and checkpoint_name(self.checkpoint)


def checkpoint_name(name: str) -> str:
    """Return the name of a checkpoint: that of its folder, without the path, or that on the Hub."""
    return Path(name).resolve().name if Path(name).exists() else name


def sampling_rate_of(args: ModelArguments) -> int:
    """Return the rate that the model's clips must have: a checkpoint's own, or that of a new ASM."""
    if args.checkpoint is None:
        return ASMFeatureExtractor().sampling_rate
    check_checkpoint(args.checkpoint)
    options = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    return AutoFeatureExtractor.from_pretrained(args.checkpoint, **options).sampling_rate


def make_model(
    args: ModelArguments, clips: Dataset, channel: int | None = None, unchanged: bool = False
) -> tuple[PreTrainedModel, object]:
    """Return a model for the labels of the training clips, and its feature extractor.

    Args:
        args: The model to build or load.
        clips: The training clips, as `decode_audio` returns them. They determine mean, deviation and window of a new
            model, and the window of the general encoder.
        channel: Number of a channel of each clip, from 0, to take instead of the mean of all.
        unchanged: Whether a checkpoint keeps its window, unless `args.seconds` sets another.
    """
    labels = label_names(clips.features)
    classes = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": task_of(clips.features).problem_type,
    }
    if args.checkpoint:
        model, feature_extractor = load_model(args, classes)
        if fits_any_window(args, model) and not (unchanged and args.seconds is None):
            feature_extractor = fit_window(model, feature_extractor, window_of(args, feature_extractor, clips))
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
        config = AutoConfig.for_model(args.new("model_type"), **{**args.config_fields, **window}, **classes)
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
    stride = math.prod(args.config_fields.get("stem_time_strides", ()))
    wanted = max(num_frames(samples, window, shift), patch if isinstance(patch, int) else patch[1])
    frames["max_length"] = -(-wanted // stride) * stride  # the stem needs a multiple
    mean, std = measure_features(clips, probe, channel)
    return ASMFeatureExtractor(**frames, mean=mean, std=std, padding_mode=args.new("padding"))


def choose_seconds(args: ModelArguments, clips: Dataset) -> float:
    """Return the requested window, or the one that covers 95 % of the clips, in seconds."""
    return args.seconds or min(float(np.quantile(clips["seconds"], 0.95)), LONGEST_WINDOW)


def load_model(args: ModelArguments, classes: dict) -> tuple[PreTrainedModel, object]:
    """Load a checkpoint and its feature extractor, with a new classifier if the labels differ."""
    options = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    config = AutoConfig.from_pretrained(args.checkpoint, **options)
    if classes["problem_type"] == REGRESSION == problem_type_of(config) and config.num_labels == 1:
        classes = classes | {"id2label": config.id2label, "label2id": config.label2id}  # a number by any name
    same = config.id2label == classes["id2label"]
    with without_report():
        model, info = AutoModelForAudioClassification.from_pretrained(
            args.checkpoint,
            **classes,
            **options,
            attn_implementation=args.attn_implementation,
            dtype=torch.float32,  # weights in half precision hardly learn; bf16 is left to autocast
            ignore_mismatched_sizes=not same,
            output_loading_info=True,
        )
    if (name := model.main_input_name) != "input_values":
        raise ValueError(
            f"{args.checkpoint!r} takes {name!r}, expected a model that takes 'input_values': ASM, AST, "
            "wav2vec2 and others."
        )
    wrong = [name for name, *_ in info["mismatched_keys"] if not name.startswith("classifier.")]
    if wrong:
        raise ValueError(f"The weights of {args.checkpoint!r} do not fit its config.json: {', '.join(wrong)}.")
    for what, names in (("no weights for", info["missing_keys"]), ("weights without a use", info["unexpected_keys"])):
        if names := sorted(name for name in names if same or not name.startswith("classifier.")):
            logger.warning(f"{args.checkpoint!r} has {what}: {', '.join(names)}.")
    if not same:
        for module in model.classifier.modules():
            if isinstance(module, (nn.Linear, nn.LayerNorm)):
                module.reset_parameters()
    return model, AutoFeatureExtractor.from_pretrained(args.checkpoint, **options)


def fits_any_window(args: ModelArguments, model: PreTrainedModel) -> bool:
    """Whether the window of a checkpoint becomes that of the clips: its weights must fit any, and it must be wanted."""
    fits = isinstance(model, ASMForAudioClassification) and model.config.token_mixing == "conv"
    return fits and (args.is_general or args.seconds is not None)


def window_of(args: ModelArguments, feature_extractor: ASMFeatureExtractor, clips: Dataset) -> float:
    """Return the window for a checkpoint that fits any, in seconds: the wanted one, or at least its own.

    Its features are best with a window as it learned from, which short clips fill by repetition.
    """
    own = feature_extractor.nb_max_samples / feature_extractor.sampling_rate
    return max(choose_seconds(args, clips), own if args.seconds is None else 0.0)


def fit_window(
    model: ASMForAudioClassification, feature_extractor: ASMFeatureExtractor, seconds: float
) -> ASMFeatureExtractor:
    """Let a model hear a window of at least so many seconds; return its feature extractor."""
    frames = num_frames(round(seconds * feature_extractor.sampling_rate), *feature_extractor.frame_samples)
    patch, stride = model.config.patch_shape[1], model.config.time_stride
    max_length = patch + stride * max(-(-(frames - patch) // stride), 0)
    model.resize_spectrogram(max_length=max_length)
    return ASMFeatureExtractor(**{**feature_extractor.to_dict(), "max_length": max_length})


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


def make_frontend(args: ModelArguments, model: PreTrainedModel, feature_extractor, clips: Dataset) -> Frontend:
    """Return how to call a feature extractor for a model with the window that was requested, or that the clips need.

    If a window was requested, but the checkpoint has one of its own, a warning says so.
    """
    frontend = Frontend(feature_extractor, choose_seconds(args, clips))
    if args.checkpoint and args.seconds and not fits_any_window(args, model):
        frontend.check_seconds(args.seconds, args.start)
    return frontend
