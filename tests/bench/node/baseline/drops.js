// Drops by name, and GET /drops/{tier}/{year} from memory, at most a second old.
import { statement } from "./database.js";
import { notFound } from "./refusals.js";

const STATUS_MS = 1_000;

const findDrop = statement("find_drop", "SELECT id, tier, year, capacity FROM drops WHERE tier = $1 AND year = $2");
const countFree = statement("count_free", `
  SELECT count(*)::int AS remaining FROM slots WHERE drop_id = $1 AND membership_id IS NULL`);

export function openDrops(pool) {
  const drops = new Map();

  return async function dropNamed(tier, year) {
    const name = `${tier}/${year}`;
    if (!drops.has(name)) {
      const { rows } = await pool.query(findDrop([tier, year]));
      if (rows.length === 0) throw notFound("There is no such drop");
      drops.set(name, rows[0]);
    }
    return drops.get(name);
  };
}

export function statusHandler(pool, dropNamed) {
  const read = new Map();

  async function readStatus({ id, tier, year, capacity }) {
    const { rows: [{ remaining }] } = await pool.query(countFree([id]));
    return { tier, year, state: remaining > 0 ? "OPEN" : "SOLD_OUT", capacity, minted: capacity - remaining, remaining };
  }

  return async function status(request) {
    const drop = await dropNamed(request.params.tier, request.params.year);
    const known = read.get(drop.id);
    if (known && performance.now() - known.at < STATUS_MS) return known.status;
    const reading = { at: performance.now(), status: readStatus(drop) };
    read.set(drop.id, reading);
    reading.status.catch(() => read.delete(drop.id));
    return reading.status;
  };
}
