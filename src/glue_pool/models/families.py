"""Families of encoders: which read a text in both directions, and in what batches each gives the same numbers.

What is written down here was tried, every family of transformers with small random weights (`scripts/try_families.py`,
whose page is docs/families.md); a family that is not is tried on its own weights before a run (`models.trial`).
"""

import inspect
from typing import Any, Literal

from glue_pool.errors import UserError

Batching = Literal["packed", "padded", "equal"]
"""Rows end to end, rows padded to the longest, or rows of one length at a time."""

# whose attention takes transformers' interface, and which mix tokens nowhere else
PACKED = {
    "albert",
    "bert",
    "bert-generation",
    "camembert",
    "data2vec-text",
    "distilbert",
    "electra",
    "embedding_gemma2_text",
    "ernie",
    "esmc",
    "eurobert",
    "gte",
    "jina_embeddings_v3",
    "markuplm",
    "modernbert",
    "neomme",
    "nomic_bert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "splinter",
    "ultrabert",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
# which look at padding: they mix all positions (FNet), or neighbours (MobileBERT's embeddings)
EQUAL = {"convbert", "fnet", "mobilebert", "nystromformer", "yoso"}
# which keep a position for padding, and count from the one after it: as many tokens less
AFTER_PADDING = {
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
# which fail where autocast hands them bf16
FP32_ONLY = {"deberta", "xmod"}
SIZES = {"num_hidden_layers": 1000, "hidden_size": 100_000}  # and the most of each: transformers would make more
# whose layers depend on how many there are, so that none can be left out or put in
NOT_CUT = {"embedding_gemma2_text", "esm", "esmc", "neomme"}
REFUSED = {
    "dpr": "dpr wraps a BERT; save that one by itself",
    "funnel": "funnel pools positions away, so that its layers' states are of several lengths",
    "reformer": "reformer hashes at random, and trains on multiples of its chunk length alone",
}
# whose token types are no rows of a table, so their config has no type_vocab_size
TYPES_WITHOUT_TABLE = {"xlnet"}


def batching(config: Any, wanted: str) -> Batching:
    """Return in what batches an encoder of a transformers config runs under `train.batching`."""
    kind = config.model_type
    if wanted == "packed" and kind not in PACKED:
        raise UserError(f"train.batching=packed: a {kind} encoder takes no packed batches; use auto")
    if wanted == "padded" and kind in EQUAL:
        raise UserError(
            f"train.batching=padded: a {kind} encoder looks at padding; auto runs rows of one length at once"
        )
    if kind in EQUAL:
        return "equal"
    return "packed" if kind in PACKED and wanted != "padded" else "padded"


def settle(config: Any) -> None:
    """Set in a transformers config what else would depend on the batches: their order, or their tokens."""
    if config.model_type == "big_bird":  # a short batch turns sparse attention into full attention, for good
        config.attention_type = "original_full"
    if hasattr(config, "chunk_size_feed_forward"):  # saves memory alone, and wants batches of a multiple of it
        config.chunk_size_feed_forward = 0


def check_fetches_nothing(config: Any, name: str) -> None:
    """Refuse a config of which transformers would fetch code from the Hub, as an attention of somebody's own."""
    for what in ("attn_implementation", "experts_implementation"):
        if (said := getattr(config, f"_{what}", None)) not in (None, "eager", "sdpa", "grouped_mm", "batched_mm"):
            raise UserError(f"{name}: its config.json says {what}={said!r}, which is no plain one, and never fetched")


def precision(config: Any, wanted: str, found: str) -> str:
    """Return `fp32` or `bf16` for `train.precision` (wanted) on hardware for which auto is `found`."""
    if found == "bf16" and config.model_type in FP32_ONLY:
        if wanted == "bf16":
            raise UserError(f"train.precision=bf16: a {config.model_type} encoder fails in bf16; use fp32, or auto")
        return "fp32"
    return found


def per_layer(config: Any) -> dict[str, list[Any]]:
    """Return what a transformers config lists for each of its layers, by key."""
    found = {key: getattr(config, key, None) for key in ("layer_types", "attention_window")}
    return {key: value for key, value in found.items() if isinstance(value, list)}


def refusal(config: Any) -> str | None:
    """Say why a model of this transformers config is no encoder of texts in both directions; None where it may be."""
    kind = config.model_type
    if kind in REFUSED:
        return REFUSED[kind]
    if config.is_encoder_decoder:
        return f"{kind} is an encoder-decoder, and no encoder alone"
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "its config.json makes a decoder of it (is_decoder, add_cross_attention)"
    if any(hasattr(config, part) for part in ("text_config", "thinker_config", "vision_config", "decoder")):
        return f"{kind} is made of several models; save the one that reads text by itself"
    for size, most in SIZES.items():
        value = getattr(config, size, None)
        if value is None or isinstance(value, list | tuple):
            return f"{kind} has no layers of hidden states of one size ({size})"
        if type(value) is not int or not 0 < value <= most:
            return f"its config.json says {size}={value!r}, which is no whole number from 1 to {most}"
    if kind == "embedding_gemma2_text" and config.embedding_dim != config.hidden_size:
        return f"{kind} has a last layer of another size than the others (embedding_dim)"
    takes = _takes(config)
    if takes is None:
        return f"transformers has no {kind} that gives hidden states"
    if "input_ids" not in takes:
        return f"{kind} takes {next(iter(takes))}, no token ids"
    if "bbox" in takes:
        return f"{kind} wants the place of every token on a page (bbox)"
    if _decodes(config, takes):
        return f"{kind} is a decoder: its tokens don't see those that follow"
    positions = getattr(config, "position_embedding_type", None)
    if positions not in (None, "absolute") and kind != "esm":
        return f"its config.json says position_embedding_type={positions}, which transformers no longer computes"
    return None


def _takes(config: Any) -> list[str] | None:
    """Return what a family's model takes; None where transformers has no such model."""
    from transformers import MODEL_MAPPING

    try:
        of = MODEL_MAPPING[type(config)]
    except KeyError:
        return None
    found: Any = of[0] if isinstance(of, list | tuple) else of
    return [name for name in inspect.signature(found.forward).parameters if name != "self"]


def _decodes(config: Any, takes: list[str]) -> bool:
    """Whether transformers has a family for generating text, and not for filling in what is masked."""
    from transformers.models.auto import modeling_auto as auto

    kind = config.model_type
    if kind in {*PACKED, *EQUAL, "xlnet"} or kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return False
    if getattr(config, "use_bidirectional_attention", False) or getattr(config, "is_causal", None) is False:
        return False
    return kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or "past_key_values" in takes
