"""Which of transformers' common tests may skip, and why; any other skip fails the run."""

import re

import pytest


# Parts of the reasons that the tests give, and why that is right for this model and its extractor.
SKIPS = {
    "requires (multiple )?accelerators?$|requires MPS": "needs hardware that CI lacks",
    "requires (deepspeed|Flash Attention|the kernels library)": "needs packages that CI lacks",
    "does not (support|output) (output_)?attentions|grouped_mm$": "there is no attention, and no experts",
    "RoPE|position embeddings|sparse experts|output_router_logits": "there are no positions and no experts",
    "language modeling head|token ids|test_resize_embeddings|nn.Embedding": "there are no words",
    "not composite|No subconfigs|TP plan|No conversion found|_keep_in_fp32": "the model has none of these",
    "capture_outputs|Cannot capture hidden states": "hidden states are returned by forward itself",
    "differentiable loss": "the gradients of the inputs are those of a checkpointed embedding of words",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(pattern, reason) for pattern in SKIPS):
            report.outcome, report.longrepr = "failed", f"{item.name} skips for a reason that is not listed: {reason}"
    return report
