"""Google's speech embedding (Lin et al. 2020, https://arxiv.org/abs/2002.01322), as two ONNX files.

One computes mel bands, none more than 80 dB below the highest of all that it gets; the other embeds .775 s of them. The
latter has no padding along time, so it can run over a long sound once instead of over each window, which gives the same
numbers.
"""

import numpy as np


SAMPLING_RATE = 16000  # hertz
FRAME_SECONDS, WINDOW_FRAMES, HOP_FRAMES = 0.01, 76, 8  # of the mel bands
NUM_MEL_BINS, EMBEDDING_SIZE = 32, 96
SAMPLE_SCALE = 2**15  # it expects the range of 16-bit integers


class SpeechEmbedding:
    """Embeds sound along time.

    Args:
        melspectrogram: Path of the file that computes mel bands.
        embedding: Path of the file that embeds them.
        stride: Every how many of the embeddings, which lie 80 ms apart, are given.

    Raises:
        ValueError: If a file does not have the expected inputs and outputs.
    """

    def __init__(self, melspectrogram: str, embedding: str, stride: int = 1):
        self.bands, self.embed = start_session(melspectrogram), start_session(embedding, along_time=True)
        self.stride = stride

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        """Map float32 `(batch_size, num_samples)` in [-1, 1] at 16 kHz to `(batch_size, steps, 96)`."""
        name = self.bands.get_inputs()[0].name
        rows = (row[None] * SAMPLE_SCALE for row in waveforms)  # one by one: a loud one would raise the others' floor
        bands = np.concatenate([self.bands.run(None, {name: row})[0] for row in rows])
        if bands.shape[-1] != NUM_MEL_BINS:
            raise ValueError(
                f"The mel bands have the shape {bands.shape}, expected (..., {NUM_MEL_BINS}). "
                "Give the two files of the speech embedding, that of the mel bands first."
            )
        bands = bands.reshape(len(waveforms), 1, -1, NUM_MEL_BINS) / 10 + 2
        output = self.embed.run(None, {self.embed.get_inputs()[0].name: bands})[0]  # (batch_size, 96, steps, 1)
        return output[:, :, :: self.stride, 0].transpose(0, 2, 1)


def start_session(path: str, along_time: bool = False):
    """Start ONNX Runtime on one thread; optionally, let a network of one window accept any number of frames."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "The speech embedding needs onnx and onnxruntime: `pip install 'modeling_asm[onnx]'`."
        ) from error
    from google.protobuf.message import DecodeError  # of onnx

    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise ValueError(f"{path!r} is not an ONNX file. Download it again.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if along_time:
        # The network is between two Reshapes, which fix the number of frames.
        reshapes = [node for node in model.graph.node if node.op_type == "Reshape"]
        if len(reshapes) != 2:
            raise ValueError(f"{path!r} has {len(reshapes)} Reshapes, expected the 2 of speech_embedding's network.")
        tensor = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            [node for node in model.graph.node if node.op_type != "Reshape"],
            model.graph.name,
            [tensor(reshapes[0].output[0], onnx.TensorProto.FLOAT, ["batch", 1, "frames", NUM_MEL_BINS])],
            [tensor(reshapes[1].input[0], onnx.TensorProto.FLOAT, ["batch", EMBEDDING_SIZE, "steps", 1])],
            initializer=list(model.graph.initializer),
        )
        model = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
