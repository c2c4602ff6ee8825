"""Time ASM beside transformers' AST, stage by stage from file to label, beside the limit of the machine.

    python research/benchmark.py --data_dir recordings --output research/results/benchmark.json

| stage | ASM | beside it | limit |
| --- | --- | --- | --- |
| decode | `load_audio`, FLAC at 16 kHz | | soundfile alone |
| resample | `load_audio`, FLAC at 44.1 kHz | | soundfile and soxr alone |
| extract | `ASMFeatureExtractor` | AST's, kaldi-native-fbank (80 bins) | its FFTs, mel product and logarithms alone |
| forward | default and AST's strides | AST | its matrix products alone |
| pipeline | from files to labels | AST's stock pipeline | |
| train | a step; with gradient checkpointing | AST with the same strides | |
| share | extraction and augmentation of a batch | a step at size tiny | |
| export | PyTorch eager and compiled | ONNX Runtime, float32 and int8; torchao's int8 where it is installed | |
| growth | forward over length, batch, depth, width | AST | |

All ways of a stage take turns within rounds, so that they meet the same noise of the machine; a ratio is the median of
the rounds' ratios. A turn starts with a pause and an uncounted call, because the idle threads of another library spin
for a while; where each way's call takes more than a second, none is left uncounted. The clips are cut from the
recordings of `--data_dir`, one after the other; without it they are white noise. The stages forward, train, export and
growth need features alone, which are random. The models have random weights and the sizes of the papers, unless their
name says otherwise. Memory is what one call needs at most beyond what is there before it, where that can be told.
`--device cuda` times models and extraction on a GPU; what reads files, and the stage export, works on the CPU.
"""

import argparse
import copy
import itertools
import json
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
import soxr
import torch
from benchmark_report import format_results, plot
from compare_exports import quantise_by_torchao
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, AudioClassificationPipeline
from transformers.utils import is_speech_available, logging

from modeling_asm import (
    ASM_SIZES,
    ASMAudioClassificationPipeline,
    ASMConfig,
    ASMFeatureExtractor,
    ASMForAudioClassification,
)
from modeling_asm.audio import load_audio
from modeling_asm.cpu_blocks import split_into_blocks
from modeling_asm.export import export
from modeling_asm.fbank import fbank, frames_per_block, mel_bands, mel_filters
from modeling_asm.loading import check_checkpoint
from modeling_asm.measuring.cost import count_multiply_adds
from modeling_asm.measuring.environment import describe_machine
from modeling_asm.measuring.timing import measure_memory, time_in_turns
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.report.tables import write_json


RATE = 16000
BATCHES, LENGTHS = (1, 8, 32), (1, 5, 10)  # clips, seconds of each
WINDOWS = ((1, 10.26), (8, 10.26), (32, 1.3))  # clips and seconds: 1024 frames, as the paper, and 128
GROWTH = {  # of a forward pass of one clip of 5 s, 12 layers, width 768, one value changed
    "seconds": (1, 2, 5, 10, 20),
    "clips": (1, 2, 4, 8),
    "layers": (3, 6, 12, 24),
    "width": (192, 384, 768, 1024),
}
SUFFIXES = (".flac", ".mp3", ".ogg", ".wav")
KALDI_BINS = 80
SEED = 0  # of models and random features
BUDGET = 80  # seconds for the rounds of one case, of which there are two at least


