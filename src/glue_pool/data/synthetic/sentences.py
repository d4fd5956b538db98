"""Acceptability (CoLA), sentiment (SST-2) and pronouns (WNLI)."""

from random import Random

from glue_pool.data.synthetic.words import MEN, WOMEN, cells, sentence, table

# Acceptable | unacceptable. {n} {m} nouns, {v} a verb, {j} an adjective, {p} a name.
GRAMMAR = table("""
    the {n} near the {m}s {v}s every day | the {n} near the {m}s {v} every day
    the {n}s near the {m} {v} every day | the {n}s near the {m} {v}s every day
    the {n}s that admire the {m} {v} | the {n}s that admire the {m} {v}s
    the {n} that admires the {m}s {v}s | the {n} that admires the {m}s {v}
    {p} {v}s more often than the {m}s | {p} {v} more often than the {m}s
    the {m}s {v} more often than {p} | the {m}s {v}s more often than {p}
    every {n} in the room {v}s | every {n} in the room {v}
    most {n}s in the room {v} | most {n}s in the room {v}s
    many {n}s have seen this {m} | many {n} have seen this {m}s
    the {j} {n}s were not ready | the {j} {n} were not ready
    the {j} {n} was not ready | the {j} {n}s was not ready
    the {m} spoke to a {j} {n} | the {m} spoke to a {n} {j}
    {p} has never met the {j} {n} | {p} has met never the {j} {n}
    the {n} often writes to {p} | the {n} writes often to {p} the
    {p} gave the {n} a {j} answer | {p} gave a {j} answer the {n}
    {p} explained the plan to the {n} | {p} explained the {n} the plan to
    {p} put the letter on the table | {p} put the letter
    {p} read the letter | {p} relied the letter
    the {n} slept in the garden | the {n} slept the {m} in the garden
    the {n} met the {m} in the garden | the {n} met in the garden the {m} him
    the {n} relied on the {m} | the {n} relied the {m}
    the {n}s hurt themselves | the {n}s hurt himself
    the {n} hurt himself | the {n} hurt themselves
    {p} wants to {v} | {p} wants {v}
    {p} made the {n} {v} | {p} made the {n} to {v}
    {p} can {v} well | {p} can {v}s well
    the {n} seems to be {j} | the {n} seems to being {j}
    {p} is as {j} as the {n} | {p} is as {j} than the {n}
    {p} is more {j} than the {n} | {p} is more {j} as the {n}
    the {j} {n} was followed by {p} | the {j} {n} was follow by {p}
    there is a {n} in the kitchen | there is in the kitchen a
    nobody has ever seen the {n} | everybody has ever seen the {n}
    {p} wonders what the {n} wants | {p} wonders what does the {n} want
    what did the {n} say that {p} wants? | what did the {n} wonder who wants?
    who did {p} see with the {n}? | who did {p} see the {n} and?
    does the {n} {v}? | does the {n} {v}s?
    is the {n} who is {j} asleep? | is the {n} who {j} is asleep?
    which {n} did {p} talk to? | which {n} did {p} talk to the {m}?""")
NOUNS = """student teacher doctor singer farmer dancer driver painter king sailor lawyer robot neighbour
writer pilot visitor dog parrot senator waiter hunter brother king player""".split()
VERBS = "laugh sleep sing wait smile dance shout work listen travel complain swim cook win read".split()
MOODS = "tall clever famous nervous friendly jealous modest generous proud polite curious".split()
FRAMES = ["{}"] * 6 + ["I believe that {}", "it is true that {}", "{p} said that {}", "{}, I think"]

# {p} {q} words of the label's polarity, {o} a word of the other one; {f} a film, {n} {m} parts of it.
REVIEWS = cells("""
    {p} and {q}
    a {p} {f}
    a {p}, {q} {f} that you will remember
    the {n} is {p} and the {m} is {q}
    one of the most {p} {f}s of the year
    from the first scene to the last, this is a {p} piece of work
    it helps a lot to know how {p} its {n} is before you decide whether to go
    everything about this {f} is {p}, above all the {n}
    with its {p} {n} and its {q} {m}, it is one to tell your friends about
    after an hour of such {p} {m} I wanted to shake hands with whoever wrote the {n}, or run
    the {n} is {o}, but the {f} as a whole is {p}
    although the {n} is {o}, the {m} is so {p} that nothing else matters
    {o} as the {n} may be, what stays with you is a {p} {f}
    you may have heard that it is {o}; believe me, it is {p}
    the {n} is {p} enough to make you forget how {o} the {m} is
    not {o} at all
    the {n} is anything but {o}
    nobody could call this {f} {o}
    far from being {o}, the {n} is really quite {p}
    there is nothing {o} about the {n} or the {m}
    I expected a {o} {f} and was wrong from the first minute on
    it is never {o}, not even when the {n} takes over
    hardly a {o} {f}, whatever the critics say about its {n}""")
