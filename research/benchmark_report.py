"""The tables of the benchmark's results, and the plot of how the cost grows."""

QUOTED = ((1, 1), (32, 1), (1, 10), (8, 10))  # clips and seconds of the cases in the tables


def plot(rows: list[dict], path: str):
    """Draw how the cost of a forward pass grows: a PNG with one panel per size."""
    from matplotlib.figure import Figure

    sizes = {row["over"]: [other for other in rows if other["over"] == row["over"]] for row in rows}
    figure = Figure(figsize=(11, 3), layout="constrained", dpi=120)
    names = {"asm": "ASM", "asm_stride_10": "ASM, AST's strides", "ast": "AST"}
    for axes, (size, points) in zip(figure.subplots(1, len(sizes), sharey=True), sizes.items()):
        for name, label in names.items():
            times = [row["milliseconds"][name] for row in points]
            axes.plot([row["value"] for row in points], times, marker="o", markersize=4, label=label)
        axes.set(xscale="log", yscale="log", xlabel=size)
        axes.set_xticks([row["value"] for row in points], [row["value"] for row in points], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("forward pass, ms")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path)


def format_results(stages: dict) -> str:
    """Format the tables of all stages in the results as Markdown."""
    tables = (make(stages[stage]["rows"]) for stage, make in TABLES.items() if stage in stages)
    return "\n\n".join(table for table in tables if table)


def format_table(headings: list[str], rows: list[list]) -> str:
    """Format a Markdown table; nothing without rows."""
    if not rows:
        return ""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def format_ratios(row: dict, *pairs: str, places: int = 1) -> list[str]:
    """Return a cell per pair: the median of the rounds' ratios, and their range."""
    cells = []
    for pair in pairs:
        name, beside = pair.split(" / ")
        if pair in row["ratio"]:
            values = (f"{value:.{places}f}" for value in (row["ratio"][pair], *row["ratio_range"][pair]))
            cells.append("{} ({} to {})".format(*values))
        else:
            cells.append("1" if name == beside else "")
    return cells


def name_case(row: dict) -> str:
    return f"{row['clips']} x {row['seconds']} s"


def is_quoted(row: dict) -> bool:
    return (row["clips"], row["seconds"]) in QUOTED


def extraction(rows: list[dict]) -> str:
    headings = ["clips", "ASM, ms", "AST / ASM", "Kaldi / ASM", "limit / ASM", "limit in bands / ASM", "rounds"]
    return format_table(
        headings,
        [
            [
                name_case(row),
                f"{row['milliseconds']['asm']:.2f}",
                *format_ratios(row, "ast / asm", "kaldi / asm"),
                *format_ratios(row, "limit / asm", "limit_in_bands / asm", places=2),
                row["rounds"],
            ]
            for row in filter(is_quoted, rows)
        ],
    )


def forward_pass(rows: list[dict]) -> str:
    headings = ["clips", "tokens", "ASM, ms", "AST / ASM", "limit / ASM", "float32 / bfloat16"]
    headings += ["limit / ASM in bfloat16", "rounds"]
    pairs = ("ast / asm", "limit / asm", "asm / asm_bfloat16", "limit_bfloat16 / asm_bfloat16")
    return format_table(
        headings,
        [
            [
                name_case(row),
                row["tokens"],
                f"{row['milliseconds']['asm']:.0f}",
                *format_ratios(row, *pairs, places=2),
                row["rounds"],
            ]
            for row in rows
            if row["tokens"] in (64, 512) or is_quoted(row)
        ],
    )


def pipelines(rows: list[dict]) -> str:
    return format_table(
        ["files", "ASM, ms", "AST / ASM", "AST / ASM with AST's strides", "rounds"],
        [
            [
                name_case(row),
                f"{row['milliseconds']['asm']:.0f}",
                *format_ratios(row, "ast / asm", "ast / asm_stride_10"),
                row["rounds"],
            ]
            for row in filter(is_quoted, rows)
        ],
    )


def training_steps(rows: list[dict]) -> str:
    names = {"asm_stride_10": "ASM, AST's strides", "asm_stride_10_checkpointing": "with gradient checkpointing"}
    names |= {"asm": "ASM", "ast": "AST"}
    return format_table(
        ["clips", "model", "clips/s", "time / ASM with AST's strides", "rounds", "memory, MB"],
        [
            [
                name_case(row),
                label,
                f"{row['clips_per_second'][name]:.2f}",
                *format_ratios(row, f"{name} / asm_stride_10", places=2),
                row["rounds"],
                f"{row['megabytes'][name]:.0f}" if name in row["megabytes"] else "",
            ]
            for row in rows
            for name, label in names.items()
        ],
    )


def exported(rows: list[dict]) -> str:
    names = {"torch": "PyTorch", "torch_compiled": "PyTorch, compiled", "torch_bfloat16": "PyTorch, bfloat16"}
    names |= {"torchao_int8": "torchao, int8", "torchao_int8_compiled": "torchao, int8, compiled"}
    names |= {"onnx": "ONNX Runtime", "onnx_int8": "ONNX Runtime, int8"}
    sizes = {"onnx": "float32", "onnx_int8": "int8"}
    return format_table(
        ["model, clips", "runtime", "ms", "PyTorch / runtime", "rounds", "file, MB"],
        [
            [
                f"{row['model']}, {row['clips']}",
                label,
                f"{row['milliseconds'][name]:.1f}",
                *format_ratios(row, f"torch / {name}", places=2),
                row["rounds"],
                row["file_megabytes"][sizes[name]] if name in sizes else "",
            ]
            for row in rows
            for name, label in names.items()
            if name in row["milliseconds"]
        ],
    )


TABLES = {
    "extract": extraction,
    "forward": forward_pass,
    "pipeline": pipelines,
    "train": training_steps,
    "export": exported,
}
