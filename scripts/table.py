"""Print methods x tasks from a folder of results: mean ± standard deviation of the score, and the seeds it is over.

python scripts/table.py outputs
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path


def main(root: str) -> None:
    """Print a Markdown table of every completed run under `root`; runs that differ in more than the seed stay apart."""
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(Path(root).rglob("result.json")):
        result = json.loads(file.read_text())
        if result["status"] != "completed" or result["score"] is None:
            print(f"left out: {file} ({result['status']}, {result['error'] or 'score NaN'})", file=sys.stderr)
            continue
        encoder = result["encoder"] if result["kind"] == "fine-tuned" else f"{result['encoder']}, {result['kind']}"
        subset = result["subset"]["size"] or "all"
        task = f"{result['task']} ({result['primary_metric']}, {subset} rows)"
        scores[result["method"], encoder][task].append(100 * result["score"])
    tasks = sorted({task for row in scores.values() for task in row})
    print("| method | " + " | ".join(tasks) + " |")
    print("|---" * (len(tasks) + 1) + "|")
    for (method, encoder), row in sorted(scores.items()):
        cells = [cell(row[task]) for task in tasks]
        print(f"| {method} ({encoder}) | " + " | ".join(cells) + " |")


def cell(values: list[float]) -> str:
    """Return `mean ± sd (n)`, the deviation only where there are at least two."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread} ({len(values)})"


if __name__ == "__main__":
    main(*sys.argv[1:] or ["outputs"])
