"""The files of a GLUE submission, as its sample submission has them: names, rows and what may be predicted in each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from glue_pool.errors import UserError

HEADER = "index\tprediction"
LOWEST, HIGHEST = 0.0, 5.0  # STS-B's scores


@dataclass(frozen=True)
class File:
    """One file of a submission.

    labels: GLUE's names by class id, empty where scores are predicted. by_name: whether names are written, not ids.
    """

    name: str
    rows: int
    labels: tuple[str, ...]
    by_name: bool = False

    @cached_property
    def values(self) -> Mapping[str, str]:
        """What is written for each label; empty where scores are."""
        return {name: name if self.by_name else str(i) for i, name in enumerate(self.labels)}

    @cached_property
    def filling(self) -> str:
        """What stands in every row of a file that nothing was predicted for."""
        return next(iter(self.values.values()), score(0))


NLI = ("entailment", "neutral", "contradiction")
ENTAILED = ("entailment", "not_entailment")
FILES = {
    file.name: file
    for file in (
        File("CoLA.tsv", 1063, ("unacceptable", "acceptable")),
        File("SST-2.tsv", 1821, ("negative", "positive")),
        File("MRPC.tsv", 1725, ("not_equivalent", "equivalent")),
        File("STS-B.tsv", 1379, ()),
        File("MNLI-m.tsv", 9796, NLI, by_name=True),
        File("MNLI-mm.tsv", 9847, NLI, by_name=True),
        File("QNLI.tsv", 5463, ENTAILED, by_name=True),
        File("QQP.tsv", 390_965, ("not_duplicate", "duplicate")),
        File("RTE.tsv", 3000, ENTAILED, by_name=True),
        File("WNLI.tsv", 146, ("not_entailment", "entailment")),
        File("AX.tsv", 1104, NLI, by_name=True),
    )
}
AX, AX_TASK, AX_SPLIT = "AX.tsv", "ax", "test"  # the diagnostic set has no train split: MNLI's model predicts it
OF_AX = "MNLI-m.tsv"


def score(value: float) -> str:
    """Return a score as it is written, in STS-B's range."""
    return f"{min(max(value, LOWEST), HIGHEST) + 0.0:.3f}"  # + 0.0: no -0.000


def check(task: Mapping[str, Any], file: File, where: object) -> None:
    """Refuse a task, as a config has it, whose predictions have no place in a file; where: what says it."""
    labels, given = task["labels"], task.get("score_range")
    here = f"{where}: task {task['name']} is of {file.name}"
    if task.get("multi_label"):
        raise UserError(f"{here}, and gives a row any number of labels; GLUE's have one")
    if set(labels) != set(file.labels):
        said = f"its labels are {', '.join(map(str, labels)) or 'none (scores)'}"
        raise UserError(f"{here}, but {said}; GLUE's are {', '.join(file.labels) or 'none (scores)'}, by these names")
    if not labels and given is not None and list(given) != [LOWEST, HIGHEST]:
        raise UserError(f"{here}, but its scores are {given[0]:g} to {given[1]:g}; GLUE's are 0 to 5")
