"""What a classifier costs beside an AST of the usual size: parameters, multiply-adds and time, in turns."""

import statistics
import warnings
from functools import partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from .timing import time_in_turns


BUDGET = 4.0  # seconds for all rounds, so that a training of seconds is not one of minutes


@torch.inference_mode()
def count_multiply_adds(model, inputs: dict) -> int:
    """Count the multiply-adds of a forward pass, including attention.

    PyTorch's counter does not support its fused attention on CPUs, so attention is computed eagerly while it counts.
    """
    attention, training = model.config._attn_implementation, model.training
    if attention is not None:
        model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        model.eval()(**inputs)
    if attention is not None:
        model.set_attn_implementation(attention)
    model.train(training)
    return counter.get_total_flops() // 2


def measure_cost(model, feature_extractor, window_samples: int, rounds: int = 5) -> dict:
    """Time one clip, from samples to scores, for a model and for an AST of the usual size with the same window.

    AST has random weights, which cost as much as trained ones: 12 layers of width 768, patches of 16x16, strides of 10.

    Args:
        model: Any audio classifier.
        feature_extractor: Its feature extractor.
        window_samples: Length of the clip, in samples.
        rounds: Number of rounds of [`time_in_turns`]; fewer if they take long.

    Returns:
        For `model` and `ast`: `parameters`, `gmacs` (billions of multiply-adds of a forward pass) and `milliseconds`,
        the median; and `ratio`, AST's time divided by the model's. All on the CPU, in float32.
    """
    rate = feature_extractor.sampling_rate
    frames = max(1 + (window_samples - round(0.025 * rate)) // round(0.01 * rate), 16)
    ast = ASTForAudioClassification(ASTConfig(max_length=frames, num_labels=model.config.num_labels))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter")  # AST has more bins than its filters can fill
        rival = ASTFeatureExtractor(max_length=frames, sampling_rate=rate)
    pairs = {"model": (model, feature_extractor), "ast": (ast, rival)}
    clip = np.random.default_rng(0).uniform(-0.1, 0.1, window_samples).astype(np.float32)
    device, training = model.device, model.training
    result = {}

    def run(network, extractor):
        network(**extractor(clip, sampling_rate=rate, return_tensors="pt"))

    with torch.inference_mode():
        for name, (network, extractor) in pairs.items():
            network.to("cpu").eval()
            inputs = extractor(clip, sampling_rate=rate, return_tensors="pt")
            gmacs = count_multiply_adds(network, inputs) / 1e9
            result[name] = {"parameters": network.num_parameters(), "gmacs": round(gmacs, 4)}
        times = time_in_turns({name: partial(run, *pair) for name, pair in pairs.items()}, rounds, budget=BUDGET)
    model.to(device).train(training)
    for name, values in times.items():
        result[name]["milliseconds"] = round(1000 * statistics.median(values), 2)
    result["ratio"] = round(result["ast"]["milliseconds"] / result["model"]["milliseconds"], 1)
    return result
