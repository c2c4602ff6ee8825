"""The model to train: a new ASM that fits the clips, or a checkpoint with a classifier for them."""

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

from .. import ASM_SIZES, ASMConfig, ASMFeatureExtractor
from ..commands import check_checkpoint
from ..fbank import frame_sizes, num_frames
from ..feature_extraction_asm import PADDING_MODES
from .clips import measure_features
from .labels import label_names, problem_type_of


LONGEST_WINDOW = 10.24  # seconds that a window has at most, if nobody asks for more


@dataclass
class ModelArguments:
    """A new model's architecture and size, or the checkpoint to start from."""

    model_type: str = field(
        default=ASMConfig.model_type, metadata={"help": "Architecture of a new model, as in a config.json."}
    )
    config_overrides: str = field(
        default="{}", metadata={"help": "Fields of a new model's config: '{hidden_size: 96, patch_size: [16, 16]}'."}
    )
    size: str = field(default="tiny", metadata={"help": "Named size of the model.", "choices": list(ASM_SIZES)})
    hidden_act: str = field(default="gelu", metadata={"help": "Activation: gelu, mish, silu, swish or acon_c."})
    drop_path_rate: float = field(default=0.1, metadata={"help": "Stochastic depth of the last layer."})
    seconds: float | None = field(
        default=None, metadata={"help": "Window of the model; by default what 95 in 100 training clips need."}
    )
    padding: str = field(
        default="repeat",
        metadata={
            "help": "What follows a short clip: see ASMFeatureExtractor.",
            "choices": list(PADDING_MODES),
        },
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to fine-tune, ASM, AST, wav2vec2 or another, instead of `size`."}
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the checkpoint."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that the checkpoint brings along."})
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "How a Transformer computes attention (eager, sdpa, ...); by default transformers' choice."},
    )
    freeze_encoder: bool = field(default=False, metadata={"help": "Train the classifier only: a linear probe."})

    def __post_init__(self):
        new = ("model_type", "config_overrides", "size", "hidden_act", "drop_path_rate", "padding")
        defaults = {item.name: item.default for item in fields(self) if item.default is not MISSING}
        given = {f"--{name}": name for name in new if getattr(self, name) != defaults[name]}
        if self.model_name_or_path and given:
            raise ValueError(
                f"{', '.join(given)} would have no effect: --model_name_or_path fixes the model and its padding."
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
            raise ValueError(f"--config_overrides sets {min(reserved)!r}, which the clips and --seconds decide.")
        own = [option for option, name in given.items() if name in ("size", "hidden_act", "drop_path_rate")]
        if self.model_type != ASMConfig.model_type and own:
            raise ValueError(
                f"{', '.join(own)} would have no effect on {self.model_type!r}: set its fields by --config_overrides."
            )

    @property
    def config_fields(self) -> dict:
        """The fields of a new model's config that were chosen; those of `size` are ASM's."""
        chosen = yaml.safe_load(self.config_overrides)
        if self.model_type != ASMConfig.model_type:
            return chosen
        options = {"hidden_act": self.hidden_act, "drop_path_rate": self.drop_path_rate}
        return {**ASM_SIZES[self.size].config, **options, **chosen}

    @property
    def start(self) -> str | None:
        """The checkpoint's name, without a path of this machine."""
        return self.model_name_or_path and checkpoint_name(self.model_name_or_path)


def checkpoint_name(name: str) -> str:
    """Return what to call a checkpoint: the name of its folder, without those that hold it, or its name on the Hub."""
    return Path(name).resolve().name if Path(name).exists() else name


def sampling_rate_of(args: ModelArguments) -> int:
    """Return the rate that the model's clips must have: a checkpoint's own, or that of a new ASM."""
    if args.model_name_or_path is None:
        return ASMFeatureExtractor().sampling_rate
    check_checkpoint(args.model_name_or_path)
    options = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    return AutoFeatureExtractor.from_pretrained(args.model_name_or_path, **options).sampling_rate


def make_model(args: ModelArguments, clips: Dataset) -> tuple[PreTrainedModel, object]:
    """Return a model for the labels of the training clips, and its feature extractor.

    Args:
        args: What to make.
        clips: The training clips, as `decode_audio` leaves them: they set mean, deviation and window of a new model.
    """
    labels, problem_type = label_names(clips.features), problem_type_of(clips.features)
    classes = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": problem_type,
    }
    if args.model_name_or_path:
        model, feature_extractor = load_model(args, classes)
    else:
        feature_extractor = fit_feature_extractor(args, clips)
        config = make_config(args, feature_extractor, classes)
        model = AutoModelForAudioClassification.from_config(config, attn_implementation=args.attn_implementation)
    if args.freeze_encoder:
        model.base_model.requires_grad_(False)
    return model, feature_extractor


