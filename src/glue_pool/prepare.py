"""Fetch, check and tokenise once what runs will need, for hosts without network and for many jobs that only read.

python -m glue_pool.prepare task=rte,mrpc encoder=roberta_base
python -m glue_pool.prepare experiment=paper_table
"""

import sys
from collections.abc import Iterable

from glue_pool import cli
from glue_pool.models import shape
from glue_pool.schema import Config


def main() -> None:
    """`glue-pool prepare`, for `python -m glue_pool.prepare`."""
    cli.main(["prepare", *sys.argv[1:]])


def prepare(configs: Iterable[Config]) -> None:
    """Fetch, check and tokenise what these runs need, each data set and encoder once, and print what there is.

    Raises UserError at the first that can't be used.
    """
    configs = list(configs)
    for cfg in configs:
        shape.check(cfg)
    from glue_pool.data.load import TaskData, load
    from glue_pool.models import factory, inputs
    from glue_pool.training import recipe

    ready: dict[tuple[object, ...], TaskData] = {}
    for cfg in configs:
        blueprint = factory.plan(cfg)
        chosen = recipe.plan(cfg, recipe.Shape(blueprint.d, blueprint.layers))
        form = (blueprint.batching, cfg.train.padding_side, cfg.train.max_length)
        what = (cfg.task.name, str(cfg.data), blueprint.folder, blueprint.identity, form)
        known = what in ready
        data = ready[what] = ready[what] if known else load(cfg, blueprint.folder)
        inputs.check(cfg, blueprint, data, chosen.reads_cls)
        if known:
            continue
        factory.build(cfg, blueprint)
        for split, facts in data.about["tokens"].items():
            print(
                f"{cfg.task.name} {split}: {facts['rows']} rows, {facts['tokens']} tokens of {cfg.encoder.name}, "
                f"{facts['truncated']} rows cut to {cfg.train.max_length}",
                flush=True,
            )
    print(f"{len(ready)} data sets and encoders are ready; tokens are in {cfg.data.cache_dir}")


if __name__ == "__main__":
    main()
