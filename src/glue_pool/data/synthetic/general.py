"""Rows for any task: what is said of things, while others are denied, replaced, or (in pairs) named by someone else.

A label is some nouns. One of another label is in most texts, so the words alone do not tell the label. A score is the
sum of verdicts on a film, which negation turns round.
"""

from random import Random

from glue_pool.data.synthetic.sentences import ASPECTS, BAD, GOOD
from glue_pool.data.synthetic.words import MEN, TOWN, WOMEN, cells, sentence, table

# Said of a thing | denied.
CLAIMS = table("""
    they sell the {x} | they do not sell the {x}
    the {x} was found | the {x} was not found
    we kept the {x} | we did not keep the {x}
    everybody likes the {x} | nobody likes the {x}
    the {x} is still there | the {x} is no longer there
    you can rely on the {x} | you cannot rely on the {x}
    the {x} came with the order | the order came without the {x}
    somebody bought the {x} | nobody bought the {x}
    it is about the {x} | it is not about the {x}
    the {x} has been paid for | the {x} has never been paid for""")
# What there is, {x}, and what there is not, {o}.
REPLACED = cells("""
    the {x} replaced the {o} | the {o} was replaced by the {x} | they sell the {x} instead of the {o}
    instead of the {o} they sell the {x} | of the {x} and the {o} only the first is left
    of the {o} and the {x} only the second is left | what looked like the {o} was the {x}
    the {x} looked like the {o} | they asked for the {o} and got the {x} | they got the {x} and had asked for the {o}
    rather than the {x} it was the {o} that we lost | rather than the {o} it was the {x} that we kept""")
# A line for two points, one for one point, one for none: of {n}, with {p} a good word and {q} a bad one.
VERDICTS = table("""
    the {n} is very {p} | the {n} seems very {p} | everybody calls the {n} very {p} | nobody calls the {n} very {q}
    the {n} is neither {p} nor {q} | the {n} is sometimes very {p} and sometimes very {q}
    the {n} is very {q} | the {n} seems very {q} | everybody calls the {n} very {q} | nobody calls the {n} very {p}""")
VERDICTS_A_ROW = 3
QUESTIONS = cells("What does {p} say? | Only what {p} says counts. | According to {p}. | Ask {p}. | {p} is right.")
THINGS = """abbey acorn album alley almond anchor ankle antler apron arch arrow atlas attic axe badge bagel bakery
balcony bamboo banner barn barrel basket beach beacon beard bell belt bench berry bicycle blanket blossom bonnet boot
bottle bowl branch bread brick broom brush bucket buckle button cabin cable cactus cake camel camera candle canvas
carpet castle cave ceiling chain chair chalk chapel cheese cherry chest chimney cigar circus clay cliff clock cloud
coal coin comb compass copper cork cotton cradle crane crayon curtain cushion dam desk diamond dice dome donkey door
drawer drum eagle earring elbow engine envelope eraser falcon farm feather ferry fiddle field flag flame flask flour
fork forest fossil fountain frame fridge frog fur garage garlic gate ginger glacier glass glove goat gold goose grape
grass guitar gum hail ham hammock harbour harp hat hay hedge helmet herb hinge hive honey hook horn hotel igloo ink
iron island ivory jar jelly jewel jungle kennel kettle key kite kitten knot ladder lagoon lake lamp lantern lawn leaf
leather lemon lens letter lid lime lizard lobster lock log magnet map marble market mask mattress meadow medal mill
mirror mitten mole moon moss moth motor mud mushroom nail napkin needle nest net nut oak oar onion orchard organ oven
owl paint palace panda paper parcel pasta path peanut pearl pebble pen pencil pepper perfume petal piano pickle pier
pillow pine pipe plane plate plum pocket pond pony porch potato pouch puddle pump puppet quilt rabbit radio raft rail
raincoat ramp razor ribbon rice river robe rocket roof rope rug sail salt sand sandal sauce scale seed shell shield
ship shoe shovel silk sink sled soap sock sofa soup spade spider spoon spring stable stamp statue stool stove straw
sugar suitcase swan sword table tea temple tent thread throne thumb tile toast tomb torch towel tower toy trailer train
tray tree tunnel turtle tyre vase veil vest village vinegar wagon wallet wasp watch wheel whistle window wing wire wolf
wool yarn zebra""".split()


