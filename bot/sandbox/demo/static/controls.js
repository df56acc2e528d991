// ---- Fate: time, trouble, and what becomes of the open links --------------------------------------------------------

const SKIPS = [["1 min", 60], ["5 min", 300], ["1 hour", 3600], ["1 day", 86400]];
const TROUBLES = [
  ["lose", "Webhooks get lost", (on) => act("stripe", "webhooks", { mode: on ? "lose" : "deliver" })],
  ["double", "Webhooks come twice", (on) => act("stripe", "webhooks", { double: on })],
  ["poor", "No money for refunds", (on) => act("stripe", "balance", { available: on ? 0 : null })],
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
  showPayments();
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
  show("links", open.map(linkRow), "No link is open.");
}

// Newest first.
function showPayments() {
  const alive = [...payments.values()].filter((one) => one.fates.length).reverse();
  show("payments", alive.map(paymentRow), "Nothing is paid or held.");
}

// A new list; whoever was on one of its buttons stays there, or goes to what is always there.
function show(list, rows, otherwise) {
  const kept = $(list).contains(document.activeElement) && document.activeElement.dataset.fate;
  $(list).replaceChildren(...rows);
  if (!rows.length) $(list).append(el("li", { class: "soft" }, otherwise));
  if (kept) (document.querySelector(`[data-fate="${kept}"]`) || $("skips").firstChild).focus();
}

function fateKey(one, words, what, body) {
  const decide = () => { fated = one.intent; act("stripe", what, body); };
  return el("button", { "aria-label": `${words} ${named(one)}`, "data-fate": `${what} ${words}`, onclick: decide }, words);
}

const named = (one) => `${(one.amount / 100).toFixed(2)} ${one.currency}${one.text ? ` ${one.text}` : ""}`;

function linkRow(one) {
  const keys = ["Approve", "Decline", "Lapse"].map((words) =>
    fateKey(one, words, `intents/${one.intent}/${words.toLowerCase()}`));
  return el("li", {}, el("p", {}, `${named(one)} `, el("time", { datetime: one.ends }, left(one.ends))), ...keys);
}

function paymentRow(one) {
  return el("li", {}, el("p", {}, named(one)), ...one.fates.map((fate) => fateKey(one, fate.words, fate.what, fate.body)));
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
