"""Try every family of encoders that transformers has, with small random weights, and write docs/families.md.

Each goes the way of a run: config.json and weights in a folder, the checks before a run, the trial, and a step of
training in fp32 and in bf16. Some two minutes.
"""

import argparse
import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glue_pool.data.layout import layout
from glue_pool.errors import UserError
from glue_pool.models import families, pretrained
from glue_pool.models.encoder import PLAIN, Encoder
from glue_pool.models.families import Batching
from glue_pool.models.trial import differs, rows, states, trial
from glue_pool.schema import Config, EncoderConfig

PAGE = Path(__file__).parents[1] / "docs" / "families.md"
MOST = 1e-5  # by which a row's states may change with its batch, in relation to their size
LENGTHS = (1, 2, 3, 5, 5, 9, 14, 23, 30)  # some longer than the windows of attention below

# What a family's config has of these is made small.
SMALL: dict[str, Any] = {
    **dict.fromkeys(["vocab_size", "emb_vocab"], 64),
    **dict.fromkeys(["hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"], 32),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers"], 3),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_key_value_heads"], 4),
    **dict.fromkeys(["intermediate_size", "hidden_dim", "d_inner", "ffn_dim", "n_inner", "expert_ffn_hidden_size"], 48),
    **dict.fromkeys(["max_position_embeddings", "n_positions"], 40),
    **dict.fromkeys(["entity_vocab_size", "entity_emb_size"], 16),
    "head_dim": 8,
    "d_head": 8,
    "initializer_range": 0.2,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 3,
    "sep_token_id": 4,
}
# What a family needs beside that, or another size of it.
SPECIAL: dict[str, dict[str, Any]] = {
    "modernbert": {"local_attention": 8},
    "esm": {"vocab_size": 64, "token_dropout": True, "mask_token_id": 5, "position_embedding_type": "rotary"},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "longformer": {"attention_window": [8, 8, 8]},
    "big_bird": {"attention_type": "original_full"},
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 8},
    "roformer": {"rotary_value": False},
    "neomme": {"head_dim": 16},
    "xmod": {"default_language": "en_XX"},
    "mobilebert": {"intra_bottleneck_size": 32, "true_hidden_size": 32, "normalization_type": "layer_norm"},
    "tapas": {"type_vocab_sizes": [3, 8, 8, 2, 8, 8, 10]},
}


HOW: dict[Batching, str] = {
    "packed": "**packed**, rows end to end without padding, and the same padded (`train.batching`)",
    "padded": "**padded**",
    "equal": "**rows of one length at a time**, since they look at padding",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a family: how it runs and what is to be minded, or why it is refused or was not tried."""

    family: str
    batching: Batching | None = None
    refused: str | None = None
    not_tried: str | None = None
    minds: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """What the page says of it and its like."""
        if self.batching:
            return HOW[self.batching]
        said = re.sub(
            r"^(this )?[\w-]+ (encoder )?(?=(is|has|takes|wants|can't|wraps|pools|hashes) )", "", self.refused or ""
        )
        return f"**{said or 'not tried: no small one can be made'}**"


def names() -> list[str]:
    """Return every family that transformers has a model with hidden states of."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return sorted(MODEL_MAPPING_NAMES)


def small(family: str) -> Any:
    """Return a small config of a family."""
    from transformers import CONFIG_MAPPING

    of = CONFIG_MAPPING[family]
    usual = of().to_dict()
    said = {name: value for name, value in SMALL.items() if usual.get(name) not in (None, -1)}
    ids = {name: SMALL[name] for name in ("pad_token_id",) if name in usual}
    return of(**(said | ids | SPECIAL.get(family, {})))


def save(config: Any, folder: Path) -> None:
    """Write a model of a config with random weights, large enough that a wrong neighbour shows."""
    from transformers import AutoModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.requires_grad:
                nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)


def encoder(family: str, folder: Path) -> Encoder:
    """Write a family's small encoder, and load it as a run does; raises UserError where a run refuses it."""
    cfg = EncoderConfig(name=family)
    if why := families.refusal(_usual(family)):
        raise UserError(why)
    save(small(family), folder)
    config = pretrained.read_config(cfg, folder)
    batching = families.batching(config, "auto")
    pretrained.plan(config, batching, PLAIN, f"encoder.name={family}")
    loaded, _ = pretrained.load(cfg, folder, config, batching)
    pretrained.try_out(loaded, Config(encoder=cfg))
    return loaded


