import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F


@pytest.fixture
def yamnet(repository):
    sys.path.append(str(repository / "research"))
    import yamnet

    return yamnet


def test_patches_of_96_frames_every_48(yamnet):
    """Of .96 s every .48 s, the last one filled with silence: a second has one patch and the start of another."""
    network = yamnet.YAMNet().eval()
    for samples, patches in ((1600, 1), (15600, 1), (15601, 2), (16000, 2), (48000, 6)):
        with torch.no_grad():
            scores, embeddings = network(torch.zeros(1, samples))
        assert scores.shape == (1, patches, 521)
        assert embeddings.shape == (1, patches, 1024)


def test_features_of_a_tone(yamnet):
    """64 bands from 125 to 7500 Hz on the HTK scale: a tone of 1 kHz lies where mel(1000) = 1000 does."""
    features = yamnet.YAMNet().features(torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)[None])
    lowest, highest = (2595 * np.log10(1 + frequency / 700) for frequency in (125, 7500))
    band = (1000 - lowest) / (highest - lowest) * 65 - 1
    assert abs(features[0, 20].argmax() - band) < 1
    assert features.min() == pytest.approx(np.log(0.001))  # where there is silence


def test_the_size_of_the_network(yamnet):
    """3.7 million weights, as published; batch normalisation has no scale there, and one of 1 here."""
    network = yamnet.YAMNet()
    scales = sum(layer[2].weight.numel() for layer in network.layers)
    assert sum(weight.numel() for weight in network.parameters()) - scales == 3_729_481


def test_padding_as_in_tensorflow(yamnet):
    """With a stride of 2 and an even size, one row and one column at the end alone."""
    layer = yamnet.Convolution(1, 1, 3, 2)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = F.conv2d(F.pad(image, (0, 1, 0, 1)), layer[1].weight, stride=2)
    torch.testing.assert_close(layer[1](layer[0](image)), expected)


def test_variables_lie_where_tensorflow_has_them(yamnet):
    rng, network, variables = np.random.default_rng(0), yamnet.YAMNet(), {}

    def add(layer, name, *shape):
        key = f"layer-1/layer/_func/_yamnet/layer_with_weights-{layer}/{name}/.ATTRIBUTES/VARIABLE_VALUE"
        variables[key] = rng.standard_normal(shape).astype(np.float32)
        return variables[key]

    kernels = []
    for number, (_, convolution, norm, _) in enumerate(network.layers):
        height, width = convolution.kernel_size
        depthwise, outputs = convolution.groups > 1, convolution.out_channels
        shape = (height, width, outputs, 1) if depthwise else (height, width, convolution.in_channels, outputs)
        kernels.append(add(2 * number, "depthwise_kernel" if depthwise else "kernel", *shape))
        for name in ("beta", "moving_mean", "moving_variance"):
            add(2 * number + 1, name, norm.num_features)
    classifier = add(54, "kernel", 1024, 521)
    add(54, "bias", 521)
    yamnet.load_variables(network, variables)
    assert network.layers[0][1].weight[5, 0, 1, 2] == kernels[0][1, 2, 0, 5]
    assert network.layers[1][1].weight[7, 0, 1, 2] == kernels[1][1, 2, 7, 0]
    assert network.layers[2][1].weight[9, 3, 0, 0] == kernels[2][0, 0, 3, 9]
    assert network.classifier.weight[4, 6] == classifier[6, 4]
