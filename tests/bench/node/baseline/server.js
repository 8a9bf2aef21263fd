// One process, no request log: what a Node team would run behind a load balancer.
import { readFileSync } from "node:fs";
import Fastify from "fastify";
import { openBouncer } from "./bouncer.js";
import { openPool } from "./database.js";
import { openDrops, statusHandler } from "./drops.js";
import { encounterHandler, encounterSchema } from "./encounters.js";
import { mintHandler, mintSchema } from "./mint.js";
import { passHandler, passSchema } from "./passes.js";
import { Refusal } from "./refusals.js";

const pool = openPool();
const bouncer = openBouncer();
const server = Fastify({ logger: false, bodyLimit: 65536 });

server.setErrorHandler((error, request, reply) => {
  if (error instanceof Refusal) return reply.code(error.statusCode).send(error.body);
  if (error.statusCode >= 400 && error.statusCode < 500) {
    const status = error.statusCode === 413 ? 413 : 422;
    return reply.code(status).send({ error: "INVALID_REQUEST", message: "The request is not valid", retryable: false });
  }
  process.stderr.write(`${error.stack}\n`);
  return reply.code(500).send({ error: "RETRYABLE", message: "The request could not be finished", retryable: true });
});

const dropNamed = openDrops(pool);
server.post("/mint", { schema: mintSchema }, mintHandler(pool, bouncer, dropNamed));
server.get("/drops/:tier/:year", statusHandler(pool, dropNamed));
if (process.env.ENCOUNTER_JWT_PUBLIC_KEY_FILE) {
  const key = readFileSync(process.env.ENCOUNTER_JWT_PUBLIC_KEY_FILE, "utf8");
  server.post("/encounters/verify", { schema: encounterSchema }, encounterHandler(pool, key));
}
if (process.env.PASS_FOLDER) {
  server.post("/issue-pass", { schema: passSchema }, passHandler(pool, process.env.PASS_FOLDER, process.env.KEYS_FOLDER));
}
server.get("/health", async (request, reply) => {
  await pool.query("SELECT 1");
  return { status: "ok" };
});

await server.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await server.close();
    await pool.end();
    bouncer.disconnect();
  });
}
