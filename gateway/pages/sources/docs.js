"use strict";
// Sends the examples to the gateway that served this page, signed by a device key that lives in this tab.
(() => {
  const SAMPLE_KEY = /-----BEGIN PUBLIC KEY-----[\s\S]*?-----END PUBLIC KEY-----\\n/g;
  const forms = [...document.querySelectorAll("form.try")];
  // The examples' ids, until a request is answered with others.
  const known = { ...document.body.dataset };
  const utf8 = new TextEncoder();
  let device = null;

  if (matchMedia("(max-width: 52rem)").matches) document.querySelector(".contents").open = false;

  const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  function everywhere(change) {
    for (const element of document.querySelectorAll(".try input:not([type=checkbox]), .try textarea, .try option")) {
      const text = change(element.value);
      if (text !== element.value) element.value = text;
    }
  }

  // Each visit has receipts of its own, or a second visit would only see replays.
  const visit = Math.random().toString(36).slice(2, 8);
  everywhere((text) => text.replace(/receipt-(\d{4})/g, `receipt-${visit}-$1`));

  async function newKey() {
    const key = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
    const spki = btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.exportKey("spki", key.publicKey))));
    const pem = ["-----BEGIN PUBLIC KEY-----", ...spki.match(/.{1,64}/g), "-----END PUBLIC KEY-----", ""].join("\n");
    const { crv, kty, x, y } = await crypto.subtle.exportKey("jwk", key.publicKey);
    return { key: key.privateKey, pem, jwk: { crv, kty, x, y } };
  }

  async function prepareDevice() {
    if (!globalThis.crypto?.subtle) {
      document.getElementById("device-note").textContent = "This page can sign requests only where the browser trusts its address: https, or localhost.";
      for (const box of document.querySelectorAll(".sign")) { box.checked = false; box.disabled = true; }
      return;
    }
    const [mine, next] = [await newKey(), await newKey()];
    device = mine;
    everywhere((text) => text.replace(SAMPLE_KEY, JSON.stringify((text.includes("new_public_key") ? next : mine).pem).slice(1, -1)));
  }

  // vyris/device_proof.py describes the form: the set fields as lines, in the order of the proto's field numbers.
  async function proof(request, values, names) {
    const escaped = (value) => String(value).replace(/\\/g, "\\\\").replace(/\n/g, "\\n");
    // A name such as device.device_id is a field of a message inside; the message itself gives no line of its own.
    const valueOf = (name) => name.split(".").reduce((held, part) => held?.[part], values);
    const isSet = (value) => value && typeof value !== "object";
    const lines = names.filter((name) => isSet(valueOf(name))).map((name) => `${name}=${escaped(valueOf(name))}\n`).join("");
    const claims = {
      htm: request.method,
      htu: location.origin + request.path,
      iat: Math.floor(Date.now() / 1000),
      jti: crypto.randomUUID(),
      req: base64url(await crypto.subtle.digest("SHA-256", utf8.encode(lines))),
    };
    const part = (value) => base64url(utf8.encode(JSON.stringify(value)));
    const signed = `${part({ typ: "dpop+jwt", alg: "ES256", jwk: device.jwk })}.${part(claims)}`;
    const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, device.key, utf8.encode(signed));
    return `${signed}.${base64url(signature)}`;
  }

  function parsed(text) {
    try { return JSON.parse(text); } catch { return {}; }
  }

  // What the form says: method, path, query, headers, body.
  async function written(form) {
    const { method, proof: wanted, mediaType } = form.dataset;
    const values = {}, query = new URLSearchParams(), headers = {};
    let path = form.dataset.path;
    for (const input of form.querySelectorAll("[data-place]")) {
      const { name, place } = input.dataset;
      values[name] = input.value;
      if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(input.value));
      else if (place === "query" && input.value) query.set(name, input.value);
      else if (place === "header" && input.value) headers[name] = input.value;
    }
    let body = form.querySelector(".body")?.value;
    if (body !== undefined) {
      headers["Content-Type"] = mediaType;
      Object.assign(values, parsed(body));
      if (mediaType.includes("form")) body = new URLSearchParams(parsed(body)).toString();
    }
    const request = { method, path, search: String(query) && `?${query}`, headers, body };
    if (wanted === "Authorization") headers.Authorization = form.querySelector(".authorization").value;
    if (wanted === "DPoP" && device && form.querySelector(".sign").checked) {
      headers.DPoP = await proof(request, values, form.dataset.fields.split(" "));
    }
    return request;
  }

  function line(text, kind) {
    return Object.assign(document.createElement("p"), { textContent: text, className: kind || "" });
  }

  function shown(text) {
    const pre = document.createElement("pre");
    pre.tabIndex = 0;
    pre.setAttribute("aria-label", "Body of the answer");
    pre.textContent = text;
    return pre;
  }

  async function bodyOf(answer) {
    const type = answer.headers.get("content-type") || "";
    if (type.includes("json")) return shown(JSON.stringify(await answer.json(), null, 2));
    if (!type.includes("pkpass")) { const text = await answer.text(); return text ? shown(text.slice(0, 20000)) : null; }
    const blob = await answer.blob();
    const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") || "");
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name ? name[1] : "vyris.pkpass" });
    link.textContent = `Save ${link.download} (${blob.size.toLocaleString("en")} bytes)`;
    const paragraph = document.createElement("p");
    paragraph.append(link);
    return paragraph;
  }

  // What one answer names, the requests further down use.
  function remember(text) {
    const body = parsed(text);
    const learn = (name, value) => {
      if (!value || value === known[name]) return;
      const old = known[name];
      everywhere((held) => held.replaceAll(old, value));
      known[name] = value;
    };
    learn("membership", body.membership?.id);
    learn("hold", body.hold?.id);
    if (body.status === "PENDING") learn("reforge", body.reforge_id);
  }

  async function send(form) {
    const result = form.querySelector(".result");
    const request = await written(form);
    const began = performance.now();
    const { method, headers, body } = request;
    const answer = await fetch(request.path + request.search, { method, headers, body, cache: "no-store", credentials: "omit" });
    const took = Math.round(performance.now() - began);
    const content = await bodyOf(answer);
    result.replaceChildren(
      line(`${answer.status} · ${took} ms`, answer.ok || answer.status === 304 ? "good" : "bad"),
      line(`X-Request-Id: ${answer.headers.get("x-request-id") || "–"}`, "type"),
      ...(content ? [content] : []),
    );
    if (answer.ok && content?.tagName === "PRE") remember(content.textContent);
  }

  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

  async function asCurl(form) {
    const { method, path, search, headers, body } = await written(form);
    const words = ["curl", "-sS", ...(method === "GET" || body !== undefined ? [] : ["-X", method]), quoted(location.origin + path + search)];
    for (const [name, value] of Object.entries(headers)) words.push("-H", quoted(`${name}: ${value}`));
    if (body !== undefined) words.push("--data-raw", quoted(body));
    return words.join(" ");
  }

  for (const form of forms) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      try {
        await send(form);
      } catch (error) {
        form.querySelector(".result").replaceChildren(line(`Not sent: ${error.message}`, "bad"));
      } finally {
        button.disabled = false;
      }
    });
    form.querySelector(".copy").addEventListener("click", async () => {
      const command = await asCurl(form);
      try {
        await navigator.clipboard.writeText(command);
        form.querySelector(".result").replaceChildren(line("Copied"));
      } catch {
        form.querySelector(".result").replaceChildren(shown(command));
      }
    });
    form.querySelector(".example")?.addEventListener("change", (event) => {
      form.querySelector(".body").value = event.target.value;
    });
  }
  prepareDevice();
})();
