"""The page of a draw in a real browser: what it computes, on phone and desktop, light and dark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.pages.__main__ import DRAW_PATH, STATIC
from gateway.static_pages import load_pages
from tests.browser.chromium import Browser
from tests.browser.test_gateway_pages import assert_readable, evaluate, looks, text_of, wait_for
from tests.integration.draw_verifier.public_draw import DROP, ENTRY_ID, DrawServer, PublicDraw, entry_of, serving

ENTRIES = 3000
# Paste each, submit, and note what the page shows.
PASTE_ALL = """(async (pasted) => {
  const at = (id) => document.getElementById(id), shown = [];
  for (const [text, user] of pasted) {
    const changed = new Promise((done) => new MutationObserver((_, watch) => { watch.disconnect(); done(); })
      .observe(at("result"), { subtree: true, childList: true, attributes: true }));
    at("pasted").value = text;
    at("user").value = user;
    at("form").requestSubmit();
    await changed;
    shown.push([at("leaf").textContent, at("key").textContent, at("result").dataset.verdict]);
  }
  return JSON.stringify(shown);
})"""


@pytest.fixture(scope="module")
def draw() -> PublicDraw:
    return PublicDraw(ENTRIES)


@pytest.fixture
def server(draw: PublicDraw) -> Iterator[DrawServer]:
    with serving() as server:
        server.draw = draw.copy()
        server.page = next(page for page in load_pages(STATIC) if page.path == DRAW_PATH)
        yield server


def shown(browser: Browser, server: DrawServer) -> None:
    browser.open(server.url)
    wait_for(browser, "document.body.dataset.state", lambda state: state not in {"waiting", "lost"})


def paste(browser: Browser, *pasted: tuple[str, str]) -> list[tuple[str, str, str]]:
    answer = evaluate(browser, f"{PASTE_ALL}({json.dumps(pasted)})")
    return [(leaf, key, verdict) for leaf, key, verdict in json.loads(answer)]


def verdict_of(draw: PublicDraw, leaf: str) -> str:
    return "offered" if draw.keys[leaf] in set(sorted(draw.keys.values())[: draw.document["offered_rank"]]) else "later"


def test_what_it_computes_is_what_the_formulas_say(browser: Browser, server: DrawServer, draw: PublicDraw) -> None:
    shown(browser, server)
    entries = [entry_of(number) for number in range(100)]
    expected = [
        (entry["leaf_hash"], draw.keys[entry["leaf_hash"]], verdict_of(draw, entry["leaf_hash"])) for entry in entries
    ]
    assert {verdict for _, _, verdict in expected} == {"offered", "later"}
    assert paste(browser, *((entry["salt"], entry["user_id"]) for entry in entries)) == expected


def test_it_takes_an_entry_in_every_form(browser: Browser, server: DrawServer, draw: PublicDraw) -> None:
    shown(browser, server)
    entry = entry_of(0)
    answer = {"status": "ENTERED", "entry": {"id": ENTRY_ID, **entry}, "promise": "a.b.c"}
    leaf = entry["leaf_hash"]
    for text, user in (
        (json.dumps(answer), ""),
        (json.dumps(answer, indent=2), entry["user_id"]),
        (json.dumps({"salt": entry["salt"]}), entry["user_id"]),
        (leaf, ""),
        (f"  {leaf.upper()}\n", ""),
        (ENTRY_ID, ""),
    ):
        assert paste(browser, (text, user)) == [(leaf, draw.keys[leaf], verdict_of(draw, leaf))], text


def test_what_is_no_entry_is_refused(browser: Browser, server: DrawServer) -> None:
    shown(browser, server)
    for text in ("hello", "{}", "[]", "null", '{"entry": 7}', "ab" * 31, "f" * 8, "{" * 5000):
        assert paste(browser, (text, "")) == [("", "", "refused")], text


def test_a_leaf_hash_of_somebody_else_is_noticed(browser: Browser, server: DrawServer) -> None:
    shown(browser, server)
    assert paste(browser, (json.dumps(entry_of(0)), "user-1")) == [("", "", "refused")]
    assert "user id" in evaluate(browser, text_of("explanation"))


def test_what_is_pasted_goes_nowhere(browser: Browser, server: DrawServer) -> None:
    shown(browser, server)
    paste(browser, (entry_of(0)["salt"], "user-0"))
    fetched = json.loads(
        evaluate(browser, "JSON.stringify(performance.getEntriesByType('resource').map((entry) => entry.name))")
    )
    assert set(fetched) == {server.url}
    assert browser.problems == []


def test_each_state_has_its_words(browser: Browser, server: DrawServer, draw: PublicDraw) -> None:
    verdicts = {
        "ENTERING": "waiting",
        "COMMITTED": "waiting",
        "DRAWN": "later",
        "DONE": "refused",
        "CANCELLED": "refused",
    }
    undrawn: dict[str, Any] = {"seed": "", "cutoff": "", "signature": "", "offered_rank": 0}
    last = next(leaf for leaf, key in draw.keys.items() if key == max(draw.keys.values()))
    for state, verdict in verdicts.items():
        server.draw = draw.copy()
        server.draw.document |= {"state": state, "cancel_reason": "rain"} | (undrawn if verdict == "waiting" else {})
        shown(browser, server)
        [(_, key, said)] = paste(browser, (last, ""))
        assert (bool(key), said) == (verdict != "waiting", verdict), state
        assert ("rain" in browser.text()) == (state == "CANCELLED"), state


def test_it_can_be_read_everywhere(browser: Browser, server: DrawServer, keep_picture: Callable[[str], None]) -> None:
    shown(browser, server)
    paste(browser, (entry_of(0)["leaf_hash"], ""))
    for look in looks(browser):
        keep_picture(f"draw-{look}")
        assert_readable(browser, look, more_than=40)


def test_a_screen_reader_finds_names(browser: Browser, server: DrawServer) -> None:
    shown(browser, server)
    assert len(browser.nodes("main")) == 1
    assert evaluate(browser, "document.querySelectorAll('h1').length") == 1
    assert browser.names("textbox") == ["Answer, salt, leaf hash or entry id", "Your user id (needed with a salt)"]
    assert browser.names("heading")[0].lower() == f"draw of {DROP.replace('/', ' ')}"


def test_it_says_that_there_is_no_draw(browser: Browser, server: DrawServer) -> None:
    server.draw = None
    browser.open(server.url)
    wait_for(browser, text_of("state"), lambda text: text == "No such draw")
    assert evaluate(browser, "document.getElementById('mine').hidden")
