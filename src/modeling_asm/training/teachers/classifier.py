"""Any audio classifier of transformers as a teacher: its logits, and its last hidden states, along time if possible."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import ASTConfig, AutoFeatureExtractor, AutoModelForAudioClassification, PreTrainedConfig

from ...configuration_asm import ASMConfig
from ...general import resolve_checkpoint
from ...loading import check_checkpoint


FRAME_SECONDS = 0.01  # of the spectrogram of AST


@dataclass(frozen=True)
class Timeline:
    """Where hidden states lie along time.

    Args:
        hop: Seconds between them.
        first: Centre of the first, in seconds.
        grid: Rows and columns of the patches of a spectrogram, one row after the other; `None` for a sequence.
    """

    hop: float
    first: float
    grid: tuple[int, int] | None = None

    @classmethod
    def of(cls, config: PreTrainedConfig, feature_extractor) -> "Timeline | None":
        """Return that of ASM, AST, wav2vec2 and its kind, with their feature extractors; `None` for others."""
        frame = getattr(feature_extractor, "seconds_per_frame", FRAME_SECONDS)
        if isinstance(config, ASMConfig):
            shape, stride, grid = config.patch_shape, config.time_stride, config.patch_grid
        elif isinstance(config, ASTConfig):
            shape, stride = (config.patch_size,) * 2, config.time_stride
            rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
            grid = rows, (config.max_length - config.patch_size) // stride + 1
        elif ratio := getattr(config, "inputs_to_logits_ratio", None):
            hop = ratio / feature_extractor.sampling_rate
            return cls(hop, hop / 2)
        else:
            return None
        return cls(stride * frame, shape[1] * frame / 2, grid)

    def __call__(self, hidden_states: Tensor, seconds: float) -> Tensor:
        """Return vectors along time, `(batch_size, steps, width)`, of a sound that lasts so long.

        Raises:
            ValueError: If the sound is longer than the window of the model.
        """
        if self.grid is None:
            return hidden_states
        rows, columns = self.grid
        if seconds > (longest := 2 * self.first + columns * self.hop):
            raise ValueError(
                f"A sound of {seconds:.2f} s is longer than the window of the teacher, about {longest:.2f} s: it would "
                "not hear the end. Lower `max_length` of --model, or choose another teacher."
            )
        steps = max(int((seconds - self.first) / self.hop) + 1, 1)  # the rest is padding
        return hidden_states[:, -rows * columns :].unflatten(1, self.grid).mean(1)[:, :steps]


class Classifier:
    """A trained audio classifier.

    Args:
        checkpoint: Its folder, or its name on the Hub.
        revision: Branch, tag or commit.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it does not say at which rate it hears.
    """

    def __init__(self, checkpoint: str, revision: str = "main"):
        checkpoint = resolve_checkpoint(checkpoint)
        check_checkpoint(checkpoint)
        self.feature_extractor = AutoFeatureExtractor.from_pretrained(checkpoint, revision=revision)
        model = AutoModelForAudioClassification.from_pretrained(checkpoint, revision=revision, dtype=torch.float32)
        self.model = model.eval()
        self.sampling_rate = getattr(self.feature_extractor, "sampling_rate", None)
        if not isinstance(self.sampling_rate, int):
            raise ValueError(
                f"The feature extractor of {checkpoint!r} does not say at which sampling rate the model hears: set "
                "`sampling_rate` in its preprocessor_config.json."
            )
        self.timeline = Timeline.of(model.config, self.feature_extractor)

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of logits and of channels of the hidden states, measured on an eighth of a second of silence."""
        return tuple(output.shape[-1] for output in self(np.zeros((1, self.sampling_rate // 8), np.float32)))

    @torch.inference_mode()
    def __call__(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logits and hidden states of waveforms.

        Args:
            waveforms: Float32 of shape `(batch_size, num_samples)`, in [-1, 1].

        Returns:
            Logits of shape `(batch_size, num_labels)`, and hidden states of shape `(batch_size, steps, width)` or, for
            models without a known timeline, their mean: `(batch_size, width)`.

        Raises:
            ValueError: If the model cuts such long clips into windows, for which it gives no hidden states.
        """
        inputs = self.feature_extractor(list(waveforms), sampling_rate=self.sampling_rate, return_tensors="pt")
        inputs = {
            name: value for name, value in inputs.items() if name in (self.model.main_input_name, "attention_mask")
        }
        if (
            "attention_mask" in inputs
            and self.model.main_input_name == "input_values"
            and inputs["input_values"].ndim == 3
        ):
            del inputs["attention_mask"]  # of frames: clips of one length need none
        outputs = self.model(**inputs, output_hidden_states=True)
        hidden_states = outputs.hidden_states[-1]
        if self.timeline is None:
            return outputs.logits.numpy(), hidden_states.flatten(1, -2).mean(1).numpy()
        seconds = waveforms.shape[1] / self.sampling_rate
        return outputs.logits.numpy(), self.timeline(hidden_states, seconds).numpy()
