"use strict";
// Everything that comes from the server goes into the page as text (textContent), never as markup.
const id = (name) => document.getElementById(name);
const EVERY_MS = 2000;
const SHOWN_ELSEWHERE = new Set(["state", "not_ready", "version", "node", "started_at", "uptime_s"]);
const TITLES = {
  messages: "Messages", transports: "Transports", transactions: "Transactions", calls: "Calls by state",
  registrations: "Registrations", database: "Database", bans: "Bans", rfc6076_percent: "Quality (RFC 6076)",
};
const ORDER = ["transports", "calls", "messages", "transactions", "registrations", "database", "bans", "rfc6076_percent"];
const NOT_CALLS = new Set(["dialogs", "messages"]);  // counted beside the calls
const history = [];

function number(value) {
  if (Math.abs(value) >= 1e6) return (value / 1e6).toFixed(1) + "M";
  if (Number.isInteger(value) || Math.abs(value) >= 100) value = Math.round(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return value.toLocaleString("en", { maximumFractionDigits: 2 });
}

function duration(seconds) {
  const whole = Math.floor(seconds);
  const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24;
  const minutes = Math.floor(whole / 60) % 60;
  if (days) return days + "d " + hours + "h";
  if (hours) return hours + "h " + minutes + "m";
  if (minutes) return minutes + "m " + (whole % 60) + "s";
  return whole + "s";
}

function span(seconds) {
  if (seconds > 0 && seconds < 0.1) return number(seconds * 1000) + " ms";
  return seconds < 10 ? number(seconds) + " s" : duration(seconds);
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let step = 0;
  while (bytes >= 1024 && step < units.length - 1) { bytes /= 1024; step += 1; }
  return (step ? bytes.toFixed(1) : bytes) + " " + units[step];
}

function words(name) {
  const text = name.replace(/_(bytes|s)$/, "").replace(/_per$/, "/s").replace(/_/g, " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function shown(name, value) {
  if (value === null || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    if (name.endsWith("_bytes")) return size(value);
    if (name.endsWith("_s") && !name.endsWith("per_s")) return span(value);
    return number(value);
  }
  if (Array.isArray(value)) return value.map((item) => shown("", item)).join(", ");
  if (typeof value === "object") {
    return Object.keys(value).map((key) => words(key) + " " + shown(key, value[key])).join(", ");
  }
  return String(value);
}

function total(value) {
  if (typeof value === "number") return value;
  if (value === null || typeof value !== "object") return null;
  for (const key of ["total", "contacts", "count"]) if (typeof value[key] === "number") return value[key];
  const parts = Object.keys(value).filter((key) => !NOT_CALLS.has(key)).map((key) => value[key])
    .filter((part) => typeof part === "number");
  return parts.length || !Object.keys(value).length ? parts.reduce((sum, part) => sum + part, 0) : null;
}

function row(name, text) {
  const line = document.createElement("div"), left = document.createElement("span");
  const right = document.createElement("span");
  line.className = "row";
  left.textContent = name;
  right.textContent = text;
  if (text === "0" || text === "–") right.className = "zero";
  line.append(left, right);
  return line;
}

function rows(name, value) {
  if (value === null || typeof value !== "object") return [row(TITLES[name] || words(name), shown(name, value))];
  if (Array.isArray(value)) {
    return value.length ? value.map((item) => listener(item)) : [row("none", "")];
  }
  const keys = Object.keys(value);
  if (!keys.length) return [row("none", "")];
  const unit = name.endsWith("_percent") ? "\u00a0%" : "";
  return keys.flatMap((key) => {
    if (Array.isArray(value[key])) return value[key].map((item) => listener(item));
    const text = shown(key, value[key]);
    return row(words(key), text === "–" ? text : text + unit);
  });
}

function listener(item) {
  if (item === null || typeof item !== "object") return row(shown("", item), "");
  const host = String(item.host || "");
  const place = item.proto ? item.proto + " " + (host.includes(":") ? "[" + host + "]" : host) + ":" + item.port : "";
  const rest = Object.keys(item).filter((key) => !["proto", "host", "port", "spec"].includes(key));
  return row(place || shown("", item), place ? rest.map((key) => words(key) + " " + shown(key, item[key])).join(", ") : "");
}

function card(name, value) {
  const box = document.createElement("article"), head = document.createElement("h2");
  box.className = "card";
  head.textContent = TITLES[name] || words(name);
  box.append(head, ...rows(name, value));
  return box;
}

function big(name, text, unit) {
  const place = id(name);
  place.textContent = text;
  if (unit) {
    const small = document.createElement("small");
    small.textContent = unit;
    place.append(small);
  }
}

function spark(value) {
  history.push(value);
  if (history.length > 60) history.shift();
  const top = Math.max(1, ...history), step = 120 / 59, from = 60 - history.length;
  const points = history.map((each, at) => ((from + at) * step).toFixed(1) + " " + (26 - 23 * each / top).toFixed(1));
  if (points.length < 2) return;
  const line = "M" + points.join("L");
  id("spark-line").setAttribute("d", line);
  id("spark-area").setAttribute("d", line + "L120 28L" + (from * step).toFixed(1) + " 28Z");
}

function show(facts) {
  const ready = facts.state === "ready", reasons = facts.not_ready || {};
  document.body.classList.remove("stale");
  id("state").textContent = String(facts.state).replace(/_/g, " ");
  id("state").className = "state " + (ready ? "good" : "bad");
  id("reason").hidden = ready;
  id("reason").textContent = Object.keys(reasons).map((name) => words(name) + ": " + reasons[name]).join(" · ");
  id("version").textContent = facts.version + (facts.node ? " on " + facts.node : "");
  const messages = facts.messages || {}, registered = total(facts.registrations), calls = total(facts.calls);
  big("registrations", registered === null ? "–" : number(registered));
  id("registrations-rate").textContent = number(messages.registrations_per_s || 0) + " REGISTER/s";
  big("calls", calls === null ? "–" : number(calls));
  id("calls-rate").textContent = number(messages.calls_per_s || 0) + " new/s";
  big("messages", number(messages.received_per_s || 0), "/s");
  spark(messages.received_per_s || 0);
  big("uptime", duration(facts.uptime_s || 0));
  id("started").textContent = "since " + String(facts.started_at || "").replace("T", " ").replace("+00:00", " UTC");
  document.title = "mizu: " + id("state").textContent;
  const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  const names = Object.keys(facts).filter((name) => !SHOWN_ELSEWHERE.has(name));
  const single = (name) => facts[name] === null || typeof facts[name] !== "object";
  const cards = names.filter((name) => !single(name)).sort((a, b) => rank(a) - rank(b));
  const others = Object.fromEntries(names.filter(single).map((name) => [name, facts[name]]));
  id("cards").replaceChildren(...cards.map((name) => card(name, facts[name])));
  if (Object.keys(others).length) id("cards").append(card("other", others));
}

function lost() {
  document.body.classList.add("stale");
  id("state").textContent = "no answer";
  id("state").className = "state bad";
}

async function turn() {
  try {
    const answer = await fetch("/status", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(String(answer.status));
    show(await answer.json());
  } catch (error) {
    lost();
  }
  setTimeout(turn, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}
turn();
