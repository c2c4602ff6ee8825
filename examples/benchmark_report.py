"""What people see of the benchmark's results: the README's tables, and the plot of how the cost grows."""

QUOTED = ((1, 1), (32, 1), (1, 10), (8, 10))  # clips and seconds of the cases in the README


def plot(rows: list[dict], path: str):
    """Draw how the cost of a forward pass grows: a PNG of one panel for each size."""
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
    """Format what the README quotes as Markdown tables: ratios of times with their range."""
    tables = []

    def table(headings: list[str], rows: list[list]):
        if rows:
            lines = [headings, ["---"] * len(headings), *rows]
            tables.append("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines))

    def rows_of(stage: str) -> list[dict]:
        return stages.get(stage, {}).get("rows", [])

    def ratio(row: dict, *pairs: str, places: int = 1) -> list[str]:
        cells = []
        for pair in pairs:
            name, beside = pair.split(" / ")
            if pair in row["ratio"]:
                values = (f"{value:.{places}f}" for value in (row["ratio"][pair], *row["ratio_range"][pair]))
                cells.append("{} ({} to {})".format(*values))
            else:
                cells.append("1" if name == beside else "")
        return cells

    table(
        ["extraction", "ASM, ms", "AST / ASM", "Kaldi / ASM", "limit / ASM", "limit in bands / ASM", "rounds"],
        [
            [
                name_case(row),
                f"{row['milliseconds']['asm']:.2f}",
                *ratio(row, "ast / asm", "kaldi / asm"),
                *ratio(row, "limit / asm", "limit_in_bands / asm", places=2),
                row["rounds"],
            ]
            for row in rows_of("extract")
            if (row["clips"], row["seconds"]) in QUOTED
        ],
    )
    headings = ["AST / ASM", "limit / ASM", "float32 / bfloat16", "limit / ASM in bfloat16"]
    pairs = ("ast / asm", "limit / asm", "asm / asm_bfloat16", "limit_bfloat16 / asm_bfloat16")
    table(
        ["forward", "tokens", "ASM, ms", *headings, "rounds"],
        [
            [
                name_case(row),
                row["tokens"],
                f"{row['milliseconds']['asm']:.0f}",
                *ratio(row, *pairs, places=2),
                row["rounds"],
            ]
            for row in rows_of("forward")
            if row["tokens"] in (64, 512) or (row["clips"], row["seconds"]) in QUOTED
        ],
    )
    pairs = ("ast / asm", "ast / asm_stride_10")
    table(
        ["files to labels", "ASM, ms", "AST / ASM", "AST / ASM with AST's strides", "rounds"],
        [
            [name_case(row), f"{row['milliseconds']['asm']:.0f}", *ratio(row, *pairs), row["rounds"]]
            for row in rows_of("pipeline")
            if row["stage"] == "pipeline" and (row["clips"], row["seconds"]) in QUOTED
        ],
    )
    names = {"asm_stride_10": "ASM, AST's strides", "asm_stride_10_checkpointing": "and gradient checkpointing"}
    names |= {"asm": "ASM", "ast": "AST"}
    table(
        ["training step", "model", "clips a second", "time / that of ASM with AST's strides", "rounds", "memory, MB"],
        [
            [
                name_case(row),
                label,
                f"{row['clips_per_second'][name]:.2f}",
                *ratio(row, f"{name} / asm_stride_10", places=2),
                row["rounds"],
                f"{row['megabytes'][name]:.0f}" if name in row["megabytes"] else "",
            ]
            for row in rows_of("train")
            for name, label in names.items()
        ],
    )
    names = {"torch": "PyTorch", "torch_compiled": "PyTorch, compiled", "torch_bfloat16": "PyTorch, bfloat16"}
    names |= {"torchao_int8": "torchao, int8", "torchao_int8_compiled": "torchao, int8, compiled"}
    names |= {"onnx": "ONNX Runtime", "onnx_int8": "ONNX Runtime, int8"}
    sizes = {"onnx": "float32", "onnx_int8": "int8"}
    table(
        ["exported", "runs in", "ms", "PyTorch's time / this", "rounds", "MB"],
        [
            [
                f"{row['model']}, {row['clips']} at once",
                label,
                f"{row['milliseconds'][name]:.1f}",
                *ratio(row, f"torch / {name}", places=2),
                row["rounds"],
                row["file_megabytes"][sizes[name]] if name in sizes else "",
            ]
            for row in rows_of("export")
            for name, label in names.items()
            if name in row["milliseconds"]
        ],
    )
    return "\n\n".join(tables)


def name_case(row: dict) -> str:
    return f"{row['clips']} of {row['seconds']} s"