def make_config(args: ModelArguments, feature_extractor: ASMFeatureExtractor, classes: dict) -> PreTrainedConfig:
    """Return the config of a new model, whose window is the feature extractor's."""
    window = {name: getattr(feature_extractor, name) for name in ("max_length", "num_mel_bins")}
    try:
        config = AutoConfig.for_model(args.model_type, **{**args.config_fields, **window}, **classes)
    except StrictDataclassError as error:
        raise ValueError(f"--config_overrides: {error}") from error
    except ValueError as error:
        if "Unrecognized model identifier" not in str(error):
            raise
        raise ValueError(
            f"--model_type {args.model_type!r} is no architecture that transformers knows; take "
            f"{ASMConfig.model_type}, audio-spectrogram-transformer, or another that takes spectrograms."
        ) from error
    known = {*vars(type(config)()), *config.attribute_map}  # a config keeps what it does not know, without a word
    if not set(window) <= known:
        raise ValueError(
            f"--model_type {args.model_type!r} takes no spectrograms of a fixed window; fine-tune it instead."
        )
    if unknown := sorted(set(args.config_fields) - known):
        raise ValueError(f"--config_overrides: {type(config).__name__} has no field {unknown[0]!r}.")
    return config


def fit_feature_extractor(args: ModelArguments, clips: Dataset) -> ASMFeatureExtractor:
    """Make a feature extractor that knows the clips' mean and deviation, and has the window that they need."""
    frames = {"num_mel_bins": args.config_fields.get("num_mel_bins", 128)}
    probe = ASMFeatureExtractor(**frames)
    window, shift = frame_sizes(probe.sampling_rate, probe.frame_length, probe.frame_shift)
    samples = round(choose_seconds(args, clips) * probe.sampling_rate)
    patch = args.config_fields.get("patch_size", 16)
    frames["max_length"] = max(num_frames(samples, window, shift), patch if isinstance(patch, int) else patch[1])
    mean, std = measure_features(clips, probe)
    return ASMFeatureExtractor(**frames, mean=mean, std=std, padding_mode=args.padding)


def choose_seconds(args: ModelArguments, clips: Dataset) -> float:
    """Return the window that was asked for, or what 95 in 100 clips need, in seconds."""
    return args.seconds or min(float(np.quantile(clips["seconds"], 0.95)), LONGEST_WINDOW)


def load_model(args: ModelArguments, classes: dict) -> tuple[PreTrainedModel, object]:
    """Load a checkpoint with its feature extractor as it is, and with a new classifier if its labels are others."""
    options = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    config = AutoConfig.from_pretrained(args.model_name_or_path, **options)
    same = config.id2label == classes["id2label"]
    model, info = AutoModelForAudioClassification.from_pretrained(
        args.model_name_or_path,
        **classes,
        **options,
        attn_implementation=args.attn_implementation,
        dtype=torch.float32,  # bf16 is the matter of autocast: weights in half precision hardly learn
        ignore_mismatched_sizes=not same,
        output_loading_info=True,
    )
    if (name := model.main_input_name) != "input_values":
        raise ValueError(
            f"{args.model_name_or_path!r} takes {name!r}; models that take 'input_values' are trained here: ASM, AST, "
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
    """Return the model, or, where its weights are spread over processes (FSDP2), a whole copy on the processor.

    Every process must call this; only the first one gets the weights.
    """
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    whole = type(model)(model.config)
    if weights:
        whole.load_state_dict(weights)
    return whole


def window_samples(feature_extractor, seconds: float) -> int:
    """Return how many samples a model hears: those of its spectrogram, or of `seconds` where it takes waveforms."""
    rate = feature_extractor.sampling_rate
    if hasattr(feature_extractor, "num_mel_bins"):
        window, shift = frame_sizes(
            rate, getattr(feature_extractor, "frame_length", 25.0), getattr(feature_extractor, "frame_shift", 10.0)
        )
        return window + (feature_extractor.max_length - 1) * shift
    return round(seconds * rate)
