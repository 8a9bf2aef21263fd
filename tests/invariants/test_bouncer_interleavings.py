"""The bouncer's Lua under every interleaving of a few clients, against a pure model.

A script is atomic, so only the order of scripts can differ. Between them are the steps outside of Redis: a claim in
Postgres, the recount's reading, and the loss of all of Redis' data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from services.mint.bouncer import lua_script

KEY = "{drop:interleaved:2030}"


@dataclass
class World:
    """Postgres as a number, Redis' expected value, and each client's memory."""

    unclaimed: int
    count: int | None
    sold: int = 0
    granted: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)

    def key(self) -> tuple[Any, ...]:
        """Equal for worlds that no program can distinguish."""
        memories = (tuple(sorted(m.items())) for m in (self.granted, self.used, self.read))
        return (self.unclaimed, self.count, self.sold, *memories)


Look = Callable[[World], None]
Step = tuple[str, str, int]  # client, what, how many


def buyer(name: str, wanted: int) -> list[Step]:
    return [(name, "take", wanted), (name, "claim", wanted), (name, "give_back", 0)]


def recounter(name: str) -> list[Step]:
    return [(name, "read", 0), (name, "write", 0)]


def each_reachable(world: World, programs: list[list[Step]], real: Redis, look: Look) -> int:
    """Go through every interleaving of the programs; return how many different worlds there are.

    Interleavings that lead to the same world are followed once from there. Each step is done by
    the real scripts on a key that is what the model says, and looked at afterwards.
    """
    seen: set[tuple[Any, ...]] = set()
    open_ends = [(world, [0] * len(programs))]
    while open_ends:
        before, places = open_ends.pop()
        name = (before.key(), *places)
        if name in seen:
            continue
        seen.add(name)
        for index, program in enumerate(programs):
            if places[index] < len(program):
                after = deepcopy(before)
                real.hold(after.count)
                carry_out(program[places[index]], after, real)
                look(after)
                open_ends.append((after, [*places[:index], places[index] + 1, *places[index + 1 :]]))
    return len(seen)


class Redis:
    """The real scripts."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.take, self.give_back, self.write = (
            client.register_script(lua_script(name)) for name in ("take_slots", "give_back_slots", "write_count")
        )

    def hold(self, count: int | None) -> None:
        """Put the key into this state."""
        if count is None:
            self.client.delete(KEY)
        else:
            self.client.set(KEY, count)

    def count(self) -> int | None:
        value: Any = self.client.get(KEY)
        return None if value is None else int(value)


def carry_out(step: Step, world: World, real: Redis) -> None:
    client, what, number = step
    match what:
        case "take":
            granted: Any = real.take(keys=[KEY], args=[number])
            expected = -1 if world.count is None else min(number, max(world.count, 0))
            assert granted == expected
            if granted > 0:
                assert world.count is not None
                world.count -= granted
            # A missing count limits no client.
            world.granted[client] = granted if granted >= 0 else number
        case "claim":
            world.used[client] = min(world.granted[client], world.unclaimed)
            world.unclaimed -= world.used[client]
            world.sold += world.used[client]
        case "give_back":
            unused = world.granted.pop(client) - world.used.pop(client)
            if unused:
                real.give_back(keys=[KEY], args=[unused])
                world.count = None if world.count is None else world.count + unused
        case "read":
            world.read[client] = world.unclaimed
        case "write":
            before: Any = real.write(keys=[KEY], args=[world.read[client]])
            assert (None if before is None else int(before)) == world.count
            world.count = world.read[client]
        case "forget":
            real.client.delete(KEY)
            world.count = None
    assert real.count() == world.count


@pytest.fixture
def real(redis_url: str) -> Iterator[Redis]:
    with redis.from_url(redis_url) as client:
        yield Redis(client)


PROGRAMS = {
    "two buyers and a recount": [buyer("a", 2), buyer("b", 2), recounter("r")],
    "two buyers and a flush": [buyer("a", 2), buyer("b", 2), [("f", "forget", 0)]],
    "two recounts and a buyer": [buyer("a", 2), recounter("r"), recounter("s")],
    "a flush between recounts": [buyer("a", 3), recounter("r"), [("f", "forget", 0)], recounter("s")],
    "three buyers": [buyer("a", 1), buyer("b", 2), buyer("c", 3)],
}


@pytest.mark.parametrize("stock", [1, 3])
@pytest.mark.parametrize("count", [None, -2, 0, 1, 3, 9])
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_interleaving_matches_the_model(real: Redis, name: str, count: int | None, stock: int) -> None:
    def look(world: World) -> None:
        assert world.unclaimed + world.sold == stock
        # One undisturbed recount puts everything right, after any steps before it.
        last = deepcopy(world)
        for step in recounter("last"):
            carry_out(step, last, real)
        assert real.count() == world.unclaimed

    assert each_reachable(World(unclaimed=stock, count=count), PROGRAMS[name], real, look) > len(PROGRAMS[name])


@pytest.mark.parametrize("stock", [1, 3, 9])
def test_a_true_count_never_grants_more_than_is_there(real: Redis, stock: int) -> None:
    def look(world: World) -> None:
        assert world.count is not None
        assert world.count >= 0
        assert world.count + sum(world.granted.values()) - sum(world.used.values()) == world.unclaimed

    each_reachable(World(unclaimed=stock, count=stock), PROGRAMS["three buyers"], real, look)