class Bench:
    """What the stages share: clips, device, and how ways are timed.

    Args:
        data_dir: Folder of recordings, or `None` for noise.
        device: Where models and extraction run.
        rounds: How many rounds, where the budget allows it.
        quick: Whether to time only the smallest cases, to see that everything runs.
    """

    def __init__(self, data_dir: str | None, device: str, rounds: int, quick: bool):
        self.device, self.rounds, self.quick = torch.device(device), rounds, quick
        needed = RATE * max(LENGTHS) * max(BATCHES)
        if data_dir is None:
            self.sound = np.random.default_rng(0).uniform(-0.5, 0.5, needed).astype(np.float32)
        else:
            if not Path(data_dir).is_dir():
                raise ValueError(f"There is no data folder {data_dir!r}.")
            files = sorted(file for file in Path(data_dir).rglob("*") if file.suffix.lower() in SUFFIXES)
            if not files:
                raise ValueError(f"{data_dir!r} has no files that end on one of {', '.join(SUFFIXES)}.")
            sounds, total = [], 0
            for file in itertools.cycle(files):
                if total >= needed:
                    break
                sounds.append(load_audio(file, RATE))
                total += len(sounds[-1])
            self.sound = np.concatenate(sounds)

    def clips(self, number: int, seconds: int) -> list[np.ndarray]:
        """Return clips of the recordings, float32 of shape `(16000 * seconds,)`."""
        size = RATE * seconds
        return [self.sound[index * size : (index + 1) * size] for index in range(number)]

    def cases(self) -> Iterator[tuple[int, int]]:
        """Return the numbers of clips and their seconds."""
        return iter([(2, 1)] if self.quick else itertools.product(BATCHES, LENGTHS))

    def race(self, ways: dict[str, Callable], pairs: list[tuple[str, str]] | None = None, **case) -> dict:
        """Time ways in turns.

        Args:
            ways: What to call, by name.
            pairs: Names whose times are divided, round by round; by default each way's time by that of the first.
            **case: What the row says of the case.

        Returns:
            The case, with median and quartiles of each way's milliseconds, the ratios' median and range, and memory.
        """
        first = next(iter(ways))
        pairs = pairs or [(name, first) for name in ways if name != first]
        times = time_in_turns(ways, self.rounds, budget=BUDGET, device=self.device)
        megabytes = {name: measure_memory(work, self.device) for name, work in ways.items()}
        row = {**case, "rounds": len(times[first]), "milliseconds": {}, "quartiles": {}, "ratio": {}, "ratio_range": {}}
        # None: the system does not tell; 0: it works elsewhere, or in memory that it keeps.
        row["megabytes"] = {name: value for name, value in megabytes.items() if value}
        for name, values in times.items():
            low, middle, high = (float(value) for value in 1000 * np.quantile(values, [0.25, 0.5, 0.75]))
            row["milliseconds"][name], row["quartiles"][name] = round(middle, 3), [round(low, 3), round(high, 3)]
        for name, other in pairs:
            ratios = [value / beside for value, beside in zip(times[name], times[other])]
            row["ratio"][f"{name} / {other}"] = round(median(ratios), 3)
            row["ratio_range"][f"{name} / {other}"] = [round(min(ratios), 3), round(max(ratios), 3)]
        print(json.dumps({key: row[key] for key in (*case, "milliseconds", "ratio")}), flush=True)
        return row


def frames_of(seconds: float) -> int:
    return round(100 * seconds) - 2  # of 25 ms, 10 ms apart, that lie within the clip


def make_asm(seconds: float, stride: int = 16, **options) -> ASMForAudioClassification:
    """Make an ASM of the paper's size whose window is as long as the clip."""
    config = ASMConfig(max_length=frames_of(seconds), frequency_stride=stride, time_stride=stride, **options)
    return ASMForAudioClassification(config).eval()


def make_ast(seconds: float, **options) -> ASTForAudioClassification:
    """Make an AST of the paper's size, strides of 10, with PyTorch's fused attention."""
    return ASTForAudioClassification(ASTConfig(max_length=frames_of(seconds), **options)).eval()


def make_extractors(seconds: float) -> tuple[ASMFeatureExtractor, ASTFeatureExtractor]:
    frames = frames_of(seconds)
    return ASMFeatureExtractor(max_length=frames), ASTFeatureExtractor(max_length=frames)


