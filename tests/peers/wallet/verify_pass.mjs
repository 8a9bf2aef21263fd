// Judges the signature of an unpacked pass with pkijs: node verify_pass.mjs FOLDER ROOT.pem
// Prints one JSON object; exit status 0 where the signature holds up to the root.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { webcrypto } from "node:crypto";
import * as asn1js from "asn1js";
import * as pkijs from "pkijs";

pkijs.setEngine("node", new pkijs.CryptoEngine({ name: "node", crypto: webcrypto }));

const SIGNING_TIME = "1.2.840.113549.1.9.5";
const [folder, rootFile] = process.argv.slice(2);

function der(bytes) {
  const parsed = asn1js.fromBER(new Uint8Array(bytes).buffer);
  if (parsed.offset === -1) throw new Error("not DER");
  return parsed.result;
}

const pem = readFileSync(rootFile, "utf8").replace(/-----[^-]+-----|\s/g, "");
const root = new pkijs.Certificate({ schema: der(Buffer.from(pem, "base64")) });
const manifest = readFileSync(join(folder, "manifest.json"));

try {
  const content = new pkijs.ContentInfo({ schema: der(readFileSync(join(folder, "signature"))) });
  const signed = new pkijs.SignedData({ schema: content.content });
  const verdict = await signed.verify({
    signer: 0,
    data: new Uint8Array(manifest).buffer,
    trustedCerts: [root],
    checkChain: true,
    extendedMode: true,
  });
  const attributes = signed.signerInfos[0].signedAttrs.attributes.map((attribute) => attribute.type);
  const holds = verdict.signatureVerified === true && verdict.signerCertificateVerified === true;
  console.log(
    JSON.stringify({ holds, certificates: signed.certificates.length, signingTime: attributes.includes(SIGNING_TIME) }),
  );
  process.exitCode = holds ? 0 : 1;
} catch (error) {
  console.log(JSON.stringify({ holds: false, reason: String(error.message ?? error) }));
  process.exitCode = 1;
}
