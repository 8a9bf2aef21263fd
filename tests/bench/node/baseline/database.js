// A pool of Postgres connections. Every statement is named, so that each connection prepares it once.
import pg from "pg";

export function openPool() {
  // Where: PGHOST, PGUSER, PGDATABASE.
  return new pg.Pool({ max: Number(process.env.POOL_SIZE ?? 16), statement_timeout: 5_000, application_name: "baseline" });
}

export const statement = (name, text) => (values) => ({ name, text, values });

export async function inTransaction(pool, work) {
  const client = await pool.connect();
  let failure;
  try {
    // Not awaited: the driver sends it ahead of the first statement.
    const begun = client.query("BEGIN");
    begun.catch(() => {}); // The await below reports it, or the statements after it fail too.
    const result = await work(client);
    await begun;
    await client.query("COMMIT");
    return result;
  } catch (error) {
    failure = error;
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  } finally {
    client.release(failure?.code?.startsWith?.("08"));
  }
}
