"""Events told in several ways: paraphrase (MRPC) and graded similarity (STS-B)."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from glue_pool.data.synthetic.words import LOOKS, TOWN, World, a, cells, other, sentence, table

# A line tells one event in several ways; exchanging {a} and {b} makes it another event.
DEALS = table("""
    {a} sold {x} to {b} | {b} bought {x} from {a} | {x} was sold to {b} by {a} | {a} sold {b} {x}
    {a} lent {x} to {b} | {b} borrowed {x} from {a} | {x} was lent to {b} by {a}
    {a} gave {x} to {b} | {b} received {x} from {a} | {x} was given to {b} by {a}
    {a} sent {x} to {b} | {b} was sent {x} by {a} | {x} was sent to {b} by {a} | {a} sent {b} {x}
    {a} stole {x} from {b} | {b} was robbed of {x} by {a} | {x} was stolen from {b} by {a}
    {a} won {x} from {b} in a bet | {b} lost {x} to {a} in a bet
    {a} returned {x} to {b} | {b} got {x} back from {a} | {x} was returned to {b} by {a}
    {a} promised {x} to {b} | {b} was promised {x} by {a} | {a} promised {b} {x}""")
MEETINGS = table("""
    {a} beat {b} at chess | {b} lost to {a} at chess | {b} was beaten by {a} at chess
    {a} hired {b} as a guide | {b} was hired by {a} as a guide | {b} became a guide for {a}
    {a} questioned {b} | {b} was questioned by {a} | {b} answered questions from {a}
    {a} taught {b} to swim | {b} learned to swim from {a} | {b} was taught to swim by {a}
    {a} invited {b} to dinner | {b} was invited to dinner by {a} | {b} was asked to dinner by {a}
    {a} saved {b} from drowning | {b} was saved from drowning by {a}
    {a} followed {b} | {b} was followed by {a} | {b} had {a} following behind
    {a} insulted {b} | {b} was insulted by {a} | {b} suffered insults from {a}""")
ORDERS = table("""
    {a} is older than {b} | {b} is younger than {a}
    {a} is taller than {b} | {b} is shorter than {a}
    {a} is richer than {b} | {b} is poorer than {a}
    {a} arrived before {b} | {b} arrived after {a}
    {a} earns more than {b} | {b} earns less than {a}
    {a} runs faster than {b} | {b} runs slower than {a}""")
SOURCES = cells("""
    according to the police | as several newspapers report | a spokesman said | witnesses recalled
    a court has heard | to the surprise of many | as far as anyone knows | it emerged later""")


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

    def changed(self, rng: Random, world: World, aspect: str) -> "Event":
        """The same with another thing, place or time."""
        if aspect == "x":
            return self._replace(x=other(rng, [thing(rng, world) for _ in range(20)], self.x))
        now = getattr(self, aspect)
        return self._replace(**{aspect: other(rng, getattr(world, aspect + "s"), now)})

    def tell(self, rng: Random, place: bool = True, time: bool = True, tail: str = "") -> str:
        text = rng.choice(self.told).format(a=self.a, b=self.b, x=self.x)
        where, when = self.place if place else "", self.time if time else ""
        first = when and rng.random() < 0.4
        return sentence(f"{when}, {text} {where}{tail}" if first else f"{text} {where} {when}{tail}")


def thing(rng: Random, world: World) -> str:
    """A noun with its article, and sometimes with an adjective."""
    noun = rng.choice(rng.choice(world.kinds)[1])
    return a(f"{rng.choice(LOOKS)} {noun}" if rng.random() < 0.4 else noun)


def event(rng: Random, world: World, cast: Sequence[str], frames: list[tuple[str, ...]]) -> Event:
    """Something that happens between the first two of the cast."""
    place, time = rng.choice(world.places), rng.choice(world.times)
    return Event(rng.choice(frames), cast[0], cast[1], thing(rng, world), place, time)


def mrpc(rng: Random, label: int) -> tuple[str, ...]:
    """The same event twice, or with the roles swapped, or with one aspect changed."""
    first = second = event(rng, TOWN, rng.sample(TOWN.people, 2), DEALS)
    if not label and rng.random() < 0.5:
        second = first.swapped()
    elif not label:
        second = first.changed(rng, TOWN, rng.choice(["x", "place", "time"]))
    tails = [f", {rng.choice(SOURCES)}" if rng.random() < 0.6 else "" for _ in "12"]
    return first.tell(rng, tail=tails[0]), second.tell(rng, tail=tails[1])


def stsb(rng: Random, level: int) -> tuple[str, ...]:
    """Five aspects, each worth a point (two levels) if shared; things of one kind, half a point."""
    told, cast = rng.sample(DEALS, 2), rng.sample(TOWN.people, 4)
    places, times = rng.sample(TOWN.places, 2), rng.sample(TOWN.times, 2)
    (_, nouns), (_, strange) = rng.sample(TOWN.kinds, 2)
    x, near = rng.sample(nouns, 2)
    one = Event(told[0], cast[0], cast[1], a(x), places[0], times[0])
    two = Event(told[1], cast[2], cast[3], a(rng.choice(strange)), places[1], times[1])
    aspects = [["told"], ["a", "b"], ["place"], ["time"], ["x"]]
    if level % 2:
        two = two._replace(x=a(near))
        aspects.pop()
    for shared in rng.sample(aspects, level // 2):
        two = two._replace(**{name: getattr(one, name) for name in shared})
    return one.tell(rng), two.tell(rng)
