"""What a benchmark measures, and the report that is made of it."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Figure:
    """One thing measured several times, beside another that was measured in turns with it."""

    flow: str      # "import"
    case: str      # "1,000,000 frames"
    unit: str      # "s"
    ours: list[float]
    against: str = ""  # what `theirs` are
    theirs: list[float] = field(default_factory=list)

    def ratio(self) -> float | None:
        below = statistics.median(self.theirs) if self.theirs else 0
        return statistics.median(self.ours) / below if below else None

    def spread(self) -> tuple[float, float] | None:
        """Of the ratios of each turn."""
        turns = [a / b for a, b in zip(self.ours, self.theirs) if b]
        return (min(turns), max(turns)) if turns else None


def machine() -> dict[str, object]:
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1])
    return {"processor": models[0] if models else platform.machine(), "processors": os.cpu_count(),
            "memory_mib": memory // 1024, "kernel": platform.release(),
            "load_at_start": round(os.getloadavg()[0], 2)}


def to_json(about: dict[str, object], figures: list[Figure]) -> str:
    return json.dumps({"schema": "poisonctl/benchmark-v1", "machine": about,
                       "figures": [dataclasses.asdict(figure) for figure in figures]}, indent=1) + "\n"


def from_json(text: str) -> list[Figure]:
    return [Figure(**figure) for figure in json.loads(text)["figures"]]


def to_markdown(about: dict[str, object], figures: list[Figure]) -> str:
    lines = ["# Benchmarks", "",
             f"{about['processor']}, {about['processors']} processors, {about['memory_mib']} MiB, Linux "
             f"{about['kernel']}; load at the start {about['load_at_start']}.", "",
             "Median, and smallest to largest. The ratio is that of the medians, and in brackets the "
             "smallest and largest of the turns: what was measured in turns was disturbed alike."]
    flow = ""
    for figure in figures:
        if figure.flow != flow:
            flow = figure.flow
            lines += ["", f"## {flow}", "", "| | ours | beside it | | ratio |", "|---|---|---|---|---|"]
        ratio, spread = figure.ratio(), figure.spread()
        shown = "" if ratio is None else f"{ratio:.2f} ({spread[0]:.2f} to {spread[1]:.2f})"
        lines.append(f"| {figure.case} | {_shown(figure.ours, figure.unit)} | {figure.against} | "
                     f"{_shown(figure.theirs, figure.unit)} | {shown} |")
    return "\n".join(lines) + "\n"


def _shown(values: list[float], unit: str) -> str:
    if not values:
        return ""
    middle = statistics.median(values)
    text = f"{middle:.4g} {unit}"
    return text if len(values) == 1 else f"{text} ({min(values):.4g} to {max(values):.4g})"
