"""Does the hypothesis follow: quantifiers, monotonicity, connectives, roles (RTE, MNLI)."""

from random import Random

from glue_pool.data.synthetic.events import DEALS, MEETINGS, ORDERS, event
from glue_pool.data.synthetic.words import SORTS, TOWN, World, a, cells, other, sentence, table

# Premise > hypothesis > E(ntailment), N(eutral) or C(ontradiction). {a} {b} people, {g} a group,
# {s} some of that group, {v} {vd} what is done (base form, past), {h} {hd} the same before a thing,
# {x} a thing, {k} the kind of thing it is, {w} where.
QUANTIFIERS = table("""
    All of the {g} {vd} > Some of the {g} {vd} > E
    Every one of the {g} {vd} > All of the {s} {vd} > E
    All of the {g} {vd} > At least one of the {s} {vd} > E
    All of the {g} {vd} {w} > All of the {g} {vd} > E
    Some of the {s} {vd} > Some of the {g} {vd} > E
    Most of the {s} {vd} {w} > Some of the {g} {vd} > E
    None of the {g} {vd} > None of the {s} {vd} > E
    None of the {g} {vd} > None of the {g} {vd} {w} > E
    Not one of the {g} {vd} > Not all of the {g} {vd} > E
    All of the {s} {vd} > All of the {g} {vd} > N
    Some of the {g} {vd} > All of the {g} {vd} > N
    Most of the {g} {vd} > All of the {s} {vd} > N
    Some of the {g} {vd} > Some of the {s} {vd} > N
    Some of the {g} {vd} > Some of the {g} {vd} {w} > N
    None of the {s} {vd} > None of the {g} {vd} > N
    Not one of the {g} {vd} {w} > None of the {g} {vd} > N
    All of the {g} {vd} > None of the {g} {vd} > C
    Every one of the {g} {vd} > Not all of the {s} {vd} > C
    Some of the {s} {vd} > None of the {g} {vd} > C
    Most of the {g} {vd} > None of the {g} {vd} > C
    None of the {g} {vd} > Some of the {g} {vd} > C
    None of the {g} {vd} > Some of the {s} {vd} {w} > C
    Not one of the {g} {vd} > All of the {g} {vd} > C
    None of the {g} {vd} > At least one of the {s} {vd} > C""")
# Premises after which {a} did it, did not, or may have.
DID = cells("""
    {a} managed to {v} | {a} remembered to {v} | {b} saw that {a} {vd} | {b} made {a} {v}
    {b} and {a} {vd} | Not only {b} but also {a} {vd} | {b} {vd}, and so did {a}
    It was {a} rather than {b} who {vd} | {a} {vd}, but {b} did not""")
DID_NOT = cells("""
    {a} failed to {v} | {a} forgot to {v} | {a} refused to {v} | {b} kept {a} from trying to {v}
    Neither {b} nor {a} {vd} | {b} {vd}, but {a} did not | It was {b} rather than {a} who {vd}""")
MAY_HAVE = cells("""
    {a} was planning to {v} | {b} asked {a} to {v} | {b} believed that {a} {vd}
    {b} or {a} {vd} | Nobody knows whether {a} {vd} | If {a} {vd}, {b} will be pleased""")
SAID = ("{a} {vd}", "{a} did not {v}")
DEEDS: list[tuple[str, ...]] = [
    (premise, hypothesis, label)
    for premises, labels in [(DID, "EC"), (DID_NOT, "CE"), (MAY_HAVE, "NN")]
    for premise in premises
    for hypothesis, label in zip(SAID, labels, strict=True)
]
KINDS = table("""
    {a} {hd} {x} {w} > {a} {hd} {k} {w} > E
    {a} and {b} {hd} {x} {w} > {b} {hd} {k} {w} > E
    {a} did not {h} {k} {w} > {a} did not {h} {x} {w} > E
    Neither {a} nor {b} {hd} {k} {w} > {b} did not {h} {x} {w} > E
    {a} {hd} {k} {w} > {a} {hd} {x} {w} > N
    {a} or {b} {hd} {x} {w} > {b} {hd} {k} {w} > N
    {a} did not {h} {x} {w} > {a} did not {h} {k} {w} > N
    {a} {hd} {x} {w} > {a} did not {h} {k} {w} > C
    {a} and {b} {hd} {x} {w} > {b} did not {h} {k} {w} > C
    {a} did not {h} {k} {w} > {a} {hd} {x} {w} > C
    Neither {a} nor {b} {hd} {k} {w} > {b} {hd} {x} {w} > C""")
