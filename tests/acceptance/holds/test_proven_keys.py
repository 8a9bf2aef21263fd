"""Limits count what a caller has proven: a store account, a verified mailbox. They do not count what is only typed."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from admin.drops import NewDrop, create_drop
from stack.local import Stack
from tests.acceptance.holds.doors import Answer, Ask, grpc_door, json_door
from tests.neighbours.through import running_stack
from tests.signers.app_store import APP_ID, BUNDLE_ID, AppStoreSigner, now_ms
from tests.signers.merchant import ISSUER as SHOP
from tests.signers.merchant import MerchantSigner

ISSUER = "https://id.test"
DOORS = ("json", "grpc")
VICTIM = "vic.tim@gmail.com"
_tiers = itertools.count(1)


@dataclass
class Suite:
    """A suite with the tests' own identity provider, App Store and shop."""

    stack: Stack
    provider: MerchantSigner
    store: AppStoreSigner
    shop: MerchantSigner

    def token(self, user: str, **claims: Any) -> str:
        return self.provider.sign({"iss": ISSUER, "sub": user, "exp": int(time.time()) + 600, **claims})

    def app_transaction(self, account: str, store: AppStoreSigner | None = None) -> str:
        claims = {
            "receiptType": "Production",
            "appAppleId": APP_ID,
            "bundleId": BUNDLE_ID,
            "receiptCreationDate": now_ms(),
            "appTransactionId": account,
        }
        return (store or self.store).sign(claims)


