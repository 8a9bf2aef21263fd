"use strict";
// Polls GET /drops/{tier}/{year} and shows what it says; when it says nothing, shows since when.
(() => {
  const INTERVAL_MS = 1000, LIMIT_MS = 5000, SLOWEST_MS = 15000, LOST_AFTER_MS = 3500;
  const RATE_WINDOW_MS = 20000, SPOKEN_EVERY_MS = 30000;
  const STATES = { SCHEDULED: "Opens soon", OPEN: "Open", HELD_OUT: "All held", SOLD_OUT: "Sold out", CLOSED: "Closed" };
  const address = location.pathname.replace(/\/live\/?$/, "");
  const names = address.split("/").slice(-2).map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  // The supply of test purchases is asked for by name, and named where it is shown.
  const asked = new URLSearchParams(location.search).get("environment");
  const query = asked ? `?environment=${encodeURIComponent(asked)}` : "";
  const at = (id) => document.getElementById(id);
  const number = new Intl.NumberFormat("en");
  const oneDigit = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

  let drop = null, seen = 0, clockOffset = 0, failures = 0, timer = 0, trouble = "", spokenAt = 0, spokenState = "", asking = false;
  let samples = [];

  const title = at("drop");
  title.textContent = "";
  title.append(names[0].toUpperCase() + " ");
  title.append(Object.assign(document.createElement("span"), { textContent: names[1] }));

  // The server's clock: what people's clocks say must not open a drop.
  const now = () => Date.now() + clockOffset;
  const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;

  function span(ms) {
    const s = Math.max(0, Math.ceil(ms / 1000));
    const two = (n) => String(n).padStart(2, "0");
    const days = Math.floor(s / 86400), clock = `${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
    const hours = Math.floor(s / 3600) % 24;
    if (days > 0) return `${days} d ${two(hours)}:${clock}`;
    return hours > 0 ? `${hours}:${clock}` : clock;
  }

  function age(ms) {
    const s = Math.round(ms / 1000);
    return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  }

  function perSecond() {
    const first = samples[0], last = samples[samples.length - 1];
    if (!first || last.at - first.at < 2500) return null;
    return Math.max(0, (last.minted - first.minted) / ((last.at - first.at) / 1000));
  }

  function rateWords() {
    const rate = perSecond();
    if (rate === null) return ["–", ""];
    if (rate === 0) return ["0", "in the last 20 s"];
    return rate >= 1 ? [oneDigit.format(rate), "a second"] : [oneDigit.format(rate * 60), "a minute"];
  }

  function withUnit(element, [value, unit]) {
    element.replaceChildren(value + (unit ? " " : ""), ...(unit ? [Object.assign(document.createElement("small"), { textContent: unit })] : []));
  }

  function big(text) {
    const count = at("count");
    if (count.textContent === text) return;
    count.textContent = text;
    const words = /[a-z]/i.test(text);
    count.dataset.length = words ? (text.length > 9 ? "sentence" : "words") : text.length > 7 ? "longer" : text.length > 4 ? "long" : "short";
  }

  function draw() {
    if (drop) drawDrop();
    drawLink();
  }

  function drawDrop() {
    const opensIn = drop.opens_at ? Date.parse(drop.opens_at) - now() : 0;
    const closesIn = drop.closes_at ? Date.parse(drop.closes_at) - now() : 0;
    document.body.dataset.state = drop.state;
    at("test").hidden = !drop.environment;
    at("state").textContent = STATES[drop.state] || drop.state;
    if (drop.state === "SCHEDULED" && drop.opens_at) {
      big(opensIn > 0 ? span(opensIn) : "Now");
      at("caption").textContent = `until ${plural(drop.capacity, "membership")} open`;
    } else if (drop.state === "SOLD_OUT") {
      big("Sold out");
      at("caption").textContent = `All ${number.format(drop.capacity)} are taken`;
    } else if (drop.state === "HELD_OUT") {
      big("0");
      at("caption").textContent = `All held: ${plural(drop.held, "number")} may still come back`;
    } else {
      big(number.format(drop.available ?? drop.remaining));
      at("caption").textContent = drop.state === "CLOSED"
        ? `of ${number.format(drop.capacity)} remained when it closed`
        : `of ${number.format(drop.capacity)} remain`;
    }
    const share = drop.capacity > 0 ? drop.minted / drop.capacity : 0;
    at("taken").style.transform = `scaleX(${share})`;
    at("bar").setAttribute("aria-valuenow", String(Math.floor(share * 100)));
    withUnit(at("minted"), [number.format(drop.minted), `of ${number.format(drop.capacity)}`]);
    at("held").parentElement.hidden = !drop.held;
    withUnit(at("held"), [number.format(drop.held || 0), "being paid for"]);
    withUnit(at("rate"), rateWords());
    at("rate").parentElement.hidden = drop.state !== "OPEN" && drop.state !== "HELD_OUT";
    drawWhen(opensIn, closesIn);
    document.title = `${drop.environment ? "Sandbox · " : ""}${at("count").textContent} · ${names.join(" ")} · VYRIS`;
    speak();
  }

  function drawWhen(opensIn, closesIn) {
    const label = at("when-label"), value = at("when");
    const clock = (text) => new Date(text).toLocaleString("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
    label.parentElement.hidden = !drop.opens_at && !drop.closes_at;
    if (drop.state === "SCHEDULED") { label.textContent = "Opens"; value.textContent = clock(drop.opens_at); }
    else if (drop.closes_at && (drop.state === "OPEN" || drop.state === "HELD_OUT")) { label.textContent = "Closes in"; value.textContent = span(closesIn); }
    else if (drop.closes_at && drop.state === "CLOSED") { label.textContent = "Closed"; value.textContent = clock(drop.closes_at); }
    else if (drop.opens_at) { label.textContent = "Opened"; value.textContent = clock(drop.opens_at); }
    else { label.parentElement.hidden = true; }
  }

  // A screen reader reads a change of state at once, and numbers now and then.
  function speak() {
    if (drop.state === spokenState && Date.now() - spokenAt < SPOKEN_EVERY_MS) return;
    spokenState = drop.state;
    spokenAt = Date.now();
    at("spoken").textContent = `${STATES[drop.state] || drop.state}: ${number.format(drop.remaining)} of ${number.format(drop.capacity)} remain`;
  }

  function drawLink() {
    const link = at("link");
    const lost = drop ? Date.now() - seen > LOST_AFTER_MS : failures > 1;
    document.body.dataset.link = lost ? "lost" : "live";
    if (!lost) { link.textContent = drop ? "Live, from the ledger itself" : "Connecting …"; return; }
    const why = navigator.onLine === false ? "This device is offline" : trouble || "Connection lost";
    const since = drop ? ` · last seen ${age(Date.now() - seen)} ago` : "";
    if (drop) at("state").textContent = `${STATES[drop.state] || drop.state} when last seen`;
    link.textContent = `${why}${since} · trying again`;
    if (!drop) { at("state").textContent = "Not connected"; at("caption").textContent = "The numbers are not known right now"; }
  }

  function unknown() {
    drop = null;
    samples = [];
    document.body.dataset.state = "unknown";
    at("state").textContent = "Unknown";
    big("No such drop");
    at("caption").textContent = `There is no drop “${names.join(" ")}”. Check the address: /drops/{tier}/{year}/live`;
    document.title = "No such drop · VYRIS";
  }

  function take(body, date) {
    seen = Date.now();
    failures = 0;
    trouble = "";
    // `Date` counts whole seconds: the middle of one is the best guess, and small wobble is left alone.
    const offset = date ? Date.parse(date) + 500 - seen : 0;
    if (Math.abs(offset - clockOffset) > 1500) clockOffset = offset;
    if (drop && body.minted < drop.minted) samples = [];
    drop = body;
    samples.push({ at: seen, minted: body.minted });
    samples = samples.filter((sample) => seen - sample.at <= RATE_WINDOW_MS);
  }

  async function poll() {
    if (asking) return;
    asking = true;
    let wait = INTERVAL_MS;
    try {
      const answer = await fetch(address + query, { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(LIMIT_MS) });
      if (answer.ok) {
        take(await answer.json(), answer.headers.get("date"));
      } else if (answer.status === 404 || answer.status === 422) {
        failures = 0;
        unknown();
        wait = SLOWEST_MS;
      } else {
        trouble = answer.status === 429 ? "Asked too often" : `The service answers ${answer.status}`;
        wait = backOff(Number(answer.headers.get("retry-after")) * 1000);
      }
    } catch {
      trouble = "";
      wait = backOff(0);
    }
    if (document.body.dataset.state !== "unknown" || drop) draw();
    asking = false;
    timer = setTimeout(poll, wait);
  }

  // Twice as long after each failure, up to a bound, and not all screens at the same instant.
  function backOff(asked) {
    failures += 1;
    const wait = Math.min(SLOWEST_MS, INTERVAL_MS * 2 ** (failures - 1));
    return Math.max(Math.min(asked || 0, 60000), wait) * (0.8 + 0.4 * Math.random());
  }

  function pollNow() {
    clearTimeout(timer);
    failures = Math.min(failures, 1);
    poll();
  }

  addEventListener("online", pollNow);
  addEventListener("offline", draw);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && Date.now() - seen > 2 * INTERVAL_MS) pollNow(); });
  setInterval(() => { if (document.body.dataset.state !== "unknown") draw(); }, 500);
  poll();
})();
