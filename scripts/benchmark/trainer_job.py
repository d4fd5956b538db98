"""A whole job of Hugging Face's Trainer as one would write it: read, tokenise, train, evaluate, write a JSON.

python trainer_job.py '{"folder": …}'. Nothing of glue_pool is imported.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(job: dict[str, Any]) -> None:
    """Fine-tune as a job says, with dynamic padding, rows grouped by length and bf16, and print what came of it.

    folder: of <split>.parquet; splits: train and dev; columns: of texts; metric: accuracy or matthews_correlation;
    encoder: a folder; layers: how many of its layers; epochs, batch, lr, seed, output.
    """
    import numpy as np
    import pyarrow.parquet as pq
    import torch
    from sklearn.metrics import accuracy_score, matthews_corrcoef
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(job["encoder"])
    layers = {} if job["layers"] is None else {"num_hidden_layers": job["layers"]}

    def rows(split: str) -> list[dict[str, Any]]:
        read = pq.read_table(Path(job["folder"], f"{split}.parquet")).to_pydict()
        tokens = tokenizer(*(read[column] for column in job["columns"]), truncation=True, max_length=128)
        return [{"label": label, **{name: tokens[name][i] for name in tokens}} for i, label in enumerate(read["label"])]

    def metrics(prediction: Any) -> dict[str, float]:
        score = {"accuracy": accuracy_score, "matthews_correlation": matthews_corrcoef}[job["metric"]]
        return {"score": float(score(prediction.label_ids, np.argmax(prediction.predictions, -1)))}

    train, dev = (rows(split) for split in job["splits"])
    model = AutoModelForSequenceClassification.from_pretrained(job["encoder"], num_labels=2, **layers)
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=job["output"],
            num_train_epochs=job["epochs"],
            per_device_train_batch_size=job["batch"],
            per_device_eval_batch_size=64,
            learning_rate=job["lr"],
            use_cpu=not torch.cuda.is_available(),
            bf16=True,
            train_sampling_strategy="group_by_length",
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=10,
            seed=job["seed"],
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=train,
        eval_dataset=dev,
        compute_metrics=metrics,
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    evaluations = [entry for entry in trainer.state.log_history if "eval_runtime" in entry]
    seconds -= sum(entry["eval_runtime"] for entry in evaluations)
    result = {
        "score": evaluations[-1]["eval_score"],
        "train_examples_per_second": len(train) * job["epochs"] / seconds,
        "dev_rows": len(dev),
        "threads": torch.get_num_threads(),
    }
    Path(job["output"], f"{Path(job['folder']).name}-{job['seed']}.json").write_text(json.dumps(result), "utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