LOGIC = [QUANTIFIERS, DEEDS, DEEDS, KINDS]
HOLDINGS = table("""
    buy | bought
    find | found
    own | owned
    carry | carried
    lose | lost
    want | wanted
    mention | mentioned""")
REMARKS = cells("""
    Several people watched from across the street | Nobody has commented on it so far
    The news surprised most of the neighbours | A short note about it appeared in the paper
    It had rained all day | That was not the first time | What followed is well known
    Everybody agreed that it was a remarkable story | The details came out only much later
    There was music and a good deal of laughter | It took less than an hour, witnesses said
    Few people noticed at first | The reasons for this are still a matter of debate""")


def logic(rng: Random, world: World, label: str, cast: list[str]) -> tuple[str, str]:
    """A rule of one of the tables, filled in."""
    rules = rng.choice(LOGIC)
    premise, hypothesis, _ = rng.choice([rule for rule in rules if rule[2] == label])
    base, past = rng.choice(world.doings)
    hold, held = rng.choice(HOLDINGS)
    kind, nouns = rng.choice(world.kinds)
    group, place = rng.choice(world.groups), rng.choice(world.places)
    slots = {"a": cast[0], "b": cast[1], "g": group, "s": f"{rng.choice(SORTS)} {group}"}
    slots |= {"v": base, "vd": past, "h": hold, "hd": held, "x": a(rng.choice(nouns)), "k": a(kind)}
    slots["w"] = "" if rules is KINDS and rng.random() < 0.5 else place
    return sentence(premise.format(**slots)), sentence(hypothesis.format(**slots))


def details(rng: Random, world: World, label: str, cast: list[str]) -> tuple[str, str]:
    """The hypothesis repeats, adds or changes where or when it happened."""
    e = event(rng, world, cast, rng.choice([DEALS, MEETINGS]))
    aspect = rng.choice(["place", "time"])
    h = e.changed(rng, world, aspect) if label == "C" else e
    where, when = aspect == "place", aspect == "time"
    unsaid = label == "N"
    premise = e.tell(rng, place=not (unsaid and where), time=not (unsaid and when))
    return premise, h.tell(rng, place=where, time=when)


def roles(rng: Random, world: World, label: str, cast: list[str]) -> tuple[str, str]:
    """The hypothesis is the same relation, its reverse, or another relation of the two."""
    frames = rng.choice([DEALS, MEETINGS, ORDERS])
    e = event(rng, world, cast, frames)
    h = e.swapped() if label == "C" else e
    if label == "N":
        h = e._replace(told=other(rng, ORDERS, e.told))
    happened = frames is not ORDERS
    return e.tell(rng, place=happened, time=happened), h.tell(rng, place=False, time=False)


def story(rng: Random, world: World, fact: str, cast: list[str], longest: int) -> str:
    """The fact, as news has it first, and up to `longest` sentences more."""
    told = [fact]
    for i in range(rng.randint(0, longest)):
        e = event(rng, world, cast[2 * i :], DEALS)
        told.append(rng.choice(REMARKS) + "." if rng.random() < 0.6 else e.tell(rng))
    return " ".join(told)


def rte(rng: Random, label: int) -> tuple[str, ...]:
    """Logic alone, in a longer text; of what does not follow, two thirds are contradictions."""
    cast = rng.sample(TOWN.people, 8)
    premise, hypothesis = logic(rng, TOWN, rng.choice("NCC") if label else "E", cast)
    return story(rng, TOWN, premise, cast[2:], 3), hypothesis


def mnli(rng: Random, label: int, world: World = TOWN) -> tuple[str, ...]:
    """Logic, details and roles, in two or three sentences at most."""
    cast = rng.sample(world.people, 4)
    infer = rng.choice([logic, logic, details, roles])
    premise, hypothesis = infer(rng, world, "ENC"[label], cast)
    return story(rng, world, premise, cast[2:], 1), hypothesis
