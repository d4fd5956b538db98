"""The words and sentence frames that the synthetic tasks are made of: data only.

A line is a group of things that belong together; `|` parts its members, `>` what follows from what.
Slots: {a} {b} people, {x} a thing, {k} the kind of thing it is, {he} {him} a pronoun.
"""

from dataclasses import dataclass


def table(text: str, bar: str = "|") -> list[tuple[str, ...]]:
    """One tuple of stripped cells a line."""
    return [tuple(cell.strip() for cell in line.split(bar)) for line in text.strip().splitlines()]


def cells(text: str) -> list[str]:
    """The cells of all lines, in one list."""
    return [cell for row in table(text) for cell in row]


WOMEN = """Anna Beatrice Carla Daniela Edith Farah Greta Hannah Ines Julia Karin Laura Maria Nadia Olga
Paula Rosa Sofia Tanya Ursula Vera Wanda Yasmin Zoe Alice Bianca Celia Dora Elena Fiona""".split()
MEN = """Adam Boris Carlos David Emil Felix George Henry Ivan Jonas Karl Leo Martin Nils Oscar Peter
Quentin Robert Stefan Thomas Umar Victor Walter Yusuf Arthur Bruno Cedric Dennis Erik Frank""".split()
SURNAMES = """Almeida Baxter Costa Dalton Eriksen Fischer Grant Haddad Ishida Jansen Keller Lopez Moreau
Novak Okafor Petrov Quinn Rossi Schmidt Tanaka Usman Vargas Weiss Young Zeller Brandt""".split()


@dataclass(frozen=True)
class World:
    """A vocabulary to tell of: MNLI's mismatched split has one of its own."""

    people: list[str]
    groups: list[str]  # plural nouns
    places: list[str]
    times: list[str]
    kinds: list[tuple[str, list[str]]]  # a noun and nouns that are kinds of it
    doings: list[tuple[str, str, str]]  # base form, past tense, object


def kinds(text: str) -> list[tuple[str, list[str]]]:
    return [(kind, names.split()) for kind, names in table(text, ":")]


def doings(text: str) -> list[tuple[str, str, str]]:
    rows = table(text, ":")
    return [(*verb.split(), thing.strip()) for verb, things in rows for thing in things.split(",")]  # type: ignore[misc]


TOWN = World(
    people=WOMEN[:20] + MEN[:20] + cells("""
        the mayor | the baker | the plumber | the dentist | the librarian | the judge | the pilot | the nurse
        the gardener | the banker | the painter | the drummer | the lawyer | the teacher | the coach | the cook
        the actor | the tailor | the surgeon | the journalist | the landlord | the waiter | the singer | the tourist"""),
    groups="nurses students drivers teachers engineers tourists farmers clerks dancers lawyers players guests".split(),
    places=cells("""
        in Oslo | in Lisbon | in Nairobi | in Toronto | in Lima | in Osaka | in Warsaw | in Cairo | in Dublin
        in Madrid | in Athens | in Chicago | at the airport | at the market | near the station | in the park
        at the harbour | at the museum | in the hotel | outside the theatre | at the library | in the office"""),
    times=cells("""
        on Monday | on Tuesday | on Wednesday | on Friday | on Sunday | last winter | last spring | in March | in June
        in October | in 1987 | in 1999 | in 2006 | in 2014 | before lunch | after midnight | at noon"""),
    kinds=kinds("""
        dog: terrier poodle spaniel beagle collie
        bird: parrot canary falcon pigeon
        instrument: violin cello flute trumpet guitar piano
        vehicle: truck van motorcycle tractor scooter
        flower: rose tulip lily orchid daisy
        tool: hammer drill saw wrench
        fruit: pear mango peach melon banana
        garment: coat jacket scarf sweater skirt
        boat: canoe ferry yacht kayak
        jewel: ring necklace bracelet brooch
        weapon: rifle pistol dagger
        piece of furniture: table chair sofa wardrobe"""),
    doings=doings("""
        repair repaired: the roof, the lift, the old bus, the printer
        sign signed: the contract, the petition, the lease
        paint painted: the fence, the kitchen, the front door
        finish finished: the report, the race, the exam
        visit visited: the gallery, the factory, the new bridge
        cancel cancelled: the meeting, the trip, the order
        pay paid: the fine, the rent, the bill
        clean cleaned: the pool, the garage, the windows
        watch watched: the film, the parade, the match
        learn learned: the song, the rules, the dance
        leave left: the building, the city, the party
        read read: the letter, the novel, the manual"""),
)  # fmt: skip
REALM = World(
    people=WOMEN[20:] + MEN[20:] + cells("""
        the king | the queen | the knight | the wizard | the hunter | the miller | the monk | the princess
        the blacksmith | the shepherd | the giant | the pirate | the minstrel | the beggar | the witch | the innkeeper"""),
    groups="knights monks dwarves archers villagers pirates servants hunters merchants sailors".split(),
    places=cells("""
        in the castle | by the river | at the old mill | in the dark forest | at the tavern | on the island
        behind the chapel | under the oak | in the cave | at the crossroads | in the tower | near the well"""),
    times=cells("""
        at dawn | at dusk | during the feast | after the battle | before the storm | on midsummer night
        a hundred years ago | during the siege | at harvest time | on the seventh day"""),
    kinds=kinds("""
        horse: stallion mare pony
        blade: sword sabre scimitar
        treasure: crown sceptre goblet chalice
        beast: wolf bear lion boar
        tree: birch willow chestnut
        drink: cider mead brandy
        book: prayerbook chronicle diary
        ship: galley frigate schooner"""),
    doings=doings("""
        guard guarded: the gate, the bridge, the prisoners
        cross crossed: the desert, the mountains, the moat
        break broke: the spell, the oath, the seal
        find found: the treasure, the secret door, the map
        fear feared: the dragon, the ghost, the plague
        burn burned: the barn, the scrolls, the ship
        praise praised: the duke, the feast, the poem"""),
)  # fmt: skip
LOOKS = "old new small large cheap rare broken green red white wooden heavy".split()
SORTS = "young old local foreign retired tired tall new".split()
REMARKS = cells("""
    Several people watched from across the street | Nobody has commented on it so far | It had rained all day
    The news surprised most of the neighbours | A short note about it appeared in the paper | That was not the first time
    Everybody agreed that it was a remarkable story | The details came out only much later | Few people noticed at first
    There was music and a good deal of laughter | It took less than an hour, witnesses said | What followed is well known""")  # fmt: skip

