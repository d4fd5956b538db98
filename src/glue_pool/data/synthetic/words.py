"""The vocabulary of the synthetic tasks, and the few functions that put words into sentences."""

import re
from collections.abc import Iterable
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class World(NamedTuple):
    """What can be told of: MNLI's mismatched split has a world of its own."""

    people: list[str]
    groups: list[str]
    places: list[str]
    times: list[str]
    kinds: list[tuple[str, list[str]]]  # a noun, and nouns for kinds of it
    doings: list[tuple[str, str]]  # base form and past tense, with an object


def table(text: str) -> list[tuple[str, ...]]:
    """One tuple a line, its cells parted by `|` or `>`."""
    return [tuple(re.split(r"\s+[|>]\s+", line.strip())) for line in text.strip().splitlines()]


def cells(text: str) -> list[str]:
    """The cells of all lines."""
    return [cell for row in table(text) for cell in row]


def world(text: str) -> World:
    """Read a world from lines `field: items`, `kind noun: nouns` and `do base past: objects`."""
    lines = [line.split(":") for line in text.strip().splitlines()]
    rows = [(key.split(), [item.strip() for item in items.split(",")]) for key, items in lines]

    def of(name: str) -> list[str]:
        return [item for key, items in rows if key[0] == name for item in items]

    doings = [(f"{k[1]} {item}", f"{k[2]} {item}") for k, v in rows if k[0] == "do" for item in v]
    kinds = [(key[1], items) for key, items in rows if key[0] == "kind"]
    return World(of("people"), of("groups"), of("places"), of("times"), kinds, doings)


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def sentence(text: str, end: str = ".") -> str:
    """With single spaces, a capital and a full stop."""
    text = " ".join(text.split())
    return text[0].upper() + text[1:] + end


def other(rng: Random, items: Iterable[T], *taken: T) -> T:
    """One of the items that is not taken."""
    return rng.choice([item for item in items if item not in taken])


WOMEN = """Alice Anna Beatrice Bianca Carla Celia Daniela Dora Edith Elena Farah Fiona Greta Hannah
Ines Julia Karin Laura Maria Nadia Olga Paula Rosa Sofia Tanya Ursula Vera Wanda Yasmin Zoe""".split()
MEN = """Adam Arthur Boris Bruno Carlos Cedric David Dennis Emil Erik Felix Frank George Henry Ivan
Jonas Karl Leo Martin Nils Oscar Peter Robert Stefan Thomas Umar Victor Walter Yusuf""".split()
SURNAMES = """Almeida Baxter Costa Dalton Eriksen Fischer Grant Haddad Ishida Jansen Keller Lopez
Moreau Novak Okafor Petrov Quinn Rossi Schmidt Tanaka Usman Vargas Weiss Young Zeller""".split()
CITIES = """Oslo Lisbon Nairobi Toronto Lima Osaka Warsaw Cairo Dublin Madrid Athens Chicago Boston
Hanoi Naples Geneva Dakar Tallinn Prague Sydney Bogota Leeds Montreal Manila""".split()
LOOKS = "old new small large cheap rare broken green red white wooden heavy".split()
SORTS = "young old local foreign retired tired tall new".split()

TOWN = world("""
    people: the mayor, the baker, the plumber, the dentist, the librarian, the judge, the pilot
    people: the nurse, the gardener, the banker, the painter, the drummer, the lawyer, the teacher
    people: the coach, the cook, the actor, the tailor, the surgeon, the journalist, the landlord
    groups: nurses, students, drivers, teachers, engineers, tourists, farmers, clerks, dancers
    groups: lawyers, players, guests, neighbours, musicians, builders, scientists
    places: in the park, in the hotel, in the office, outside the theatre, near the station
    places: at the airport, at the market, at the harbour, at the museum, at the library
    places: in Oslo, in Lisbon, in Nairobi, in Toronto, in Lima, in Osaka, in Warsaw, in Cairo
    times: on Monday, on Tuesday, on Wednesday, on Friday, on Sunday, last winter, last spring
    times: in March, in June, in October, in 1987, in 1999, in 2006, in 2014, before lunch, at noon
    kind dog: terrier, poodle, spaniel, beagle, collie
    kind bird: parrot, canary, falcon, pigeon, penguin
    kind instrument: violin, cello, flute, trumpet, guitar, piano
    kind vehicle: truck, van, motorcycle, tractor, scooter
    kind flower: rose, tulip, lily, orchid, daisy
    kind tool: hammer, drill, saw, wrench
    kind fruit: pear, mango, peach, melon, banana
    kind garment: coat, jacket, scarf, sweater, skirt
    kind boat: canoe, ferry, yacht, kayak
    kind jewel: ring, necklace, bracelet, brooch
    kind weapon: rifle, pistol, dagger, cannon
    do repair repaired: the roof, the lift, the old bus, the printer
    do sign signed: the contract, the petition, the lease
    do paint painted: the fence, the kitchen, the front door
    do finish finished: the report, the race, the exam
    do visit visited: the gallery, the factory, the new bridge
    do cancel cancelled: the meeting, the trip, the order
    do pay paid: the fine, the rent, the bill
    do clean cleaned: the pool, the garage, the windows
    do watch watched: the film, the parade, the match
    do learn learned: the song, the rules, the dance
    do leave left: the building, the city, the party""")
TOWN.people.extend(WOMEN[::2] + MEN[::2])

REALM = world("""
    people: the king, the queen, the knight, the wizard, the hunter, the miller, the monk, the witch
    people: the princess, the blacksmith, the shepherd, the giant, the pirate, the minstrel
    groups: knights, monks, dwarves, archers, villagers, pirates, servants, hunters, merchants
    places: in the castle, by the river, at the old mill, in the dark forest, at the tavern
    places: on the island, behind the chapel, under the oak, in the cave, at the crossroads
    times: at dawn, at dusk, during the feast, after the battle, before the storm, long ago
    times: on midsummer night, during the siege, at harvest time, on the seventh day
    kind horse: stallion, mare, pony, foal
    kind blade: sword, sabre, scimitar
    kind treasure: crown, sceptre, goblet, chalice
    kind beast: wolf, bear, lion, boar
    kind tree: birch, willow, chestnut
    kind book: prayerbook, chronicle, diary
    kind ship: galley, frigate, schooner
    do guard guarded: the gate, the bridge, the prisoners
    do cross crossed: the desert, the mountains, the moat
    do break broke: the spell, the oath, the seal
    do find found: the treasure, the secret door, the map
    do burn burned: the barn, the scrolls, the harvest
    do praise praised: the duke, the feast, the poem""")
REALM.people.extend(WOMEN[1::2] + MEN[1::2])