@pytest.fixture(scope="module")
def suite(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder: Path = tmp_path_factory.mktemp("proven")
    provider, store, shop = MerchantSigner(), AppStoreSigner(), MerchantSigner()
    (folder / "shop").mkdir()
    environment = {
        "USER_JWT_ISSUER": ISSUER,
        "USER_JWT_JWKS": str(provider.write_jwks(folder)),
        "RECEIPT_KINDS": "opaque,app-store,merchant",
        "APP_STORE_BUNDLE_ID": BUNDLE_ID,
        "APP_STORE_APP_ID": str(APP_ID),
        "APP_STORE_ROOTS": str(store.write_root(folder)),
        "APP_STORE_PRODUCTS": ",".join(f"app.vyris.{door}=proven-{door}:2031" for door in DOORS),
        "MERCHANT_ISSUER": SHOP,
        "MERCHANT_JWKS": str(shop.write_jwks(folder / "shop")),
    }
    with running_stack(pytestconfig, folder / "state", environment=environment) as running:
        yield Suite(running, provider, store, shop)


@dataclass
class Buyers:
    """Users with tokens, in a drop of their own."""

    suite: Suite
    ask: Ask
    drop: dict[str, str]

    async def take(self, user: str, claims: dict[str, Any] | None = None, **fields: Any) -> Answer:
        token = self.suite.token(user, **(claims or {}))
        return await self.ask("TakeHold", token=token, **self.drop, user_id=user, **fields)

    async def pay(self, user: str, claims: dict[str, Any] | None = None, **fields: Any) -> Answer:
        token = self.suite.token(user, **(claims or {}))
        receipt = f"receipt of {user} in {self.drop['tier']}"
        return await self.ask("Mint", token=token, **self.drop, user_id=user, receipt_data=receipt, **fields)

    async def pay_shop(self, user: str, **claims: Any) -> Answer:
        receipt = self.suite.shop.receipt(user, drop=f"{self.drop['tier']}:{self.drop['year']}", **claims)
        return await self.ask("Mint", token=self.suite.token(user), **self.drop, user_id=user, receipt_data=receipt)

    async def pay_store(self, product: str, account: str | None) -> Answer:
        user = str(uuid4())
        receipt = self.suite.store.transaction(user, productId=product, appTransactionId=account)
        return await self.ask("Mint", token=self.suite.token(user), user_id=user, receipt_data=receipt)


@pytest.fixture(params=DOORS)
async def ask(request: pytest.FixtureRequest, suite: Suite) -> AsyncIterator[Ask]:
    """A way to send requests to this suite."""
    stack = suite.stack
    door = json_door(stack.gateway_url) if request.param == "json" else grpc_door(stack.gateway_grpc_target)
    async with door as opened:
        yield opened


@pytest.fixture
async def buyers(request: pytest.FixtureRequest, suite: Suite, ask: Ask) -> Buyers:
    """In a drop of 100 numbers that counts the kind of key that the test names."""
    drop = {"tier": f"proven-{next(_tiers)}", "year": "2031"}
    await make_drop(suite, NewDrop(drop["tier"], "2031", 100, sale="hold", limits=(request.param,)))
    return Buyers(suite, ask, drop)


async def make_drop(suite: Suite, new: NewDrop) -> None:
    connection = await asyncpg.connect(suite.stack.database_url)
    async with connection.transaction():
        await create_drop(connection, new)
    await connection.close()


def verified_address(address: str) -> dict[str, Any]:
    return {"email": address, "email_verified": True}


def unverified_address(address: str) -> dict[str, Any]:
    return {"email": address, "email_verified": False}


def form(answer: Answer) -> object:
    """An answer without ids, times and numbers."""

    def shape(value: Any) -> Any:
        return {name: shape(part) for name, part in value.items()} if isinstance(value, dict) else type(value)

    return answer.status, answer.error, answer.retry_after, answer.body["status"], shape(answer.body)


@pytest.mark.parametrize("buyers", ["store_account"], indirect=True)
async def test_one_app_transaction_is_one_hold_for_twenty_users(buyers: Buyers) -> None:
    signed = buyers.suite.app_transaction("704289572000000001")
    answers = await asyncio.gather(*(buyers.take(f"u{n}", app_transaction=signed) for n in range(20)))
    assert Counter(answer.error for answer in answers) == {"": 1, "LIMIT_REACHED": 19}
    # A newer AppTransaction of the same account is the same key; another account is another.
    again = await buyers.take("late", app_transaction=buyers.suite.app_transaction("704289572000000001"))
    assert (again.status, again.error) == (409, "LIMIT_REACHED")
    other = await buyers.take("other", app_transaction=buyers.suite.app_transaction("704289572000000002"))
    assert other.status == 201
    forged = buyers.suite.app_transaction("704289572000000003", AppStoreSigner())
    refused = await buyers.take("forger", app_transaction=forged)
    assert (refused.status, refused.error) == (401, "UNAUTHORIZED")
    unproven = await asyncio.gather(*(buyers.take(f"w{n}") for n in range(20)))
    assert [answer.status for answer in unproven] == [201] * 20


@pytest.mark.parametrize("buyers", ["email"], indirect=True)
async def test_a_verified_mailbox_of_the_bearer_token_counts_once(buyers: Buyers) -> None:
    held = await buyers.take("ada", verified_address(VICTIM))
    assert held.status == 201
    replay = await buyers.take("ada", verified_address("another@example.org"))
    assert (replay.status, replay.body["replayed"]) == (201, True)
    for spelling in (VICTIM, "VicTim+night@googlemail.com"):
        refused = await buyers.take("ben", verified_address(spelling))
        assert (refused.status, refused.error) == (409, "LIMIT_REACHED")
    assert (await buyers.pay("ada", verified_address(VICTIM))).status == 201
    # It also counts for the membership, so a receipt without a hold is refused in the same way.
    for answer in (
        await buyers.take("ben", verified_address(VICTIM)),
        await buyers.pay("ben", verified_address(VICTIM)),
    ):
        assert (answer.status, answer.error) == (409, "LIMIT_REACHED")
    assert (await buyers.take("cem", verified_address("cem@example.org"))).status == 201


@pytest.mark.parametrize("buyers", ["email"], indirect=True)
async def test_a_stranger_cannot_use_up_the_victims_address(buyers: Buyers) -> None:
    assert (await buyers.take("stranger", unverified_address(VICTIM))).status == 201
    assert (await buyers.pay("stranger", unverified_address(VICTIM), email=VICTIM)).status == 201
    assert (await buyers.pay("second", email=VICTIM)).status == 201
    assert (await buyers.take("victim", verified_address(VICTIM))).status == 201
    assert (await buyers.pay("victim", verified_address(VICTIM), email=VICTIM)).status == 201


@pytest.mark.parametrize("buyers", ["email"], indirect=True)
async def test_an_unverified_address_gets_the_same_answer_whether_or_not_it_counts(buyers: Buyers) -> None:
    assert (await buyers.take("victim", verified_address(VICTIM))).status == 201
    held = [
        await buyers.take("prying", unverified_address(VICTIM)),
        await buyers.take("innocent", unverified_address("nobody@example.org")),
        await buyers.take("garbled", unverified_address("no address")),
        await buyers.take("silent"),
    ]
    minted = [await buyers.pay("prying", email=VICTIM), await buyers.pay("innocent", email="nobody@example.org")]
    for answers in (held, minted):
        assert len({str(form(answer)) for answer in answers}) == 1, answers
        assert answers[0].status == 201


@pytest.mark.parametrize("buyers", ["store_account"], indirect=True)
async def test_a_purchase_counts_the_store_account_that_made_it(buyers: Buyers, request: pytest.FixtureRequest) -> None:
    door = request.node.callspec.params["ask"]
    await make_drop(buyers.suite, NewDrop(f"proven-{door}", "2031", 9, limits=("store_account",)))
    accounts = ("704289572000000011", "704289572000000011", "704289572000000012", None)
    answers = [await buyers.pay_store(f"app.vyris.{door}", account) for account in accounts]
    assert [answer.error for answer in answers] == ["", "LIMIT_REACHED", "", ""], answers


@pytest.mark.parametrize("buyers", ["payer"], indirect=True)
async def test_a_payer_counts_once_where_no_hold_was_taken_first(buyers: Buyers) -> None:
    answers = [await buyers.pay_shop(f"u{n}", payer="card 1") for n in range(2)]
    assert [answer.error for answer in answers] == ["", "LIMIT_REACHED"]
    assert (await buyers.take("ada")).status == 201
    assert (await buyers.pay_shop("ada", payer="card 1")).status == 201  # a hold is never refused when it is paid for
    assert (await buyers.pay_shop("ben", payer="card 2")).status == 201


@pytest.mark.parametrize("buyers", ["user"], indirect=True)
async def test_a_paid_receipt_that_names_no_hold_of_its_buyer_is_refused_and_recorded(buyers: Buyers) -> None:
    stranger = (await buyers.take("stranger")).body["hold"]["id"]
    refused = [await buyers.pay_shop("ada", hold=name) for name in (stranger, str(uuid4()), "no-uuid")]
    assert {(answer.status, str(answer.body)) for answer in refused} == {(422, str(refused[0].body))}
    assert refused[0].error == "INVALID_RECEIPT"
    connection = await asyncpg.connect(buyers.suite.stack.database_url)
    recorded = await connection.fetch(
        "SELECT l.state::text, l.reason FROM receipt_ledger l JOIN drops d ON d.id = l.drop_id WHERE d.tier = $1",
        buyers.drop["tier"],
    )
    await connection.close()
    assert [tuple(row) for row in recorded] == [("FAILED", "HOLD_UNKNOWN")] * 3
    own = (await buyers.take("ada")).body["hold"]["id"]
    minted = await buyers.pay_shop("ada", hold=own)
    assert (minted.status, minted.body["membership"]["id"]) == (201, own)
