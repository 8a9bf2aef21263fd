// Makes passes with passkit-generator out of the files of an unpacked pass:
// node press_passes.mjs FOLDER CERTIFICATE.pem KEY.pem WWDR.pem SECONDS OUTPUT.pkpass
// Prints one JSON object with passes a second and CPU milliseconds a pass; writes the last pass.
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { PKPass } from "passkit-generator";

const [folder, certificate, key, wwdr, seconds, output] = process.argv.slice(2);

function files(at) {
  return readdirSync(at).flatMap((name) => {
    const path = join(at, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

const GENERATED = new Set(["manifest.json", "signature"]);
const contents = Object.fromEntries(
  files(folder)
    .map((path) => [relative(folder, path), readFileSync(path)])
    .filter(([name]) => !GENERATED.has(name)),
);
const certificates = {
  signerCert: readFileSync(certificate),
  signerKey: readFileSync(key),
  wwdr: readFileSync(wwdr),
};

function press() {
  return new PKPass({ ...contents }, certificates).getAsBuffer();
}

for (let warming = 0; warming < 10; warming++) press();
const cpu = process.cpuUsage();
const began = process.hrtime.bigint();
let passes = 0;
let last;
let elapsed = 0;
while (elapsed < Number(seconds)) {
  last = press();
  passes++;
  elapsed = Number(process.hrtime.bigint() - began) / 1e9;
}
const used = process.cpuUsage(cpu);
if (output) writeFileSync(output, last);
console.log(
  JSON.stringify({ passes_per_s: passes / elapsed, cpu_ms_per_pass: (used.user + used.system) / 1000 / passes }),
);
