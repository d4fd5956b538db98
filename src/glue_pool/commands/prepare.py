"""Fetch, check and tokenise once what runs then only read.

    glue-pool prepare experiment=paper_table
    glue-pool prepare task=rte,mrpc encoder=roberta_base

takes any command line of `glue-pool train` (whose --help lists the choices), a sweep with -m or without, and trains
nothing. On a host without network, copy the Hugging Face cache (HF_HOME) and GLUE_POOL_CACHE there afterwards.
"""

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Prepare every run that the arguments stand for."""
    if {"-h", "--help"} & set(argv):
        print(__doc__)
        return
    from glue_pool import commandline
    from glue_pool.prepare import prepare

    line = commandline.check(["--multirun", *argv])
    with commandline.located(line.args):
        prepare(commandline.configs(line))
