"""Questions: do two ask the same (QQP), and does a sentence answer one (QNLI)."""

from random import Random

from glue_pool.data.synthetic.words import CITIES, MEN, SURNAMES, WOMEN, cells, other, sentence, table

# What a sentence may say of {e} | ways to ask for it.
FACTS = table("""
    was opened in {year} | When was {e} opened? | In which year did {e} open?
    was closed by a fire in {year} | When did {e} burn? | In which year was there a fire in {e}?
    was sold to a bank in {year} | When was {e} sold? | In which year did a bank buy {e}?
    was designed by {person} | Who designed {e}? | Who was the architect of {e}?
    was paid for by {person} | Who paid for {e}? | Whose money was it that built {e}?
    is named after the poet {person} | After whom is {e} named? | Whose name does {e} bear?
    stands in the middle of {city} | Where does {e} stand? | In which city can one see {e}?
    took {n} years to build | How long did it take to build {e}? | How many years did {e} take?
    cost {n} million dollars | How much did {e} cost? | What was the price of {e}?
    is {n} metres high | How high is {e}? | What is the height of {e}?
    draws {n} thousand visitors a year | How many people come to see {e}? | How popular is {e}?
    is known for its {part} | What is {e} known for? | Which part of {e} is famous?
    is made mostly of {stuff} | What is {e} made of? | Which material was used for {e}?""")
BUILDINGS = "Bridge Museum Tower Theatre Library Station Palace Hotel Temple Stadium".split()
PARTS = cells("roof | spiral stairs | painted ceiling | blue windows | bronze doors | tall columns")
STUFF = cells("marble | red brick | oak | steel and glass | grey granite | concrete | limestone")

# Each line asks one thing in several ways, of a skill {s}, a city {c}, or {c} and then {d}.
ASKED = table("""
    How can I learn to {s}? | What is the best way to learn to {s}? | How do I teach myself to {s}?
    How long does it take to learn to {s}? | How many months until I can {s}?
    Am I too old to {s}? | Is there an age after which one should not {s}?
    Why do so many people {s}? | What makes it so popular to {s}?
    How much does it cost to {s}? | Is it expensive to {s}? | What do people pay to {s}?
    Which is the best book for someone who wants to {s}? | What should I read before I {s}?
    Can it harm my back to {s}? | Is it bad for the spine to {s}?
    What should I see in {c} in two days? | Which sights of {c} can one visit in a weekend?
    Is {c} a safe place to live? | How dangerous is it to live in {c}? | Is there much crime in {c}?
    How is the weather in {c} in May? | How warm does it get in {c} in spring?
    Where can I eat well in {c}? | Which are the best restaurants in {c}?
    How hard is it to find a job in {c}? | What are the chances of getting work in {c}?
    How high are rents in {c}? | What does a flat in {c} cost a month?
    How do I get from {c} to {d}? | What is the best way to reach {d} from {c}?
    Is {c} bigger than {d}? | Is {d} smaller than {c}? | Does {c} have more people than {d}?
    Should I move from {c} to {d}? | Is it a good idea to leave {c} for {d}?
    Is life in {c} cheaper than in {d}? | Does one pay more in {d} than in {c}?""")
SKILLS = cells("""
    play the violin | speak Polish | bake bread | write a novel | swim | repair a bicycle | fly a plane
    play chess | keep bees | draw portraits | sing opera | ride a horse | climb mountains | surf
    grow tomatoes | build a boat | make cheese | read Arabic | juggle | skate | brew beer | knit
    play tennis | do magic tricks""")
OPENINGS = ["", "", "", "I am curious. ", "Please help me. ", "No jokes, please. ", "I keep wondering: "]


def qnli(rng: Random, label: int) -> tuple[str, ...]:
    """The sentence says what is asked, or says other things, or says it of another building."""
    name = f"the {rng.choice(SURNAMES)} {rng.choice(BUILDINGS)}"
    asked, *told = rng.sample(FACTS, rng.choice([2, 3, 4]))
    stranger = label and rng.random() < 0.4
    if stranger or not label:
        told[0] = asked
    rng.shuffle(told)
    facts = [fact[0].format(**values(rng)) for fact in told]
    e = f"the {rng.choice(SURNAMES)} {other(rng, BUILDINGS, name.split()[-1])}" if stranger else name
    text = {1: "{e} {0}", 2: "{e}, which {0}, {1}", 3: "{e}, which {0}, {1} and {2}"}[len(facts)]
    return rng.choice(asked[1:]).format(e=name), sentence(text.format(*facts, e=e))


def values(rng: Random) -> dict[str, str]:
    """Something for each slot of a fact."""
    return {
        "year": str(rng.randint(1780, 2019)),
        "person": f"{rng.choice(WOMEN + MEN)} {rng.choice(SURNAMES)}",
        "city": rng.choice(CITIES),
        "n": str(rng.randint(2, 99)),
        "part": rng.choice(PARTS),
        "stuff": rng.choice(STUFF),
    }


def qqp(rng: Random, label: int) -> tuple[str, ...]:
    """The same question twice, or of something else, or something else of the same."""
    asks = rng.choice(ASKED)
    slots = {"s": rng.choice(SKILLS), "c": (c := rng.choice(CITIES)), "d": other(rng, CITIES, c)}
    slot = "d" if "{d}" in asks[0] else "c" if "{c}" in asks[0] else "s"
    first, second = rng.sample(asks, 2)
    changed = dict(slots)
    if not label and rng.random() < 0.5:
        second = rng.choice(other(rng, [row for row in ASKED if f"{{{slot}}}" in row[0]], asks))
    elif not label and slot == "d":
        changed = slots | {"c": slots["d"], "d": slots["c"]}
    elif not label:
        changed[slot] = other(rng, SKILLS if slot == "s" else CITIES, slots[slot])
    return rng.choice(OPENINGS) + first.format(**slots), second.format(**changed)