# Each line tells one event in several ways; exchanging {a} and {b} makes it another event.
DEALS = table("""
    {a} sold {x} to {b} | {b} bought {x} from {a} | {x} was sold to {b} by {a} | {a} sold {b} {x}
    {a} lent {x} to {b} | {b} borrowed {x} from {a} | {x} was lent to {b} by {a} | {a} lent {b} {x}
    {a} gave {x} to {b} | {b} received {x} from {a} | {x} was given to {b} by {a} | {a} gave {b} {x}
    {a} sent {x} to {b} | {b} was sent {x} by {a} | {x} was sent to {b} by {a} | {a} sent {b} {x}
    {a} stole {x} from {b} | {b} was robbed of {x} by {a} | {x} was stolen from {b} by {a}
    {a} won {x} from {b} in a bet | {b} lost {x} to {a} in a bet
    {a} returned {x} to {b} | {b} got {x} back from {a} | {x} was returned to {b} by {a}
    {a} promised {x} to {b} | {b} was promised {x} by {a} | {a} promised {b} {x}""")
MEETINGS = table("""
    {a} beat {b} at chess | {b} lost to {a} at chess | {b} was beaten by {a} at chess
    {a} hired {b} as a guide | {b} was hired by {a} as a guide | {b} took a job as a guide with {a}
    {a} questioned {b} | {b} was questioned by {a} | {b} answered questions from {a}
    {a} taught {b} to swim | {b} learned to swim from {a} | {b} was taught to swim by {a}
    {a} invited {b} to dinner | {b} was invited to dinner by {a} | {b} was asked to dinner by {a}
    {a} saved {b} from drowning | {b} was saved from drowning by {a} | {b} owes not drowning to {a}
    {a} followed {b} | {b} was followed by {a} | {b} had {a} following behind
    {a} insulted {b} | {b} was insulted by {a} | {b} suffered insults from {a}""")
ORDERS = table("""
    {a} is older than {b} | {b} is younger than {a}
    {a} is taller than {b} | {b} is shorter than {a}
    {a} is richer than {b} | {b} is poorer than {a}
    {a} arrived before {b} | {b} arrived after {a}
    {a} earns more than {b} | {b} earns less than {a}
    {a} runs faster than {b} | {b} runs slower than {a}
    {a} sings better than {b} | {b} sings worse than {a}""")