def tried(family: str) -> Outcome:
    """Carry a family through what a run does before it trains, and one step of it."""
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(temporary, family)
        cfg = EncoderConfig(name=family)
        try:
            made = encoder(family, folder)
        except UserError as error:
            return Outcome(family, refused=str(error).removeprefix(f"encoder.name={family}: "))
        except Exception as error:  # no small one of this family can be made in the usual way
            return Outcome(family, not_tried=str(error).strip().splitlines()[0])
        config = pretrained.read_config(cfg, folder)
        return Outcome(family, made.batching, minds=tuple(_minds(made, cfg, folder, config)))


def _usual(family: str) -> Any:
    from transformers import CONFIG_MAPPING

    try:
        return CONFIG_MAPPING[family]()
    except Exception as error:  # a package that is not there
        raise UserError(f"transformers makes no {family}: {str(error).strip().splitlines()[0]}") from None


def _minds(encoder: Encoder, cfg: EncoderConfig, folder: Path, config: Any) -> list[str]:
    minds = []
    forms: list[Batching] = [encoder.batching, "padded"] if encoder.batching == "packed" else [encoder.batching]
    made = {form: pretrained.load(cfg, folder, config, form)[0].eval() for form in forms}
    for form, one in made.items():
        for side in ("right", "left") if form == "padded" else ("right",):
            found = trial(one, side, LENGTHS)
            if found.difference > MOST:
                minds.append(
                    f"is refused with padding on the {side}" if found.failed else f"differs by {found.difference}"
                )
    if "packed" in made and (by := differs(*(states(one, rows(one, LENGTHS)) for one in made.values()))) > MOST:
        minds.append(f"differs by {by:.0e} packed and padded")
    if not encoder.blocks:
        minds.append("has layers that can't be told apart: no layer_decay, reinit_layers, nor edits of layers")
    minds += _cut(encoder, cfg, folder)
    minds += [f"fails in {precision} ({said})" for precision in ("fp32", "bf16") if (said := _step(encoder, precision))]
    return minds


def _cut(whole: Encoder, cfg: EncoderConfig, folder: Path) -> list[str]:
    """Say where a family's lower layers don't run without the upper ones, or run otherwise."""
    fewer = replace(cfg, num_hidden_layers=2)
    try:
        config = pretrained.read_config(fewer, folder)
        encoder, _ = pretrained.load(fewer, folder, config, whole.batching)
    except UserError as error:
        return [f"runs whole only ({error})"]
    ids = rows(whole, LENGTHS)
    by = differs(states(encoder.eval(), ids)[:1], states(whole.eval(), ids)[:1])
    return [f"differs by {by:.0e} with layers left out"] if by > MOST else []


def _step(encoder: Encoder, precision: str) -> str | None:
    """Return why a step of training fails in a precision, if it does."""
    lengths = [3, 5, 5, 9]
    ids = torch.arange(sum(lengths)) % 50 + 6
    encoder.train()
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            hidden = encoder(ids, torch.zeros_like(ids), layout(lengths), (encoder.num_layers,))
            loss = hidden.tokens(encoder.num_layers).float().square().sum()
        loss.backward()
        gradient = encoder.embeddings.get_parameter("weight").grad
        return None if gradient is not None and bool(torch.isfinite(gradient).all()) else "no finite gradient"
    except Exception as error:  # whatever a family makes of it
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:80]}"
    finally:
        encoder.zero_grad()


def minds(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each family that has something to be minded."""
    return [f"- `{o.family}` {', and '.join(o.minds)}" for o in outcomes if o.minds]


def page(outcomes: Sequence[Outcome]) -> str:
    """Return docs/families.md."""
    import transformers

    found = [
        "# Families of encoders",
        "",
        f"Every family of transformers {transformers.__version__}, tried with small random weights. Written by "
        "`scripts/try_families.py`: a row",
        f"by itself, in a batch and with padding on either side has the same hidden states to {MOST:g} of their size",
        "(fp32, CPU), and every token sees every other. A run tries its own encoder so again, where it isn't packed.",
        "",
    ]
    alike = defaultdict(list)
    for o in outcomes:
        alike[o.heading].append(f"`{o.family}`")
    run = [heading for heading in HOW.values() if heading in alike]
    refused = sorted(alike.keys() - set(run), key=lambda heading: (-len(alike[heading]), heading))
    found += [f"- {heading}: {', '.join(alike[heading])}" for heading in run]
    found += ["", "Of these:", "", *minds(outcomes), "", "## Refused", ""]
    found += [f"- {heading}: {', '.join(alike[heading])}" for heading in refused]
    return "\n".join(found) + "\n"


def main() -> None:
    """Try the families named, or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="only say what becomes of these")
    given = parser.parse_args().families
    if given:
        for family in given:
            print(tried(family))
        return
    PAGE.write_text(page([tried(family) for family in names()]), encoding="utf-8")
    print(f"{PAGE} is written")


if __name__ == "__main__":
    main()
