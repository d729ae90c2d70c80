"""What is measured: each function is one flow of `run`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Callable

from figures import Figure, from_json
from scratch import (BenchmarkError, Context, in_turns, make_arm64_machine, make_registry, run, scattered,
                     sizes)

QEMU = Path(__file__).resolve().parents[1] / "qemu"


def scan(context: Context) -> list[Figure]:
    """/proc/kpageflags of this machine, beside dd and the kernel's own page-types. Needs root."""
    if not Path("/proc/kpageflags").exists():
        raise BenchmarkError("there is no /proc/kpageflags here")

    def ours(which: str) -> Callable[[int], float]:
        def once(_turn: int) -> float:
            return _google(context, which)[0][1][0]
        return once

    def process(*words: str) -> Callable[[int], float]:
        return lambda _turn: run(words)[0]

    sys.path.insert(0, str(QEMU))
    import kernels  # pylint: disable=import-outside-toplevel
    page_types = kernels.find_program(context.cache, "page-types").program
    found = in_turns(context.turns, dd=process("dd", "if=/proc/kpageflags", "bs=1M", "of=/dev/null"),
                     page_types=process(str(page_types)), one=ours("ScanSpan.*threads:1/"),
                     two=ours("ScanSpan.*threads:2/"), ram=ours("ScanRam.*threads:1/"))
    return [Figure("scan", case, "s", found[name], against, found[other])
            for case, name in (("all frames, 1 thread", "one"), ("all frames, 2 threads", "two"),
                               ("RAM alone, 1 thread", "ram"))
            for against, other in (("dd", "dd"), ("page-types", "page_types"))]


def imports(context: Context) -> list[Figure]:
    """`collect pfn` beside sqlite3 .import of the same rows into a table with an index."""
    count = context.most
    frames = context.folder / "frames"
    with frames.open("w", encoding="ascii") as file:
        file.writelines(f"{frame:#x}\n" for frame in scattered(count))
    made = make_registry(context, count)
    rows, script = context.folder / "rows.csv", context.folder / "script"
    with rows.open("w", encoding="utf-8") as file:
        subprocess.run(["sqlite3", "-csv", made,
                        "SELECT id, import, kind, address, size, granularity, count, observed_ns, "
                        "foreign_host, label, dram, result, state, evidence FROM event"],
                       stdout=file, check=True)
    script.write_text(
        "PRAGMA synchronous = EXTRA;\n"
        "CREATE TABLE event (id INTEGER PRIMARY KEY, import INTEGER, kind TEXT, address INTEGER, "
        "size INTEGER, granularity INTEGER, count INTEGER, observed_ns INTEGER, foreign_host TEXT, "
        "label TEXT, dram TEXT, result TEXT, state TEXT, evidence TEXT);\n"
        "CREATE INDEX by_address ON event (address);\n"
        f".import --csv {rows} event\n", encoding="utf-8")
    memory: dict[str, list[float]] = {"ours": [], "theirs": []}

    def ours(turn: int) -> float:
        seconds, mib = run(context.tool(context.folder / f"import-{turn}.db", "collect", "pfn", frames))
        memory["ours"].append(mib)
        return seconds

    def theirs(turn: int) -> float:
        with script.open(encoding="utf-8") as stdin:
            seconds, mib = run(["sqlite3", context.folder / f"plain-{turn}.db"], stdin)
        memory["theirs"].append(mib)
        return seconds

    found = in_turns(context.turns, ours=ours, theirs=theirs)
    against = "sqlite3 .import"
    sized = [(context.folder / f"{name}-0.db").stat().st_size / 2**20 for name in ("import", "plain")]
    return [Figure("import", f"{count:,} frames", "s", found["ours"], against, found["theirs"]),
            Figure("import", "memory", "MiB", memory["ours"], against, memory["theirs"]),
            Figure("import", "size on disk", "MiB", sized[:1], against, sized[1:])]


VERBS = (["list"], ["--json", "list"], ["show", "pfn:0x100"], ["status"], ["check"], ["plan"],
         ["emit", "e820"], ["emit", "e820", "--form", "badram"],
         ["handover", "make", "-o", "OUTPUT"], ["map"], ["metrics"], ["report", "-o", "OUTPUT"],
         ["audit", "verify"], ["audit", "export", "-o", "OUTPUT"],
         ["audit", "export", "--format", "csv", "-o", "OUTPUT"],
         ["audit", "export", "--format", "ndjson", "-o", "OUTPUT"],
         ["audit", "export", "--format", "cper", "-o", "OUTPUT"],
         ["rebuild", "--check"], ["config", "check"], ["topology", "show"], ["backends"])


def _verb(context: Context, registry: Path, words: list[str]) -> tuple[float, float]:
    output = context.folder / "output"
    output.unlink(missing_ok=True)
    filled = [str(output) if word == "OUTPUT" else word for word in words]
    return run(context.tool(registry, *filled))


def startup(context: Context) -> list[Figure]:
    """Every verb on a registry of ten records, beside `poisonctl --version`; and that beside `true`."""
    registry = make_registry(context, 10)
    floor = [str(context.poisonctl), "--version"]
    figures = []
    for words in VERBS:
        found = in_turns(context.turns, ours=lambda _turn, w=words: 1000 * _verb(context, registry, w)[0],
                         floor=lambda _turn: 1000 * run(floor)[0])
        figures.append(Figure("start-up", " ".join(words), "ms", found["ours"], "--version",
                              found["floor"]))
    found = in_turns(context.turns, ours=lambda _turn: 1000 * run(floor)[0],
                     floor=lambda _turn: 1000 * run(["true"])[0])
    return [*figures, Figure("start-up", "--version", "ms", found["ours"], "true", found["floor"])]


