// ---- Fate: time, trouble, and what becomes of the open links --------------------------------------------------------

const SKIPS = [["1 min", 60], ["5 min", 300], ["1 hour", 3600], ["1 day", 86400]];
const TROUBLES = [
  ["lose", "Webhooks get lost", (on) => act("stripe", "webhooks", { mode: on ? "lose" : "deliver" })],
  ["double", "Webhooks come twice", (on) => act("stripe", "webhooks", { double: on })],
  ["stripe_down", "Stripe is down", (on) => act("stripe", "down", { down: on })],
  ["telegram_down", "Telegram is down", (on) => act("telegram", "down", { down: on })],
];
const WAYS = [["stripe", "Stripe"], ["hook", "Webhooks"], ["telegram", "Bot API"], ["update", "Updates"]];
const CLASSES = { "Kvit → Stripe": "stripe", "Stripe → Kvit": "hook", "Kvit → Telegram": "telegram", "Telegram → Kvit": "update" };
const MOST_ROWS = 300;

function buildDesk() {
  $("skips").append(...SKIPS.map(([words, advance]) =>
    el("button", { onclick: () => act("stripe", "clock", { advance }), "aria-label": `Skip ${words}` }, words)));
  $("troubles").append(...TROUBLES.map(([name, words, turn]) =>
    el("button", { id: `trouble-${name}`, "aria-pressed": "false", onclick: () => turn(!weather[name]) }, words)));
  $("filters").append(...WAYS.map(([name, words]) => el("button", { class: name, "aria-pressed": "true", onclick: filter(name) }, words)));
  showWeather(weather);
  showLinks();
}

function filter(name) {
  return (event) => {
    const off = $("rows").classList.toggle(`no-${name}`);
    event.currentTarget.setAttribute("aria-pressed", String(!off));
  };
}

function showWeather(told) {
  weather = told;
  for (const [name] of TROUBLES) $(`trouble-${name}`)?.setAttribute("aria-pressed", String(Boolean(told[name])));
  $("telegram-weather").hidden = !told.telegram_down;
  $("stripe-weather").hidden = !told.stripe_down;
}

function showLinks() {
  const open = [...attempts.values()].filter((one) => !one.outcome);
  const kept = document.activeElement?.dataset.fate;
  $("links").replaceChildren(...open.map(linkRow));
  if (!open.length) $("links").append(el("li", { class: "soft" }, "No link is open."));
  if (kept && !document.querySelector(`[data-fate="${kept}"]`)) $("skips").firstChild.focus();
  else if (kept) document.querySelector(`[data-fate="${kept}"]`).focus();
}

function linkRow(one) {
  const name = `${(one.amount / 100).toFixed(2)} ${one.currency}${one.text ? ` ${one.text}` : ""}`;
  const fate = (what, words) => el("button", {
    "aria-label": `${words} ${name}`, "data-fate": `${one.intent}-${what}`,
    onclick: () => { fated = one.intent; act("stripe", `intents/${one.intent}/${what}`); },
  }, words);
  const time = el("time", { datetime: one.ends }, left(one.ends));
  return el("li", {}, el("p", {}, `${name} `, time), fate("approve", "Approve"), fate("decline", "Decline"), fate("lapse", "Lapse"));
}

// ---- The strip: newest on top ---------------------------------------------------------------------------------------

function showTalk(rows) {
  $("silence").hidden = true;
  const scrolled = $("strip-scroll").scrollTop;
  const height = $("strip-scroll").scrollHeight;
  for (const row of rows) $("rows").prepend(talkRow(row));
  while ($("rows").children.length > MOST_ROWS) $("rows").lastChild.remove();
  if (scrolled > 40) $("strip-scroll").scrollTop = scrolled + $("strip-scroll").scrollHeight - height;
}

function talkRow(row) {
  const time = el("time", {}, seconds.format(new Date(row.at)));
  const said = row.said && el("span", { class: row.well ? "said" : "said ill" }, row.said);
  const more = el("details", {}, el("summary", {}, time, el("b", {}, row.way), el("code", {}, row.what), said));
  more.addEventListener("toggle", () => more.append(el("pre", { tabindex: 0 }, row.more)), { once: true });
  return el("li", { class: CLASSES[row.way] }, more);
}

setInterval(tick, 1000);
listen();
