"""Results as JSON and as a table, and those of doob's own runs."""

import json
import math
import platform
import time
from importlib.metadata import version
from pathlib import Path

import metrics


def finite(v):
    """The same with None for numbers that JSON does not have."""
    if isinstance(v, dict):
        return {k: finite(x) for k, x in v.items()}
    if isinstance(v, list | tuple):
        return [finite(x) for x in v]
    return None if isinstance(v, float) and not math.isfinite(v) else v


def of_run(run):
    """What a run folder has measured: {method: {seed: {metric: number}}}."""
    out = {}
    for line in (Path(run) / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        result = event.get("result")
        if result is not None:
            out.setdefault(event["stage"], {})[event["seed"]] = result
    return out


def row(name, results):
    """Mean and standard error over repetitions."""
    out = {"name": name, "repetitions": len(results)}
    for metric in results[0]:
        values = [r[metric] for r in results if isinstance(r.get(metric), (int, float))]
        if values:
            out[metric] = metrics.mean_se(values)
    return out


def cell(value, fmt):
    if value is None:
        return ""
    mean, se = value
    text = fmt.format(mean)
    return text if se != se or se == 0 else f"{text} ± {fmt.format(se).lstrip('+')}"


def write(out, title, columns, rows, notes, more):
    """results.json and results.md in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    libraries = {name: version(name) for name in ("torch", "torchgfn", "deepinv", "azula")}
    about = {"date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "python": platform.python_version(), **libraries}
    lines = [f"# {title}", "", "| | " + " | ".join(c[1] for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += ["| " + " | ".join([r["name"], *(cell(r.get(key), fmt) for key, _, fmt in columns)]) + " |" for r in rows]
    notes = [*notes, "Seconds are those of doob's clock, and the processor's, on one thread, for the libraries."]
    lines += ["", *notes, "", ", ".join(f"{k} {v}" for k, v in about.items()) + "."]
    text = "\n".join(lines) + "\n"
    (out / "results.md").write_text(text)
    (out / "results.json").write_text(json.dumps(finite({"about": about, "rows": rows, "notes": notes, **more}), indent=1, allow_nan=False) + "\n")
    print(text, flush=True)