def words_of(labels: int) -> list[list[str]]:
    """Return each label's nouns: 16 of its own, or fewer that many labels share. The last list is no label's."""
    each = min(16, max(4, len(THINGS) // (labels + 1)))
    rng, deck = Random("words of labels"), list[str]()
    lists = []
    for _ in range(labels + 1):
        if len(deck) < each:
            deck = rng.sample(THINGS, len(THINGS))
        lists.append([deck.pop() for _ in range(each)])
    return lists


def of_labels(rng: Random, chosen: tuple[int, ...], words: list[list[str]], texts: int) -> tuple[str, ...]:
    """Write a row with the labels chosen: one, or in a multi-label task any number of them."""
    others = [label for label in range(len(words) - 1) if label not in chosen] or [len(words) - 1]
    own = [(label, 1 if rng.random() < 0.6 else 2) for label in chosen or [len(words) - 1]]
    there = [noun for label, nouns in own for noun in rng.sample(words[label], nouns)]
    decoys = rng.sample(others, min(len(others), rng.choices([0, 1, 2], [30, 50, 20])[0]))
    absent = [rng.choice([noun for noun in words[label] if noun not in there] or words[-1]) for label in decoys]
    if texts == 1:
        return (_told(rng, _claims(rng, there, absent)),)
    own_absent = [rng.choice(words[rng.choice(others)])] if rng.random() < 0.4 else []
    return _quoted(rng, _claims(rng, there, own_absent), _claims(rng, absent, []))


def of_score(rng: Random, points: int, texts: int) -> tuple[str, ...]:
    """Write a row of so many points, from none to twice `VERDICTS_A_ROW`."""
    said = _verdicts(rng, points)
    if texts == 1:
        return (_told(rng, said),)
    return _quoted(rng, said, _verdicts(rng, rng.randint(0, 2 * VERDICTS_A_ROW)))


def _claims(rng: Random, there: list[str], absent: list[str]) -> list[str]:
    """Say of some nouns that they are there and of others that they are not, of some two at once."""
    left, claims = list(there), []
    for noun in absent:
        if left and rng.random() < 0.5:
            claims.append(rng.choice(REPLACED).format(x=left.pop(), o=noun))
        else:
            claims.append(_claim(rng, noun, denied=True))
    return claims + [_claim(rng, noun, denied=False) for noun in left]


def _claim(rng: Random, noun: str, *, denied: bool) -> str:
    where = rng.choice(rng.choice([TOWN.places, TOWN.times])) if rng.random() < 0.5 else ""
    said, untrue = (cell.format(x=noun) for cell in rng.choice(CLAIMS)[:: -1 if denied else 1])
    return f"it is not true that {untrue} {where}" if rng.random() < 0.2 else f"{said} {where}"


def _verdicts(rng: Random, points: int) -> list[str]:
    given = [0] * VERDICTS_A_ROW
    while sum(given) < points:
        given[rng.choice([i for i, one in enumerate(given) if one < 2])] += 1
    aspects = rng.sample(ASPECTS, VERDICTS_A_ROW)
    return [
        rng.choice(VERDICTS[2 - one]).format(n=aspect, p=rng.choice(GOOD), q=rng.choice(BAD))
        for one, aspect in zip(given, aspects, strict=True)
    ]


def _told(rng: Random, clauses: list[str]) -> str:
    return " ".join(sentence(clause) for clause in rng.sample(clauses, len(clauses)))


def _quoted(rng: Random, own: list[str], others: list[str]) -> tuple[str, str]:
    """What two people say, and which of them counts."""
    who, other = rng.sample(WOMEN + MEN, 2)
    by_both = [f"{who} says that {clause}" for clause in own] + [f"{other} says that {clause}" for clause in others]
    return _told(rng, by_both), rng.choice(QUESTIONS).format(p=who)
