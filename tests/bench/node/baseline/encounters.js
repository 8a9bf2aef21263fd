// POST /encounters/verify: a signed token proves that two members met; it works once.
import { randomUUID } from "node:crypto";
import { createVerifier } from "fast-jwt";
import { statement } from "./database.js";
import { conflict, notFound, unauthorized } from "./refusals.js";

const findMembers = statement("find_members", "SELECT id FROM memberships WHERE id = ANY ($1::uuid[]) AND revoked_at IS NULL");

const recordEncounter = statement("record_encounter", `
  INSERT INTO encounters (id, jti, initiator_id, receiver_id, encountered_at)
  VALUES ($1, $2, $3, $4, to_timestamp($5))
  ON CONFLICT (jti) DO NOTHING
  RETURNING verified_at`);

export const encounterSchema = {
  body: { type: "object", required: ["token"], properties: { token: { type: "string", maxLength: 8192 } } },
  response: {
    201: {
      type: "object",
      properties: {
        status: { type: "string" },
        encounter: {
          type: "object",
          properties: {
            id: { type: "string" },
            initiator_id: { type: "string" },
            receiver_id: { type: "string" },
            encountered_at: { type: "string" },
            verified_at: { type: "string" },
          },
        },
      },
    },
  },
};

export function encounterHandler(pool, publicKey) {
  const verify = createVerifier({
    key: publicKey,
    algorithms: ["ES256"],
    requiredClaims: ["jti", "sub", "aud", "iat"],
    cache: false,
  });

  return async function verifyEncounter(request, reply) {
    let claims;
    try {
      claims = verify(request.body.token);
    } catch {
      throw unauthorized("The token is not valid");
    }
    const { jti, sub, aud, iat } = claims;
    const { rows: members } = await pool.query(findMembers([[sub, aud]]));
    if (members.length < 2) throw notFound("Unknown member");
    const id = randomUUID();
    const { rows } = await pool.query(recordEncounter([id, jti, sub, aud, iat]));
    if (rows.length === 0) throw conflict("This encounter is already recorded");
    reply.code(201);
    return {
      status: "VERIFIED",
      encounter: {
        id,
        initiator_id: sub,
        receiver_id: aud,
        encountered_at: new Date(iat * 1000).toISOString(),
        verified_at: rows[0].verified_at.toISOString(),
      },
    };
  };
}