# Premise > hypothesis > E(ntailed), N(eutral) or C(ontradicted).
# {g} a group, {s} some of that group, {v} {vd} what is done (base form, past), {w} where.
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
    Some of the {g} {vd} > At least one of the {s} {vd} > N
    Some of the {g} {vd} > Some of the {g} {vd} {w} > N
    None of the {s} {vd} > None of the {g} {vd} > N
    Not one of the {g} {vd} {w} > None of the {g} {vd} > N
    Some of the {s} {vd} > Not all of the {g} {vd} > N
    All of the {g} {vd} > None of the {g} {vd} > C
    Every one of the {g} {vd} > Not all of the {s} {vd} > C
    Some of the {s} {vd} > None of the {g} {vd} > C
    Most of the {g} {vd} > None of the {g} {vd} > C
    None of the {g} {vd} > Some of the {g} {vd} > C
    None of the {g} {vd} > Some of the {s} {vd} {w} > C
    Not one of the {g} {vd} > All of the {g} {vd} > C
    Not one of the {g} {vd} > All of the {s} {vd} > C
    None of the {g} {vd} > At least one of the {s} {vd} > C""", ">")  # fmt: skip
IMPLICATIVES = table(
    """
    {a} managed to {v} > {a} {vd} > E
    {a} remembered to {v} > {a} {vd} > E
    {b} saw that {a} {vd} > {a} {vd} > E
    {b} made {a} {v} > {a} {vd} > E
    {a} failed to {v} > {a} did not {v} > E
    {a} forgot to {v} > {a} did not {v} > E
    {b} kept {a} from trying to {v} > {a} did not {v} > E
    {a} refused to {v} > {a} did not {v} > E
    {a} was planning to {v} > {a} {vd} > N
    {b} asked {a} to {v} > {a} {vd} > N
    {b} believed that {a} {vd} > {a} {vd} > N
    {a} was planning to {v} > {a} did not {v} > N
    {b} asked {a} to {v} > {a} did not {v} > N
    {a} promised to {v} > {a} did not {v} > N
    {a} failed to {v} > {a} {vd} > C
    {a} forgot to {v} > {a} {vd} > C
    {b} kept {a} from trying to {v} > {a} {vd} > C
    {a} refused to {v} > {a} {vd} > C
    {a} managed to {v} > {a} did not {v} > C
    {a} remembered to {v} > {a} did not {v} > C
    {b} saw that {a} {vd} > {a} did not {v} > C
    {b} made {a} {v} > {a} did not {v} > C""",
    ">",
)
KINDS = table(
    """
    {a} {hd} {x} {w} > {a} {hd} {k} {w} > E
    {a} and {b} {hd} {x} {w} > {b} {hd} {k} {w} > E
    Not only {a} {hd} {x} {w} but also {b} > {b} {hd} {k} {w} > E
    {a} did not {h} {k} {w} > {a} did not {h} {x} {w} > E
    Neither {a} nor {b} {hd} {k} {w} > {b} did not {h} {x} {w} > E
    Only {a}, not {b}, {hd} {k} {w} > {b} did not {h} {x} {w} > E
    {a} {hd} {k} {w} > {a} {hd} {x} {w} > N
    {a} and {b} {hd} {k} {w} > {b} {hd} {x} {w} > N
    {a} or {b} {hd} {x} {w} > {b} {hd} {k} {w} > N
    {a} did not {h} {x} {w} > {a} did not {h} {k} {w} > N
    Neither {a} nor {b} {hd} {x} {w} > {b} did not {h} {k} {w} > N
    {a} or {b} {hd} {x} {w} > {b} did not {h} {x} {w} > N
    {a} {hd} {x} {w} > {a} did not {h} {k} {w} > C
    Not only {a} {hd} {x} {w} but also {b} > {b} did not {h} {x} {w} > C
    {a} and {b} {hd} {x} {w} > {b} did not {h} {k} {w} > C
    {a} did not {h} {k} {w} > {a} {hd} {x} {w} > C
    Neither {a} nor {b} {hd} {x} {w} > {b} {hd} {x} {w} > C
    Only {a}, not {b}, {hd} {k} {w} > {b} {hd} {x} {w} > C""",
    ">",
)
HOLDINGS = [
    (b, p)
    for b, p in table("""
    buy | bought
    find | found
    own | owned
    carry | carried
    lose | lost
    mention | mentioned
    want | wanted
    see | saw""")
]
