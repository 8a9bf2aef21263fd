// POST /issue-pass: the owner's signed pass, made with passkit-generator out of an unpacked pass and its images.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { PKPass } from "passkit-generator";
import { statement } from "./database.js";
import { notFound, unauthorized } from "./refusals.js";

const readOwned = statement("read_owned", `
  SELECT m.user_id, m.revoked_at, m.sequence_num, m.pass_serial, d.tier, d.year
  FROM memberships m JOIN drops d ON d.id = m.drop_id WHERE m.id = $1`);

const MADE_ANEW = new Set(["pass.json", "manifest.json", "signature"]);

export const passSchema = {
  body: {
    type: "object",
    required: ["membership_id", "user_id"],
    properties: { membership_id: { type: "string", format: "uuid" }, user_id: { type: "string", maxLength: 128 } },
  },
};

// `folder` holds an unpacked pass, `keys` the signer's PEM files.
export function passHandler(pool, folder, keys) {
  const images = Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !MADE_ANEW.has(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(folder.length + 1), readFileSync(path)]),
  );
  const template = JSON.parse(readFileSync(join(folder, "pass.json"), "utf8"));
  const certificates = {
    signerCert: readFileSync(join(keys, "pass_certificate.pem")),
    signerKey: readFileSync(join(keys, "pass_key.pem")),
    wwdr: readFileSync(join(keys, "pass_wwdr.pem")),
  };

  return async function issuePass(request, reply) {
    const { membership_id: id, user_id: userId } = request.body;
    const { rows } = await pool.query(readOwned([id]));
    if (rows.length === 0) throw notFound("There is no such membership");
    const [membership] = rows;
    if (membership.user_id !== userId || membership.revoked_at !== null) throw unauthorized("Not the owner");
    const facts = Buffer.from(JSON.stringify({ ...template, serialNumber: membership.pass_serial }));
    const pass = new PKPass({ ...images, "pass.json": facts }, certificates);
    reply.header("content-disposition", `attachment; filename="vyris-${membership.tier}-${membership.sequence_num}.pkpass"`);
    reply.type("application/vnd.apple.pkpass");
    return pass.getAsBuffer();
  };
}