def decode(bench: Bench) -> list[dict]:
    """Time reading files: of the model's rate, and of another one."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for clips, seconds in bench.cases():
            sounds = bench.clips(clips, seconds)
            for stage, rate in (("decode", RATE), ("resample", 44100)):
                files = [Path(folder) / f"{index}.flac" for index in range(clips)]
                for file, sound in zip(files, sounds):
                    soundfile.write(file, soxr.resample(sound, RATE, rate), rate)

                def alone(files=files, rate=rate):
                    for file in files:
                        samples, _ = soundfile.read(file, dtype="float32")
                        if rate != RATE:
                            soxr.resample(samples, rate, RATE)

                ways = {"asm": lambda files=files: [load_audio(file, RATE) for file in files], "limit": alone}
                rows.append(bench.race(ways, stage=stage, clips=clips, seconds=seconds))
    return rows


def extract(bench: Bench) -> list[dict]:
    """Time feature extraction, and compare the features."""
    rows = []
    for clips, seconds in bench.cases():
        sounds, (own, ast) = bench.clips(clips, seconds), make_extractors(seconds)
        device = str(bench.device)
        ways = {
            "asm": partial(own, sounds, sampling_rate=RATE, return_tensors="pt", device=device),
            "ast": partial(ast, sounds, sampling_rate=RATE, return_tensors="np"),
            "kaldi": partial(kaldi, [sound.tolist() for sound in sounds]),  # it converts arrays slowly
            "limit": extraction_limit(clips * frames_of(seconds), bench.device),
            "limit_in_bands": extraction_limit(clips * frames_of(seconds), bench.device, in_bands=True),
        }
        features = ways["asm"]()["input_values"].cpu().numpy()
        row = bench.race(ways, stage="extract", clips=clips, seconds=seconds)
        filters, ours = ways["kaldi"]()[0], fbank(torch.from_numpy(sounds[0])[None], num_mel_bins=KALDI_BINS)[0]
        theirs = np.stack([filters.get_frame(index) for index in range(filters.num_frames_ready)])
        row["largest_difference"] = {
            "ast": float(np.abs(features - ways["ast"]()["input_values"]).max()),
            "kaldi": float(np.abs(ours.numpy() - theirs).max() / (2 * own.std)),  # in the same units
        }
        rows.append(row)
    return rows


def kaldi(sounds: list[list[float]]) -> list:
    """Compute log-mel energies of 80 bins by kaldi-native-fbank, which refuses 128 at this rate, in one thread."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hanning"
    options.mel_opts.num_bins = KALDI_BINS
    results = []
    for sound in sounds:
        results.append(kaldi_native_fbank.OnlineFbank(options))
        results[-1].accept_waveform(RATE, sound)
    return results


def extraction_limit(frames: int, device: torch.device, in_bands: bool = False) -> Callable:
    """Return a function that does the FFTs, the mel product and the logarithms of so many frames, and nothing else.

    The product is with all filters at once, or in bands, as the extractor does it: a third of the multiplications.
    """
    size = frames_per_block(frames, device)
    blocks = [min(size, frames - start) for start in range(0, frames, size)]
    tapered = torch.randn(max(blocks), 512, device=device)
    spectrum = torch.fft.rfft(tapered)
    power, energies = spectrum.abs().square(), torch.empty(max(blocks), 128, device=device)
    bands = mel_bands(RATE, 128, 512, device) if in_bands else [(slice(None), slice(None), mel_filters(RATE, 128, 512))]
    bands = [(mels, bins, filters.to(device)) for mels, bins, filters in bands]

    def work():
        for block in blocks:
            torch.fft.rfft(tapered[:block], out=spectrum[:block])
            for mels, bins, filters in bands:
                torch.mm(power[:block, bins], filters, out=energies[:block, mels])
            torch.log(energies[:block])

    return work


def products(model: ASMForAudioClassification, clips: int) -> Callable:
    """Return a function that does the matrix products of the layers, each on dense operands, and nothing else.

    The linear maps and the shapes of their inputs are recorded in a forward pass. On a CPU they are applied to as many
    clips at once as a layer, whose hidden units stay in the processor's cache.
    """
    recorded, layers = [], model.audio_spectrogram_mixer.layers
    linears = [module for layer in layers for module in layer.modules() if isinstance(module, torch.nn.Linear)]
    record = lambda module, inputs: recorded.append((module, inputs[0].shape[1:]))  # noqa: E731
    handles = [linear.register_forward_pre_hook(record) for linear in linears]
    model(inputs_of(model, 1))
    for handle in handles:
        handle.remove()
    weight = model.classifier.weight
    state = weight.new_empty(clips, model.config.num_patches, model.config.hidden_size)
    at_once = len(split_into_blocks(layers[0], state)[0]) if weight.device.type == "cpu" else clips
    operands = {shape: torch.randn(clips, *shape).to(weight).split(at_once) for _, shape in recorded}

    def work():
        for linear, shape in recorded:
            for block in operands[shape]:
                torch.nn.functional.linear(block, linear.weight)

    return work


