"""The model card of a saved model, `README.md` in its folder: the Hub's metadata, and what the model is worth in words.

It is made of what the run left and of the seeds that lie beside it, so that it can be written anew when there are more.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool.errors import NotWritten, UserError
from glue_pool.metrics import METRICS
from glue_pool.progress import say
from glue_pool.report.scan import LeftOut, Run
from glue_pool.results import write_text
from glue_pool.saved import card_facts, card_text
from glue_pool.saved.card_facts import Facts
from glue_pool.shell import expanded, one_line

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

NAME = "README.md"
LICENCE = re.compile(r"[a-z][a-z0-9.-]*")  # as the Hub writes them
LANGUAGE = re.compile(r"[a-z]{2,3}|multilingual|code")
METRIC_IDS = {"pearson": "pearsonr", "mean_squared_error": "mse", "f1_macro": "f1", "f1_micro": "f1"}


def write(run: str | Path) -> Path:
    """Write the card of the model in a run's folder, and return its file.

    Raises UserError if that is no folder of a completed run with a model, and NotWritten if no file can be made there.
    """
    (file,) = write_each([run])
    return file


def write_each(runs: Sequence[str | Path]) -> list[Path]:
    """Write the cards of several runs' models, or none; errors as `write`.

    What lies beside the runs is read once, however many of a sweep there are.
    """
    read: dict[Path, dict[Path, Run | LeftOut]] = {}
    cards = {}
    for run in runs:
        folder = Path(os.path.abspath(expanded(str(run))))
        if folder not in read.get(folder.parent, ()):
            read[folder.parent] = card_facts.around(folder)
        cards[Path(expanded(str(run)), "model", NAME)] = _card(folder, card_facts.read(folder, read[folder.parent]))
    for file, text in cards.items():
        try:
            write_text(file, text)
        except OSError as error:
            raise NotWritten(f"{file} can't be written ({error.strerror}); mend that, and do it again") from None
    return list(cards)


def renew(runs: Iterable[Path]) -> None:
    """Write the cards of runs that are over; that one can't be written is a warning, for it is no failure of theirs."""
    by_place: dict[Path, list[Path]] = {}
    for run in runs:
        by_place.setdefault(run.parent, []).append(run)
    for place, there in by_place.items():
        try:
            write_each(there)
        except Exception as error:
            say(f"mind: no model card in {place} ({one_line(str(error))}); glue-pool card writes it", sys.stdout)


def _card(folder: Path, facts: Facts) -> str:
    from huggingface_hub import ModelCard

    try:
        return str(ModelCard(f"---\n{_metadata(facts).to_yaml()}\n---\n\n{card_text.text(facts)}"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{folder}: its files are damaged ({type(error).__name__}: {error})") from None


def _metadata(facts: Facts) -> "ModelCardData":
    from huggingface_hub import ModelCardData

    result = facts.result
    encoder, licence = facts.encoder, facts.encoder_licence
    language = str(facts.task.get("language") or "")
    by_id = licence is None or LICENCE.fullmatch(licence)
    scores = list(_scores(facts))
    return ModelCardData(
        language=language if LANGUAGE.fullmatch(language) else None,
        license=licence if by_id else "other",
        license_name=None if by_id else licence,
        base_model=encoder,
        datasets=[facts.data_set] if facts.data_set else None,
        metrics=sorted({score.metric_type for score in scores}) or None,
        pipeline_tag="text-classification",
        library_name="transformers",
        tags=["glue_pool", result["method"], result["task"]],
        model_name=f"{result['task']}-{result['method']}-{result['encoder']}-seed{result['seed']}",
        eval_results=scores or None,
    )


def _scores(facts: Facts) -> Iterator["EvalResult"]:
    """Yield the scores of the last epoch, as fractions, as the Hub has them; none that is NaN."""
    from huggingface_hub import EvalResult

    task, source = facts.task, facts.task.get("source", {}) if facts.data_set else {}
    generated, drawn = facts.source == "synthetic", task.get("dev_share") if facts.source != "synthetic" else None
    of_split = {"drawn_from": task["train_split"], "share": drawn, "seed": task.get("dev_seed")} if drawn else None
    for split, metrics in facts.result["metrics"].items():
        for name, value in metrics.items():
            if value is not None:
                yield EvalResult(
                    task_type="text-classification",
                    task_name=facts.title,
                    dataset_type=facts.data_set or ("generated" if generated else task["name"]),
                    dataset_name=f"{facts.title}, generated rows" if generated else facts.title,
                    dataset_config=source.get("config"),
                    dataset_revision=source.get("revision"),
                    dataset_split=split,
                    dataset_args=of_split,
                    metric_type=METRIC_IDS.get(name, name),
                    metric_name=METRICS[name].title,
                    metric_value=value,
                )
