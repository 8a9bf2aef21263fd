// A conventional encounter service, as commonly written and written well: verify the token, look up both
// members, insert. Named prepared statements, a pool, no request log. Same database, same table, same answers.
import { randomUUID } from 'node:crypto';
import Fastify from 'fastify';
import { importSPKI, jwtVerify } from 'jose';
import pg from 'pg';

const MAX_AGE_S = 300;
const key = await importSPKI(process.env.ENCOUNTER_JWT_PUBLIC_KEY, 'ES256');
const thumbprint = process.env.SIGNING_KEY_THUMBPRINT;
// The socket's folder; node's driver does not read it from the URL as the others do.
const pool = new pg.Pool({
  host: process.env.PGHOST,
  user: process.env.PGUSER,
  database: process.env.PGDATABASE,
  max: 16,
});
const app = Fastify({ logger: false });

const refusal = (reply, status, error, message) =>
  reply.code(status).send({ error, message, retryable: false });

app.post('/encounters/verify', async (request, reply) => {
  const token = request.body?.token;
  if (typeof token !== 'string' || token.trim() === '') {
    return refusal(reply, 422, 'INVALID_REQUEST', 'token is missing');
  }
  let claims;
  try {
    ({ payload: claims } = await jwtVerify(token, key, {
      algorithms: ['ES256'],
      maxTokenAge: MAX_AGE_S,
      requiredClaims: ['jti', 'sub', 'aud', 'iat'],
    }));
  } catch {
    return refusal(reply, 401, 'UNAUTHORIZED', 'The token is not valid');
  }
  const { jti, sub, aud, iat } = claims;
  const members = await pool.query({
    name: 'members',
    text: 'SELECT id FROM memberships WHERE id = ANY ($1::uuid[]) AND revoked_at IS NULL',
    values: [[sub, aud]],
  });
  if (members.rowCount !== 2) {
    return refusal(reply, 401, 'UNAUTHORIZED', 'A membership cannot take part');
  }
  const id = randomUUID();
  const inserted = await pool.query({
    name: 'encounter',
    text: `INSERT INTO encounters (id, initiator_id, receiver_id, signing_key, jti, encountered_at)
           VALUES ($1, $2, $3, $4, $5, to_timestamp($6)) ON CONFLICT DO NOTHING
           RETURNING encountered_at, verified_at`,
    values: [id, sub, aud, thumbprint, jti, iat],
  });
  if (inserted.rowCount === 0) {
    return refusal(reply, 409, 'CONFLICT', 'This encounter is already recorded');
  }
  const { encountered_at, verified_at } = inserted.rows[0];
  return reply.code(201).send({
    status: 'VERIFIED',
    encounter: { id, initiator_id: sub, receiver_id: aud, encountered_at, verified_at },
  });
});

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
