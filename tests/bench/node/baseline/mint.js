// POST /mint: a receipt becomes a membership, at most once, in one transaction.
import { createHash, randomUUID } from "node:crypto";
import { countKey } from "./bouncer.js";
import { inTransaction, statement } from "./database.js";
import { Refusal, invalidReceipt, receiptUsed, retryable, soldOut } from "./refusals.js";

// Enters the receipt, or locks the row that is there.
const enterReceipt = statement("enter_receipt", `
  INSERT INTO receipt_ledger (receipt_hash, state, user_id) VALUES ($1, 'PENDING', $2)
  ON CONFLICT (receipt_hash) DO UPDATE SET receipt_hash = excluded.receipt_hash
  RETURNING state`);

// One round trip: a slot that nobody else is claiming becomes a membership, and the receipt is fulfilled.
const claimSlot = statement("claim_slot", `
  WITH slot AS (
    SELECT sequence_num FROM slots
    WHERE drop_id = $1 AND membership_id IS NULL
    ORDER BY sort_order LIMIT 1
    FOR UPDATE SKIP LOCKED
  ), claimed AS (
    UPDATE slots s SET membership_id = $2 FROM slot
    WHERE s.drop_id = $1 AND s.sequence_num = slot.sequence_num
    RETURNING s.sequence_num
  ), minted AS (
    INSERT INTO memberships (id, drop_id, sequence_num, user_id, pass_serial)
    SELECT $2, $1, sequence_num, $3, $4 FROM claimed
    RETURNING sequence_num
  ), fulfilled AS (
    UPDATE receipt_ledger SET state = 'FULFILLED', user_id = $3, membership_id = $2, reason = NULL, updated_at = now()
    WHERE receipt_hash = $5 AND EXISTS (SELECT FROM claimed)
  )
  SELECT sequence_num FROM minted`);

const failReceipt = statement("fail_receipt", `
  UPDATE receipt_ledger SET state = 'FAILED', reason = $2, updated_at = now() WHERE receipt_hash = $1`);

// Records a receipt that Redis refused; returns the state that it had before, if any.
const enterSoldOut = statement("enter_sold_out", `
  INSERT INTO receipt_ledger (receipt_hash, state, user_id, reason) VALUES ($1, 'FAILED', $2, 'SOLD_OUT')
  ON CONFLICT (receipt_hash) DO NOTHING`);

const readMembership = statement("read_membership", `
  SELECT m.id, d.tier, d.year, m.sequence_num, m.pass_serial, m.user_id, m.revoked_at
  FROM receipt_ledger l JOIN memberships m ON m.id = l.membership_id JOIN drops d ON d.id = m.drop_id
  WHERE l.receipt_hash = $1 AND l.state = 'FULFILLED'`);

const DEFAULT_DROP = { tier: process.env.DROP_TIER ?? "genesis", year: process.env.DROP_YEAR ?? "2025" };

export const mintSchema = {
  body: {
    type: "object",
    properties: {
      receipt_data: { type: "string", maxLength: 49152 },
      user_id: { type: "string", maxLength: 128, pattern: "^[\\x20-\\x7e]*$" },
      tier: { type: "string", pattern: "^[a-z0-9-]{0,32}$" },
      year: { type: "string", maxLength: 4 },
    },
  },
  response: {
    201: {
      type: "object",
      properties: {
        status: { type: "string" },
        membership: {
          type: "object",
          properties: {
            id: { type: "string" },
            tier: { type: "string" },
            year: { type: "string" },
            sequence_num: { type: "integer" },
            pass_serial: { type: "string" },
          },
        },
        replayed: { type: "boolean" },
      },
    },
  },
};

export function mintHandler(pool, bouncer, dropNamed) {
  async function replay(client, hash, userId) {
    const { rows } = await client.query(readMembership([hash]));
    if (rows.length === 0) return null;
    const { user_id, revoked_at, ...membership } = rows[0];
    if (user_id !== userId) throw receiptUsed();
    if (revoked_at !== null) throw invalidReceipt("The membership of this receipt was revoked");
    return { status: "FULFILLED", membership, replayed: true };
  }

  async function refuseSoldOut(hash, userId) {
    const { rowCount } = await pool.query(enterSoldOut([hash, userId]));
    const minted = rowCount === 0 ? await replay(pool, hash, userId) : null;
    if (minted === null) throw soldOut();
    return minted;
  }

  async function fulfil(client, drop, hash, userId) {
    const { rows: [{ state }] } = await client.query(enterReceipt([hash, userId]));
    if (state === "FULFILLED") return replay(client, hash, userId);
    const id = randomUUID();
    const passSerial = randomUUID();
    const { rows } = await client.query(claimSlot([drop.id, id, userId, passSerial, hash]));
    if (rows.length === 0) {
      await client.query(failReceipt([hash, "SOLD_OUT"]));
      return null;
    }
    const membership = { id, tier: drop.tier, year: drop.year, sequence_num: rows[0].sequence_num, pass_serial: passSerial };
    return { status: "FULFILLED", membership, replayed: false };
  }

  return async function mint(request, reply) {
    const { receipt_data: receipt, user_id: userId, tier, year } = request.body ?? {};
    if (!receipt?.trim()) throw invalidReceipt("receipt_data is missing");
    if (!userId?.trim()) throw invalidReceipt("user_id is missing");
    const drop = await dropNamed(tier || DEFAULT_DROP.tier, year || DEFAULT_DROP.year);
    const hash = createHash("sha256").update(receipt).digest();
    const key = countKey(drop);
    const granted = await bouncer.takeSlot(key);
    let answer;
    if (granted === 0) {
      answer = await refuseSoldOut(hash, userId);
    } else {
      let used = false;
      try {
        answer = await inTransaction(pool, (client) => fulfil(client, drop, hash, userId));
        used = answer !== null && !answer.replayed;
      } catch (error) {
        if (error instanceof Refusal) throw error;
        request.log.error(error);
        throw retryable();
      } finally {
        // The compensation: a slot that was taken and did not become a membership is for sale again.
        if (!used && granted === 1) await bouncer.giveBackSlot(key);
      }
      if (answer === null) throw soldOut();
    }
    reply.code(201);
    return answer;
  };
}