@torch.inference_mode()
def forward(bench: Bench) -> list[dict]:
    """Time forward passes in float32 and bfloat16; and, on a GPU, with CUDA graphs."""
    rows = []
    for clips, seconds in bench.cases():
        models = {"asm": make_asm(seconds), "asm_stride_10": make_asm(seconds, 10), "ast": make_ast(seconds)}
        rows.append(race_models(bench, models, clips, seconds))
    for clips, seconds in () if bench.quick else WINDOWS:
        rows.append(race_models(bench, {"asm": make_asm(seconds)}, clips, seconds))
    return rows


def race_models(bench: Bench, models: dict, clips: int, seconds: float) -> dict:
    """Time the forward passes of models on the same clips, in float32 and in bfloat16, in turns."""
    ways, pairs = {}, [("asm", "asm_bfloat16")]
    for suffix, precision in (("", torch.float32), ("_bfloat16", torch.bfloat16)):
        casted = {name: copy.deepcopy(model).to(bench.device, precision) for name, model in models.items()}
        ways |= {f"{name}{suffix}": partial(model, inputs_of(model, clips)) for name, model in casted.items()}
        if bench.device.type == "cuda":
            graphs = torch.compile(casted["asm"], mode="reduce-overhead")
            ways[f"asm_graphs{suffix}"] = partial(graphs, inputs_of(casted["asm"], clips))
        ways[f"limit{suffix}"] = products(casted["asm"], clips)
        others = [name for name in ways if name.endswith("_bfloat16") == bool(suffix) and name != f"asm{suffix}"]
        pairs += [(name, f"asm{suffix}") for name in others]
    tokens = models["asm"].config.num_patches
    return bench.race(ways, pairs, stage="forward", clips=clips, seconds=seconds, tokens=tokens)


def inputs_of(model, clips: int) -> torch.Tensor:
    weight = next(model.parameters())
    return torch.randn(clips, model.config.max_length, model.config.num_mel_bins).to(weight)


def pipelines(bench: Bench) -> list[dict]:
    """Time whole pipelines from FLAC files to labels; soundfile decodes for AST's, whose own decoder is a program."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for clips, seconds in bench.cases():
            files = [str(Path(folder) / f"{index}.flac") for index in range(clips)]
            for file, sound in zip(files, bench.clips(clips, seconds)):
                soundfile.write(file, sound, RATE)
            own, extractor = make_extractors(seconds)
            options = {"device": bench.device}
            asm, equal = (
                ASMAudioClassificationPipeline(model=make_asm(seconds, stride), feature_extractor=own, **options)
                for stride in (16, 10)
            )
            ast = AudioClassificationPipeline(model=make_ast(seconds), feature_extractor=extractor, **options)

            def stock(ast=ast, files=files):
                ast([soundfile.read(file, dtype="float32")[0] for file in files], batch_size=len(files))

            ways = {
                "asm": partial(asm, files, batch_size=clips),
                "asm_stride_10": partial(equal, files, batch_size=clips),
                "ast": stock,
            }
            pairs = [("ast", "asm"), ("ast", "asm_stride_10")]
            rows.append(bench.race(ways, pairs, stage="pipeline", clips=clips, seconds=seconds))
    return rows


def train(bench: Bench) -> list[dict]:
    """Time training steps: forward, backward and AdamW."""
    rows = []
    for clips, seconds in [(2, 1)] if bench.quick else [(8, 1), (2, 10)]:
        names = ("asm_stride_10", "asm_stride_10_checkpointing", "asm", "ast")
        ways = {name: make_step(name, clips, seconds, bench.device) for name in names}
        row = bench.race(ways, stage="train", clips=clips, seconds=seconds)
        row["clips_per_second"] = {name: round(1000 * clips / value, 2) for name, value in row["milliseconds"].items()}
        models = {"asm_stride_10": make_asm(seconds, 10), "asm": make_asm(seconds), "ast": make_ast(seconds)}
        row["forward_gmacs_per_clip"] = {name: count_gmacs(model) for name, model in models.items()}
        rows.append(row)
    return rows


def count_gmacs(model) -> float:
    """Count the billions of multiply-adds of a forward pass of one clip."""
    return round(count_multiply_adds(model, {"input_values": inputs_of(model, 1)}) / 1e9, 3)


def make_step(name: str, clips: int, seconds: int, device: torch.device) -> Callable:
    """Return a function that does a training step of a model of the papers' size in float32, and has done one."""
    model = make_ast(seconds) if name == "ast" else make_asm(seconds, 10 if "stride_10" in name else 16)
    model.to(device)
    if "checkpointing" in name:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the name that older versions know, too
            model.gradient_checkpointing_enable()
    return step_of(model, clips)


