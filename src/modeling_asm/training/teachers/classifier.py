"""Any audio classifier of transformers as a teacher: its logits, and the mean of its last hidden states."""

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from ...general import resolve_checkpoint
from ...loading import check_checkpoint


class Classifier:
    """A trained audio classifier.

    Args:
        checkpoint: Its folder, or its name on the Hub.
        revision: Branch, tag or commit.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
    """

    def __init__(self, checkpoint: str, revision: str = "main"):
        checkpoint = resolve_checkpoint(checkpoint)
        check_checkpoint(checkpoint)
        self.feature_extractor = AutoFeatureExtractor.from_pretrained(checkpoint, revision=revision)
        model = AutoModelForAudioClassification.from_pretrained(checkpoint, revision=revision, dtype=torch.float32)
        self.model = model.eval()
        self.sampling_rate = self.feature_extractor.sampling_rate

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of logits and of channels of the hidden states, measured on an eighth of a second of silence."""
        return tuple(output.shape[1] for output in self(np.zeros((1, self.sampling_rate // 8), np.float32)))

    @torch.inference_mode()
    def __call__(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map float32 `(batch_size, num_samples)` in [-1, 1] to `(batch_size, num_labels)` and `(batch_size, width)`.

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
        return outputs.logits.numpy(), hidden_states.flatten(1, -2).mean(1).numpy()
