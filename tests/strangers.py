"""Processes of strangers, who have a checkpoint but not this package; not a test."""

import json
import os

from processes import run_python


# The files that travel with a checkpoint.
TRAVELLING = (
    "configuration_asm",
    "cpu_blocks",
    "fbank",
    "feature_extraction_asm",
    "mixing",
    "modeling_asm",
    "resizing",
)
TRAVELLING += ("scoring", "stem", "targets", "waveforms", "windowing")


def run_without_package(code: str, folder, tmp_path) -> dict:
    """Run code in a process that cannot import modeling_asm, and return the JSON that it prints."""
    blocked = tmp_path / "blocked" / "modeling_asm"
    blocked.mkdir(parents=True, exist_ok=True)
    (blocked / "__init__.py").write_text("raise ImportError('modeling_asm is not installed here')\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(blocked.parent),
        "HF_HOME": str(tmp_path / "hf_home"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
    }
    code = "import json, sys\nfolder = sys.argv[1]\n" + code
    process = run_python("-c", code, folder, environment=environment, folder=tmp_path)
    return json.loads(process.stdout.strip().splitlines()[-1])


EVERY_AUTO_CLASS = """
import numpy as np, torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline
try:
    import modeling_asm
    sys.exit("the package is there")
except ImportError:
    pass
waveform = np.sin(np.arange(4000) / 20).astype(np.float32)
trust = {"trust_remote_code": True}
config = AutoConfig.from_pretrained(folder, **trust)
feature_extractor = AutoFeatureExtractor.from_pretrained(folder, **trust)
inputs = feature_extractor(waveform, sampling_rate=16000, return_tensors="pt")
with torch.no_grad():
    cut = feature_extractor(waveform, sampling_rate=16000, return_tensors="pt", truncation=True)
    base = AutoModel.from_pretrained(folder, **trust).eval()(**cut).pooler_output
    head = AutoModelForAudioClassification.from_pretrained(folder, **trust).eval()(**inputs).logits
scores = pipeline("audio-classification", model=folder, **trust)(waveform, top_k=3)
"""
PRINT = """
print(json.dumps({"config": type(config).__name__, "num_patches": config.num_patches, "base": base.tolist(),
                  "head": head.tolist(), "scores": scores, "feature_extractor": type(feature_extractor).__name__}))
"""
