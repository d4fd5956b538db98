"""Sentence pairs about events: inference (RTE, MNLI), paraphrase (MRPC), similarity (STS-B)."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

from glue_pool.data.synthetic import words
from glue_pool.data.synthetic.words import TOWN, World

T = TypeVar("T")
Pair = tuple[str, str]


class Event(NamedTuple):
    """What happened (`told`: the ways to say it), to whom, with what, where and when."""

    told: tuple[str, ...]
    a: str
    b: str
    x: str
    place: str
    time: str

    def swapped(self) -> "Event":
        return self._replace(a=self.b, b=self.a)

    def tell(self, rng: Random, told: str | None = None, place: bool = True, time: bool = True) -> str:
        text = (told or rng.choice(self.told)).format(a=self.a, b=self.b, x=self.x)
        text = f"{text} {self.place}" if place else text
        if not time:
            return sentence(text)
        return sentence(f"{text} {self.time}" if rng.random() < 0.7 else f"{self.time}, {text}")


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip().replace("  ", " ")
    return text[0].upper() + text[1:] + "."


def a(noun: str) -> str:
    """With its indefinite article."""
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def other(rng: Random, items: Sequence[T], *taken: T) -> T:
    return rng.choice([item for item in items if item not in taken])


def thing(rng: Random, world: World) -> str:
    noun = rng.choice(rng.choice(world.kinds)[1])
    return a(f"{rng.choice(words.LOOKS)} {noun}" if rng.random() < 0.4 else noun)


def event(rng: Random, world: World, cast: Sequence[str], told: list[tuple[str, ...]] | None = None) -> Event:
    told = told or rng.choice([words.DEALS, words.DEALS, words.MEETINGS])
    return Event(
        rng.choice(told), cast[0], cast[1], thing(rng, world), rng.choice(world.places), rng.choice(world.times)
    )


def changed(rng: Random, world: World, e: Event, aspect: str) -> Event:
    """The event with another thing, place or time."""
    if aspect == "x":
        return e._replace(x=other(rng, [thing(rng, world) for _ in range(9)], e.x))
    return e._replace(**{aspect: other(rng, getattr(world, aspect + "s"), getattr(e, aspect))})


# Inference: each kind gives a premise and a hypothesis with the label asked for (E, N or C).


def details(rng: Random, world: World, label: str, cast: Sequence[str]) -> Pair:
    """The hypothesis repeats, changes or adds a place or time."""
    e = event(rng, world, cast)
    aspect = rng.choice(["place", "time"])
    h = changed(rng, world, e, aspect) if label == "C" else e
    drop = aspect if label == "N" else ""
    premise = e.tell(rng, place=drop != "place", time=drop != "time")
    return premise, h.tell(rng, place=aspect == "place", time=aspect == "time")


def things(rng: Random, world: World, label: str, cast: Sequence[str]) -> Pair:
    """The hypothesis is about the same thing, another thing, or another event of the two."""
    e = event(rng, world, cast, words.DEALS)
    h = changed(rng, world, e, "x") if label == "C" else e
    h = event(rng, world, cast, words.MEETINGS) if label == "N" else h
    return e.tell(rng), h.tell(rng, place=False, time=False)


def roles(rng: Random, world: World, label: str, cast: Sequence[str]) -> Pair:
    """Who did it to whom."""
    frames = rng.choice([words.DEALS, words.MEETINGS, words.ORDERS])
    e = event(rng, world, cast, frames)
    if rng.random() < 0.5:
        e = e.swapped()
    more = frames is not words.ORDERS
    h = e.swapped() if label == "C" else e
    if label == "N":
        h = e._replace(told=other(rng, frames if frames is words.ORDERS else words.MEETINGS, e.told))
    told = rng.choice(h.told)
    return e.tell(rng, place=more, time=more), h.tell(rng, told, place=False, time=False)


def quant(*a):
    return logic(*a, rules=words.QUANTIFIERS)


def impl(*a):
    return logic(*a, rules=words.IMPLICATIVES)


def kinds(*a):
    return logic(*a, rules=words.KINDS)


def logic(rng: Random, world: World, label: str, cast: Sequence[str], rules=None) -> Pair:
    """Quantifiers, implicative verbs, and nouns for kinds of things, up and down."""
    premise, hypothesis, _ = rng.choice([rule for rule in rules if rule[2] == label])
    base, past, what = rng.choice(world.doings)
    kind, names = rng.choice(world.kinds)
    group = rng.choice(world.groups)
    h, hd = rng.choice(words.HOLDINGS)
    slots = {
        "a": cast[0], "b": cast[1], "x": a(rng.choice(names)), "k": a(kind), "w": rng.choice(world.places) if rules is not words.KINDS or rng.random()<.5 else "", "h":h,"hd":hd,
        "g": group, "s": f"{rng.choice(words.SORTS)} {group}", "v": f"{base} {what}", "vd": f"{past} {what}",
    }  # fmt: skip
    return sentence(premise.format(**slots)), sentence(hypothesis.format(**slots))


INFERENCES = [quant, impl, kinds, quant, impl, kinds, things, roles]
LONGEST = 3


def story(rng: Random, world: World, premise: str, cast: Sequence[str], longest: int) -> str:
    """The premise among other events and remarks."""
    told = [premise]
    for i in range(rng.randint(0, longest)):
        told.append(
            rng.choice(words.REMARKS) + "." if rng.random() < 0.7 else event(rng, world, cast[2 * i :]).tell(rng)
        )
    rng.shuffle(told)
    return " ".join(told)


def rte(rng: Random, label: int, kinds=None) -> tuple[Pair, float]:
    cast = rng.sample(TOWN.people, 8)
    premise, hypothesis = rng.choice(kinds or INFERENCES)(rng, TOWN, "E" if label == 0 else rng.choice("NC"), cast)
    return (story(rng, TOWN, premise, cast[2:], LONGEST), hypothesis), label