def verbs(context: Context) -> list[Figure]:
    """Every verb on ever larger registries, beside the one of a tenth of the size; and memory, which counts
    from before a program starts, so that `true` needs as much as this one."""
    figures, memory = [], []
    floor = [run(["true"])[1]]
    for words in VERBS:
        before: list[float] = []
        name = " ".join(words)
        for size in sizes(context.most):
            registry = make_registry(context, size)
            turns = [_verb(context, registry, words) for _ in range(context.turns)]
            seconds = [turn[0] for turn in turns]
            against = f"a tenth: {name}" if before else ""
            figures.append(Figure("verbs", f"{name}, {size:,} records", "s", seconds, against, before))
            before = seconds
        memory.append(Figure("memory", f"{name}, {size:,} records", "MiB", [max(t[1] for t in turns)],
                             "true", floor))
    return figures + memory


# The forms of `emit` on the machine that each is for; kho and offline, which act on a running kernel, are not measured.
FORMS = (*(("machine", ["e820", *form]) for form in
           ([], *(["--form", name] for name in ("badram", "cutmem", "bcdedit", "table", "setup-data")))),
         ("machine", ["initrd"]), ("machine-arm64", ["devicetree"]),
         ("machine-arm64", ["devicetree", "--overlay"]), ("machine-arm64", ["reserve-mem"]))


def emits(context: Context) -> list[Figure]:
    """`emit` in every form for 10, 1,000 and 1,000,000 ranges, beside `check` of the same list, which every
    form begins with; and the size of what it makes, beside that for ten."""
    make_arm64_machine(context.folder / "machine-arm64")
    figures, made = [], []
    smallest: dict[str, float] = {}
    for count in (size for size in (10, 1_000, 1_000_000) if size <= context.most):
        registry, output = make_registry(context, count), context.folder / "output"
        for machine, words in FORMS:
            name = f"{' '.join(words)}, {count:,} ranges"

            def ours(_turn: int, machine=machine, words=words, registry=registry) -> float:
                output.unlink(missing_ok=True)
                return run(context.tool(registry, "emit", *words, "-o", output, machine=machine))[0]

            def check(_turn: int, machine=machine, registry=registry) -> float:
                return run(context.tool(registry, "check", machine=machine))[0]

            found = in_turns(context.turns, ours=ours, check=check)
            figures.append(Figure("emit", name, "s", found["ours"], "check", found["check"]))
            size = output.stat().st_size / 1024
            ten = smallest.setdefault(" ".join(words), size)
            made.append(Figure("emitted", name, "KiB", [size], "for ten", [ten]))
    return figures + made


def lists(context: Context) -> list[Figure]:
    """Range sets, checks and bounds, handovers: each size beside the one of a tenth."""
    figures = []
    before: dict[str, tuple[int, list[float]]] = {}
    for name, seconds in _google(context, "Union|Subtract|Coalesce|Check|Handover", context.turns):
        what, _, size = name.removeprefix("BM_").partition("/")
        earlier = before.get(what)
        grown = earlier is not None and int(size) == 10 * earlier[0]
        figures.append(Figure("lists", f"{what}, {int(size):,}", "ms", [1000 * s for s in seconds],
                              "a tenth" if grown else "",
                              [1000 * s for s in earlier[1]] if grown else []))
        before[what] = (int(size), seconds)
    return figures


def guests(context: Context) -> list[Figure]:
    """watch beside rasdaemon, and poison-replay beside a loop of bare writes and a shell loop, in guests."""
    figures = []
    for scenario in ("watch-vs-rasdaemon", "replay-speed"):
        results = context.folder / scenario
        done = subprocess.run(
            [sys.executable, QEMU / "run.py", scenario, "--kernel", "debian12", "--cache", context.cache,
             "--poisonctl", context.poisonctl, "--alloc-sweep", context.helpers / "alloc_sweep",
             "--poison-memory", context.helpers / "poison_memory", "--datagrams",
             context.helpers / "datagrams", "--results", results], check=False)
        if done.returncode != 0:
            raise BenchmarkError(f"the scenario {scenario} did not pass")
        figures += from_json((results / "figures.json").read_text())
    return figures


FLOWS: dict[str, Callable[[Context], list[Figure]]] = {
    "scan": scan, "import": imports, "start-up": startup, "verbs": verbs, "emit": emits,
    "lists": lists, "guests": guests}


def _google(context: Context, which: str, repetitions: int = 1) -> list[tuple[str, list[float]]]:
    """Name and seconds of each repetition of what poisonctl_bench measures."""
    done = subprocess.run([context.bench, f"--benchmark_filter={which}", "--benchmark_format=json",
                           f"--benchmark_repetitions={repetitions}"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
    found: dict[str, list[float]] = {}
    for row in json.loads(done.stdout)["benchmarks"]:
        if "error_message" in row:
            raise BenchmarkError(f"{row['name']}: {row['error_message']}")
        if row["run_type"] == "iteration":
            found.setdefault(row["run_name"], []).append(row["real_time"] * scale[row["time_unit"]])
    if not found:
        raise BenchmarkError(f"poisonctl_bench has nothing named {which}")
    return list(found.items())
