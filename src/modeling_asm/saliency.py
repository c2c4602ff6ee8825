"""Saliency maps: which parts of a spectrogram speak for a label. They need Captum, of the extra `explain`."""

import math

from torch import Tensor

from .fbank import EPSILON
from .feature_extraction_asm import ASMFeatureExtractor
from .modeling_asm import ASMForAudioClassification


METHODS = ("integrated_gradients", "occlusion")


def explain(
    model: ASMForAudioClassification,
    feature_extractor: ASMFeatureExtractor,
    input_values: Tensor,
    label: int,
    method: str = "integrated_gradients",
) -> Tensor:
    """Attribute the logit of a label to the values of a spectrogram.

    Args:
        model: The model.
        feature_extractor: Its feature extractor, which defines silence.
        input_values: Float tensor of shape `(1, max_length, num_mel_bins)`.
        label: Index of the label.
        method: `"integrated_gradients"` (https://arxiv.org/abs/1703.01365), on the path from silence, so that all
            values sum to the difference of the logits; or `"occlusion"` (https://arxiv.org/abs/1311.2901): how much
            the logit falls when a rectangle of an eighth of each side, moved by half its size, is silent.

    Returns:
        Float32 tensor of shape `(max_length, num_mel_bins)` on the CPU: positive where a value speaks for the label.

    Raises:
        ValueError: If the method is unknown or Captum is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(map(repr, METHODS))}, got {method!r}.")
    try:
        from captum.attr import IntegratedGradients, Occlusion
    except ImportError as error:
        raise ValueError("A saliency map needs Captum: `pip install captum`.") from error
    silence = math.log(EPSILON)
    if feature_extractor.do_normalize:
        silence = (silence - feature_extractor.mean) / (2 * feature_extractor.std)

    def logits(values: Tensor) -> Tensor:
        return model(input_values=values).logits

    if method == "integrated_gradients":
        attribute = IntegratedGradients(logits).attribute
        options = {"n_steps": 100, "internal_batch_size": 25, "method": "riemann_trapezoid"}
    else:
        attribute = Occlusion(logits).attribute
        rectangle = tuple(max(side // 8, 1) for side in input_values.shape[1:])
        options = {"sliding_window_shapes": rectangle, "strides": tuple(max(side // 2, 1) for side in rectangle)}
        options["perturbations_per_eval"] = 16
    input_values = input_values.to(model.device)
    return attribute(input_values, baselines=silence, target=label, **options)[0].detach().float().cpu()
