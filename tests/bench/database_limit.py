"""The database's own limit: the mint's claim statement under pgbench, nothing else in the way."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from services.mint.statements import QUERIES
from stack.local import Stack
from tests.bench import sql, tools
from tests.bench.background import system_environment

# Receipts in one transaction, and how many such transactions each client makes: a second or two.
TRANSACTIONS = {1: 1_000, 16: 250, 64: 80, 256: 24}
CLIENTS = 4
LIMIT_S = 120
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)

# The parameters of `mint_receipts`; PL/pgSQL keeps its plan as a prepared statement does.
CLAIM = """
CREATE OR REPLACE FUNCTION bench_claim(
  integer, bytea[], text[], text[], text[], text[], text[], text[], text[], integer, bigint, boolean, integer
) RETURNS bigint LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $function$
DECLARE row record; minted bigint := 0;
BEGIN
  FOR row IN {claim} LOOP minted := minted + 1; END LOOP;
  RETURN minted;
END $function$
"""

# Random receipts, sorted as the mint cycle sorts them.
TRANSACTION = """
CREATE OR REPLACE FUNCTION bench_mint(the_drop integer, receipts integer, writer integer)
RETURNS bigint LANGUAGE plpgsql AS $function$
DECLARE
  keys bytea[] := ARRAY(SELECT sha256(uuid_send(gen_random_uuid())) FROM generate_series(1, receipts) ORDER BY 1);
  users text[] := array_fill('bench-user'::text, ARRAY[receipts]);
  kinds text[] := array_fill('opaque'::text, ARRAY[receipts]);
BEGIN
  RETURN bench_claim(the_drop, keys, users, '{}', '{}', '{}', '{}', kinds, '{}', receipts, -1, false, writer);
END $function$
"""


@dataclass(frozen=True)
class DatabaseLimit:
    """How many mints a second Postgres alone makes in transactions of `batch` receipts."""

    batch: int
    mints_per_s: float


def receipts_needed() -> int:
    """How many slots one `measure` claims."""
    return sum(CLIENTS * batch * transactions for batch, transactions in TRANSACTIONS.items())


def measure(stack: Stack, tier: str) -> list[DatabaseLimit]:
    """Run pgbench for each size of batch on the suite's own schema. Raises MissingTool, RuntimeError."""
    url = stack.database_url
    drop_id = sql.value(url, "SELECT id FROM drops WHERE tier = $1", tier)
    return [
        DatabaseLimit(batch, batch * mint_by_pgbench(url, drop_id, batch, transactions))
        for batch, transactions in TRANSACTIONS.items()
    ]


def mint_by_pgbench(url: str, drop_id: int, batch: int, transactions: int, limit_s: float = LIMIT_S) -> float:
    """Mint `batch` receipts in each of `transactions` of each client; the transactions a second.

    Raises MissingTool, RuntimeError.
    """
    sql.fetch(url, CLAIM.format(claim=QUERIES["mint_receipts"]))
    sql.fetch(url, TRANSACTION)
    parts = urlsplit(url)
    folder = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(f"SELECT bench_mint({drop_id}, {batch}, :client_id % 16);\n")
        script.flush()
        finished = subprocess.run(
            [
                tools.pgbench(), "--no-vacuum", "--protocol", "prepared",
                "--client", str(CLIENTS), "--jobs", "1", "--transactions", str(transactions),
                "--file", script.name, "--host", folder, "--username", parts.username or "", parts.path.lstrip("/"),
            ],
            env=_environment(parts.password),
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )  # fmt: skip
    found = _TPS.search(finished.stdout)
    if finished.returncode != 0 or found is None:
        raise RuntimeError(f"pgbench failed: {finished.stderr.strip() or finished.stdout.strip()}")
    return float(found.group(1))


def _environment(password: str | None) -> dict[str, str]:
    library = Path(tools.pgbench()).parent.parent / "lib"
    libraries = {"LD_LIBRARY_PATH": str(library)} if library.is_dir() else {}
    return {**system_environment(), **libraries, **({"PGPASSWORD": password} if password else {})}