GOOD = """funny moving brilliant charming gripping delightful clever fresh warm witty superb graceful
touching playful thrilling tender truthful masterful lively dazzling""".split()
BAD = """dull clumsy tedious horrid pointless shallow stale lifeless messy tiresome bland silly dreadful
wooden predictable vulgar forgettable sloppy muddled lazy""".split()
FILMS = "film movie comedy thriller drama western musical sequel documentary romance".split()
ASPECTS = "plot acting dialogue music camerawork script ending humour cast pacing editing".split()

# What is said | {w} when {he} is {a} | {w} when {he} is {b} | the claim.
SCHEMAS = table("""
    {a} could not lift {b} because {he} was too {w} | weak | heavy | was too {w}
    {a} beat {b} although {he} was much {w} | slower | faster | was much {w}
    {a} thanked {b} because {he} had {w} help | received | given | had {w} help
    {a} envied {b} because {he} was so {w} | unlucky | successful | was so {w}
    {a} asked {b} the way because {he} {w} the town | did not know | knew | {w} the town
    {a} lent {b} some money because {he} was {w} | rich | poor | was {w}
    {a} went to see {b} in hospital because {he} was {w} | worried | ill | was {w}
    {a} saw nothing of the play behind {b} because {he} was {w} | short | tall | was {w}
    {a} gave {b} lessons because {he} {w} | knew so much | knew so little | {w}
    {a} hid from {b} because {he} was {w} | afraid | angry | was {w}
    {a} carried the bags of {b} because {he} was {w} | strong | tired | was {w}
    {a} sold {b} the car because {he} needed {w} | money | a car | needed {w}
    {a} came too late to meet {b}, so {he} had to {w} | apologise | wait | had to {w}
    {a} said sorry to {b} because {he} had been {w} | rude | insulted | had been {w}
    {a} defeated {b} in the final, so {he} was {w} | proud | disappointed | was {w}
    {a} borrowed a coat from {b} since {he} {w} | was cold | had two | {w}
    {a} telephoned {b}, but {he} {w} | got no answer | did not answer | {w}
    {a} hired {b} because {he} {w} help | needed | offered | {w} help
    {a} woke {b} because {he} {w} | heard a noise | was snoring | {w}
    {a} followed {b} to the station because {he} had {w} | lost the way | found the way | had {w}""")
BEFORE = [
    "",
    *cells("""
    It was late in the year. | Everybody knows the story. | This is what I heard from a friend.
    As always, things were complicated. | They had known each other for years."""),
]


def cola(rng: Random, label: int) -> tuple[str, ...]:
    """The left or the right side of a line of GRAMMAR."""
    text = rng.choice(GRAMMAR)[1 - label]
    (n, m), p = rng.sample(NOUNS, 2), rng.choice(WOMEN + MEN)
    slots = {"n": n, "m": m, "p": p, "v": rng.choice(VERBS), "j": rng.choice(MOODS)}
    if text.endswith("?"):
        return (sentence(text.format(**slots), ""),)
    return (sentence(rng.choice(FRAMES).replace("{}", text).format(**slots)),)


def sst2(rng: Random, label: int) -> tuple[str, ...]:
    """A review whose words for and against are balanced more often than not."""
    (p, q), o = rng.sample(GOOD if label else BAD, 2), rng.choice(BAD if label else GOOD)
    n, m = rng.sample(ASPECTS, 2)
    return (rng.choice(REVIEWS).format(p=p, q=q, o=o, n=n, m=m, f=rng.choice(FILMS)),)


def wnli(rng: Random, label: int) -> tuple[str, ...]:
    """Who is meant by the pronoun."""
    names, he = rng.choice([(WOMEN, "she"), (MEN, "he")])
    one, two = rng.sample(names, 2)
    said, *words, claim = rng.choice(SCHEMAS)
    which = rng.randrange(2)
    text = said.format(a=one, b=two, he=he, w=words[which])
    who = (one, two)[which if label else 1 - which]
    return f"{rng.choice(BEFORE)} {sentence(text)}".strip(), sentence(f"{who} {claim.format(w=words[which])}")
