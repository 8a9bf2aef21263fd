"use strict";
// Shows GET /drops/{tier}/{year}/draw to people, and computes the result of the entry that they paste: one HMAC.
(() => {
  const LIMIT_MS = 8000, SLOWEST_MS = 60000, USUAL_MS = 15000, PAST_MS = 1500;
  const STATES = {
    ANNOUNCED: "Announced", ENTERING: "Open for entries", COMMITTED: "Closed, waiting for the beacon", DRAWN: "Drawn", DONE: "Done", CANCELLED: "Cancelled",
  };
  const address = location.pathname.replace(/\/$/, "");
  const names = address.split("/").slice(-3, -1).map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  const at = (id) => document.getElementById(id);
  const number = new Intl.NumberFormat("en");
  const element = (tag, text, name) => Object.assign(document.createElement(tag), { textContent: text, className: name || "" });
  let draw = null, failures = 0, clockOffset = 0;

  at("drop").textContent = "";
  at("drop").append(`Draw of ${names[0].toUpperCase()} `, element("span", names[1]));

  // ---- Formulas -----------------------------------------------------------------------------------------------------

  const ascii = new TextEncoder();
  const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const bytesOf = (hex) => Uint8Array.from(hex.match(/../g) || [], (pair) => parseInt(pair, 16));
  const base64Of = (bytes) => btoa(String.fromCharCode(...bytes));
  const joined = (...parts) => { const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0)); let next = 0; for (const part of parts) { all.set(part, next); next += part.length; } return all; };
  const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

  async function leafHash(drop, salt, user) {
    const commitment = await sha256(joined(salt, ascii.encode(user)));
    const leaf = `vyris-entry-v1\n${drop}\n${base64Of(commitment)}\n`;
    return hexOf(await sha256(joined(Uint8Array.of(0), ascii.encode(leaf))));
  }

  async function keyOf(seed, leaf) {
    const secret = await crypto.subtle.importKey("raw", bytesOf(seed), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    return hexOf(new Uint8Array(await crypto.subtle.sign("HMAC", secret, bytesOf(leaf))));
  }

  // Both are 64 digits in lower case: the order of the texts is the order of the numbers.
  const isOffered = (key, cutoff) => cutoff !== "" && key <= cutoff;
  // Keys are spread evenly, so a key tells roughly how many are smaller.
  const roughPlace = (key, entries) => Math.min(entries, 1 + Math.floor(parseInt(key.slice(0, 12), 16) / 2 ** 48 * entries));

  // ---- What people paste --------------------------------------------------------------------------------------------

  class Unreadable extends Error {}
  const isHash = (text) => typeof text === "string" && /^[0-9a-f]{64}$/.test(text);
  const isId = (text) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);

  function entryOf(text) {
    try {
      const value = JSON.parse(text);
      if (value && typeof value === "object") return value.entry && typeof value.entry === "object" ? value.entry : value;
    } catch { /* Not JSON: a salt, a leaf hash or an id. */ }
    if (isHash(text.toLowerCase())) return { bare: text.toLowerCase() };
    if (isId(text)) return { id: text };
    throw new Unreadable("This is no entry. Paste the answer that you got when you entered, its salt, its leaf hash or its id.");
  }

  // The leaf hash of what was pasted. With a user id, 64 bare digits are a salt; without one, a leaf hash.
  async function leafOf(text, user) {
    const entry = entryOf(text);
    if (entry.bare) return user ? await leafHash(names.join("/"), bytesOf(entry.bare), user) : entry.bare;
    if (isHash(entry.salt) && user) {
      const leaf = await leafHash(names.join("/"), bytesOf(entry.salt), user);
      if (entry.leaf_hash && entry.leaf_hash !== leaf) throw new Unreadable("The leaf hash of this entry does not belong to its salt and this user id. Is the user id right?");
      return leaf;
    }
    if (isHash(entry.leaf_hash)) return entry.leaf_hash;
    if (typeof entry.id === "string" && isId(entry.id)) return await askedLeaf(entry.id);
    throw new Unreadable("This entry has neither a salt nor a leaf hash nor an id.");
  }

  async function askedLeaf(id) {
    const answer = await fetch(`${address.split("/drops/")[0]}/entries/${id}`, { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(LIMIT_MS) });
    if (answer.status === 404) throw new Unreadable("No entry has this id.");
    if (!answer.ok) throw new Unreadable(`The service cannot be asked for this id just now (status ${answer.status}). Paste the leaf hash instead.`);
    const { entry } = await answer.json();
    if (entry.tier !== names[0] || entry.year !== names[1]) throw new Unreadable("This entry is for another drop.");
    if (entry.state === "WITHDRAWN") throw new Unreadable("This entry was withdrawn.");
    return entry.leaf_hash;
  }

  // ---- What it says -------------------------------------------------------------------------------------------------

  async function judged(leaf) {
    if (!draw.seed) {
      const waits = { ANNOUNCED: "Entries have not opened yet.", ENTERING: "Entries are still open.", CANCELLED: "The draw was cancelled." };
      return { verdict: "waiting", text: "Not drawn yet", why: waits[draw.state] || "The beacon round has not come yet. Come back after it.", leaf };
    }
    const key = await keyOf(draw.seed, leaf);
    if (draw.state === "CANCELLED") return { verdict: "refused", text: "The draw was cancelled", why: draw.cancel_reason, leaf, key };
    const place = number.format(roughPlace(key, draw.entries));
    const all = `${number.format(draw.entries)} entries`;
    if (isOffered(key, draw.cutoff)) {
      const next = draw.state === "DONE" ? "The draw is done" : "Buy before this offer ends; the app or the shop shows when";
      return { verdict: "offered", text: "Yes: this entry got an offer", why: `Its key is not above the cutoff. ${next}. Its place is about ${place} of ${all}.`, leaf, key };
    }
    if (draw.state === "DONE") return { verdict: "refused", text: "No: this entry has no offer", why: `Its key is above the last cutoff, and the draw is done. Its place was about ${place} of ${all}.`, leaf, key };
    return { verdict: "later", text: "No offer so far", why: `Its key is above the cutoff. Its place is about ${place} of ${all}; ${number.format(draw.offered_rank)} places have had an offer. What others leave goes to the next places, so look again later.`, leaf, key };
  }

  function show({ verdict, text, why, leaf, key }) {
    at("result").hidden = false;
    at("result").dataset.verdict = verdict;
    at("verdict").textContent = text;
    at("explanation").textContent = why;
    for (const [id, value] of [["leaf", leaf], ["key", key]]) {
      at(id).textContent = value || "";
      at(id).parentElement.hidden = !value;
    }
  }

  async function answer() {
    const text = at("pasted").value.trim(), user = at("user").value.trim();
    if (!crypto.subtle) throw new Unreadable("This browser computes hashes on https pages alone. Open this page with https.");
    if (!/^[\x20-\x7e]*$/.test(user)) throw new Unreadable("A user id has only ASCII characters.");
    return await judged(await leafOf(text, user));
  }

  at("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try { show(await answer()); } catch (problem) {
      const why = problem instanceof Unreadable ? problem.message : "The result could not be computed. Check your connection and try again.";
      show({ verdict: "refused", text: "No result", why });
    }
  });

  // ---- The draw -----------------------------------------------------------------------------------------------------

  const clock = (time) => new Date(time).toLocaleString("en-GB", { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });

  function lead() {
    const quicknet = draw.beacon.chain_hash === "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971";
    const words = {
      ANNOUNCED: "Enter at any time while entries are open: early or late makes no difference.",
      ENTERING: "Enter at any time until entries close: early or late makes no difference.",
      COMMITTED: "The list of entries is closed, published and signed. The beacon decides next.",
      DRAWN: "The beacon has decided. Paste your entry to see its result.",
      DONE: "The draw is over. Paste your entry to see its result.",
      CANCELLED: `This draw was cancelled${draw.cancel_reason ? `: ${draw.cancel_reason}` : ""}.`,
    };
    return (words[draw.state] || "") + (quicknet ? "" : " This is a test: its beacon is a development beacon, which proves nothing.");
  }

  function steps() {
    const now = Date.now() + clockOffset;
    const all = [["Entries open", draw.entries_open], ["Entries close", draw.entries_close], [`Beacon round ${draw.beacon.round}`, draw.beacon.round_at]];
    if (draw.offer_until) all.push(["Last offer ends", draw.offer_until]);
    if (draw.closes_at) all.push(["Sale closes", draw.closes_at]);
    const next = all.findIndex(([, time]) => Date.parse(time) > now);
    const kindOf = (index) => draw.state === "CANCELLED" || next === -1 || index < next ? "past" : index === next ? "next" : "";
    return all.map(([label, time], index) => {
      const item = element("li", "", kindOf(index));
      item.append(element("span", label), Object.assign(element("time", clock(time)), { dateTime: time }));
      return item;
    });
  }

  function hashes() {
    const all = [["Terms", draw.terms_hash], ["Root of the entries", draw.entries_root], ["Beacon signature", draw.signature], ["Seed", draw.seed], ["Cutoff", draw.cutoff]];
    return all.filter(([, value]) => value).map(([label, value]) => {
      const pair = document.createElement("div");
      pair.append(element("dt", label), element("dd", value));
      return pair;
    });
  }

  function drawPage() {
    document.body.dataset.state = draw.state;
    at("state").textContent = STATES[draw.state] || draw.state;
    at("lead").textContent = lead();
    for (const id of ["now", "mine", "checked"]) at(id).hidden = false;
    at("steps").replaceChildren(...steps());
    at("capacity").textContent = number.format(draw.capacity);
    at("entries").textContent = number.format(draw.entries);
    // The number of entries is public only after the close.
    at("entries").parentElement.hidden = !draw.entries_root && !draw.entries;
    at("entries-label").textContent = draw.entries_root ? "Entries" : "Entries so far";
    at("offered").textContent = number.format(draw.offered_rank);
    at("offered-part").hidden = !draw.seed;
    at("commands").textContent = `pip install pyblst\ncurl -O ${location.origin}/draw/verify.py\npython3 verify.py ${location.origin}${address}`;
    at("hashes").replaceChildren(...hashes());
    document.title = `${STATES[draw.state] || draw.state} · Draw of ${names.join(" ")} · VYRIS`;
  }

  function trouble(state, text) {
    if (!draw) document.body.dataset.state = "lost";
    at("state").textContent = state;
    at("lead").textContent = text;
  }

  // When to ask again: as the document says, and just after the next of its times.
  function pause() {
    const now = Date.now() + clockOffset;
    const times = [draw.entries_open, draw.entries_close, draw.beacon.round_at].map((time) => Date.parse(time) - now + PAST_MS);
    return Math.max(1000, Math.min(draw.poll_after_s * 1000 || USUAL_MS, ...times.filter((ms) => ms > 0)));
  }

  async function read() {
    let wait = USUAL_MS;
    try {
      const answer = await fetch(address, { headers: { accept: "application/json" }, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(LIMIT_MS) });
      if (answer.ok) {
        draw = await answer.json();
        const date = Date.parse(answer.headers.get("date"));
        clockOffset = Number.isNaN(date) ? 0 : date - Date.now();
        failures = 0;
        drawPage();
        wait = pause();
      } else if (answer.status === 404 || answer.status === 422) {
        trouble("No such draw", `There is no draw of “${names.join(" ")}”. Check the address: /drops/{tier}/{year}/draw`);
        wait = SLOWEST_MS;
      } else {
        throw new Error(String(answer.status));
      }
    } catch {
      failures += 1;
      if (failures > 1 || !draw) trouble("Not connected", navigator.onLine === false ? "This device is offline." : "The service cannot be reached just now. Trying again …");
      wait = Math.min(SLOWEST_MS, 2000 * 2 ** failures);
    }
    // Not all phones at the same moment.
    setTimeout(read, wait * (1 + 0.3 * Math.random()));
  }

  read();
})();