def step_of(model, clips: int) -> Callable:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-5, fused=True)  # as Trainer's
    inputs = inputs_of(model, clips)
    labels = torch.zeros(clips, dtype=torch.long, device=inputs.device)

    def work():
        model(inputs, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    work()  # makes the optimizer's state, which later steps find
    return work


def share(bench: Bench) -> list[dict]:
    """Time extraction and augmentation of a batch of 32 clips of 1 s beside a training step of size tiny."""
    config = ASMConfig(**ASM_SIZES["tiny"].config, num_labels=12)
    extractor = ASMFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
    augmentation, rng = Augmentation(), np.random.default_rng(0)
    waveforms = [torch.from_numpy(clip) for clip in bench.clips(32, 1)]

    def prepare():
        heard = augmentation.augment_waveforms(waveforms, RATE, rng)
        inputs = extractor(heard, sampling_rate=RATE, return_tensors="pt", truncation=True)
        augmentation.augment_features(inputs["input_values"], extractor.units_per_decibel, rng)

    ways = {
        "step": step_of(ASMForAudioClassification(config).to(bench.device), 32),
        "extraction": partial(extractor, waveforms, sampling_rate=RATE, return_tensors="pt"),
        "extraction_and_augmentation": prepare,
    }
    return [bench.race(ways, stage="share", size="tiny", clips=32, seconds=1)]


def exports(bench: Bench, checkpoint: str | None) -> list[dict]:
    """Time a model in PyTorch and in ONNX Runtime, on features and as many threads, and weigh the files."""
    import onnxruntime

    seconds = 1 if bench.quick else 10
    models = {"base": (make_asm(seconds, num_labels=12), make_extractors(seconds)[0])}
    if checkpoint:
        loaded = ASMForAudioClassification.from_pretrained(checkpoint).eval()
        models[Path(checkpoint).name] = (loaded, ASMFeatureExtractor.from_pretrained(checkpoint))
    rows = []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would slow the others
    for name, (model, extractor) in models.items():
        with tempfile.TemporaryDirectory() as folder:
            files = {kind: Path(folder) / f"{kind}.onnx" for kind in ("float32", "int8")}
            for kind, file in files.items():
                export(model, extractor, file, "features", int8=kind == "int8")
            sessions = {kind: onnxruntime.InferenceSession(file, options) for kind, file in files.items()}
            sizes = {kind: round(file.stat().st_size / 1e6, 2) for kind, file in files.items()}
        half = copy.deepcopy(model).bfloat16()
        for clips in (1,) if bench.quick else (1, 8):
            inputs = inputs_of(model, clips)
            feed = {"input_values": inputs.numpy()}
            ways = {
                "onnx": partial(sessions["float32"].run, None, feed),
                "onnx_int8": partial(sessions["int8"].run, None, feed),
                "torch": without_gradients(model, inputs),
                "torch_bfloat16": without_gradients(half, inputs.bfloat16()),
            }
            pairs = [("onnx", "onnx_int8")]
            if not bench.quick:
                torch._dynamo.reset()  # each case is compiled for its own shapes
                ways["torch_compiled"] = without_gradients(torch.compile(model, dynamic=False), inputs)
                if find_spec("torchao"):
                    quantised = quantise_by_torchao(model)
                    ways["torchao_int8"] = without_gradients(quantised, inputs)
                    compiled = torch.compile(copy.deepcopy(quantised), dynamic=False)
                    ways["torchao_int8_compiled"] = without_gradients(compiled, inputs)
                    pairs.append(("torchao_int8_compiled", "onnx_int8"))
            pairs += [("torch", way) for way in ways if way != "torch"]
            case = {"model": name, "clips": clips, "seconds": model.config.max_length / 100}
            row = bench.race(ways, pairs, stage="export", **case)
            rows.append({**row, "file_megabytes": sizes})
    return rows


def without_gradients(model, inputs: torch.Tensor) -> Callable:
    def work():
        with torch.no_grad():
            model(inputs)

    return work


@torch.inference_mode()
def growth(bench: Bench) -> list[dict]:
    """Time forward passes over one size at a time."""
    rows = []
    for size, values in GROWTH.items():
        for value in values[:1] if bench.quick else values:
            seconds, clips = (value if size == name else usual for name, usual in (("seconds", 5), ("clips", 1)))
            options = {"num_hidden_layers": value} if size == "layers" else {}
            mixer, attention = dict(options), dict(options)
            if size == "width":
                mixer |= {"hidden_size": value, "tokens_mlp_dim": value // 2, "channels_mlp_dim": 4 * value}
                heads = value // 64
                attention |= {"hidden_size": value, "num_attention_heads": heads, "intermediate_size": 4 * value}
            models = {
                "asm": make_asm(seconds, **mixer),
                "asm_stride_10": make_asm(seconds, 10, **mixer),
                "ast": make_ast(seconds, **attention),
            }
            ways = {name: partial(model.to(bench.device), inputs_of(model, clips)) for name, model in models.items()}
            rows.append(bench.race(ways, stage="growth", over=size, value=value))
    return rows


STAGES = {"decode": decode, "extract": extract, "forward": forward, "pipeline": pipelines, "train": train}
STAGES |= {"share": share, "export": exports, "growth": growth}
ON_FEATURES = {"forward", "train", "export", "growth"}  # random ones, that no recording is needed for


def parse_arguments() -> argparse.Namespace:
    """Read the command line, and end where it asks for what cannot be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", help="Folder of recordings; by default white noise.")
    parser.add_argument("--data_name", help="What the results call the recordings; by default as their folder.")
    parser.add_argument("--checkpoint", help="A checkpoint whose exports are timed, too.")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="What to time.")
    parser.add_argument("--rounds", type=int, default=7, help="Rounds of each case, where 80 s are enough for them.")
    parser.add_argument("--device", default="cpu", help="Where models and extraction run: cpu or cuda.")
    parser.add_argument("--quick", action="store_true", help="Time the smallest cases only, of three rounds.")
    parser.add_argument("--output", help="JSON file to write; stages that are not timed keep what it has of them.")
    parser.add_argument("--plot", help="PNG of how the cost grows.")
    args = parser.parse_args()
    for file in filter(None, (args.output, args.plot)):
        if not Path(file).absolute().parent.is_dir():
            parser.error(f"There is no folder for {file!r}: make it first.")
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}, expected one or more.")
    try:
        torch.zeros(1, device=args.device)
    except (AssertionError, RuntimeError) as error:
        parser.error(f"The device {args.device!r} cannot be used: {error}")
    return args


def main():
    args, results = parse_arguments(), {}
    if args.output and Path(args.output).exists():
        results = json.loads(Path(args.output).read_text())
    if args.plot and "growth" not in [*args.stages, *results]:
        sys.exit("--plot draws what the stage growth timed: add it to --stages.")
    try:
        if args.checkpoint:
            check_checkpoint(args.checkpoint)
        bench = Bench(args.data_dir, args.device, 3 if args.quick else args.rounds, args.quick)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    warnings.filterwarnings("ignore", message="At least one mel filter")  # Kaldi's too; AST says so at each start
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(SEED)
    data = f" --data_dir {Path(args.data_dir).resolve().name}" if args.data_dir else ""
    data += f" --data_name {shlex.quote(args.data_name)}" if args.data_name else ""
    name = args.data_name or (Path(args.data_dir).resolve().name if args.data_dir else "white noise")
    clips = f"{name}, cut into clips one after the other"
    for stage in args.stages:
        options = (args.checkpoint,) if stage == "export" else ()
        more = f" --checkpoint {args.checkpoint}" if stage == "export" and args.checkpoint else ""
        command = f"python research/benchmark.py --stages {stage} --rounds {bench.rounds} --device {args.device}"
        command += " --quick" if args.quick else ""
        results[stage] = {
            "command": command + data + more,
            "data": "random features" if stage in ON_FEATURES else clips,
            "seed": SEED,
            "torchaudio": is_speech_available(),
            "rows": STAGES[stage](bench, *options),
            "environment": describe_machine(),
        }
        if args.output:
            write_json(results, args.output)
    print(format_results(results))
    if args.plot:
        plot(results["growth"]["rows"], args.plot)


if __name__ == "__main__":
    main()
