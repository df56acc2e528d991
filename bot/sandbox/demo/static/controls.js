// ---- Controls: time, faults, and the actions of customers and banks -------------------------------------------------

const SKIPS = [["1 min", 60], ["5 min", 300], ["1 hour", 3600], ["1 day", 86400]];
const FAULTS = [
  ["webhooks_lost", "Webhooks get lost", (on) => control("stripe", "webhooks", { mode: on ? "lose" : "deliver" }),
    "Stripe reports nothing. Kvit asks Stripe each minute, so “Paid” comes later, but it comes: skip a minute."],
  ["webhooks_doubled", "Webhooks arrive twice", (on) => control("stripe", "webhooks", { double: on }),
    "Stripe reports everything twice. Kvit answers both, and each thing is said once in the chat."],
  ["balance_empty", "Balance is empty", (on) => control("stripe", "balance", { available: on ? 0 : null }),
    "Refunds wait at Stripe until money comes in. Refund a payment to see what the shop is told."],
  ["stripe_down", "Stripe is down", (on) => control("stripe", "down", { down: on }),
    "Kvit’s calls fail, as the list below shows. A request waits without a link, and goes on when Stripe is back."],
  ["telegram_down", "Telegram is down", (on) => control("telegram", "down", { down: on }),
    "Nothing reaches the chat. Customers can still pay, and the messages come when Telegram is back."],
];
const NO_FAULT = "Point at one to read what it does, and switch it on to see what Kvit makes of it.";
const FILTERS = [["stripe", "Stripe"], ["hook", "Webhooks"], ["telegram", "Bot API"], ["update", "Updates"]];
const CLASSES = { "Kvit → Stripe": "stripe", "Stripe → Kvit": "hook", "Kvit → Telegram": "telegram", "Telegram → Kvit": "update" };
const MAX_ROWS = 300;

function buildControls() {
  $("skips").append(...SKIPS.map(([label, advance]) =>
    el("button", { onclick: () => control("stripe", "clock", { advance }), "aria-label": `Skip ${label}` }, label)));
  $("faults").append(...FAULTS.map(([name, label, toggle, about]) => el("button", {
    id: `fault-${name}`, "aria-pressed": "false", "aria-description": about, onclick: () => toggle(!faults[name]),
    onpointerenter: () => explain(about), onfocus: () => explain(about), onpointerleave: () => explain(), onblur: () => explain(),
  }, label)));
  $("filters").append(...FILTERS.map(([name, label]) => el("button", { class: name, "aria-pressed": "true", onclick: filter(name) }, label)));
  showFaults(faults);
  showLinks();
  showPayments();
}

function filter(name) {
  return (event) => {
    const isOff = $("rows").classList.toggle(`no-${name}`);
    event.currentTarget.setAttribute("aria-pressed", String(!isOff));
  };
}

function showFaults(current) {
  faults = current;
  for (const [name] of FAULTS) $(`fault-${name}`)?.setAttribute("aria-pressed", String(Boolean(current[name])));
  $("telegram-fault").hidden = !current.telegram_down;
  $("stripe-fault").hidden = !current.stripe_down;
  explain();
}

// The given explanation, or those of the faults that are on.
function explain(about) {
  const on = FAULTS.filter(([name]) => faults[name]).map((fault) => fault[3]);
  $("fault-about").textContent = about || on.join(" ") || NO_FAULT;
}

function showLinks() {
  const open = [...attempts.values()].filter((attempt) => !attempt.outcome);
  showList("links", open.map(linkRow), "No link is open.");
}

// Newest first.
function showPayments() {
  const changeable = [...payments.values()].filter((payment) => payment.actions.length).reverse();
  showList("payments", changeable.map(paymentRow), "Nothing is paid or held.");
}

// Replaces the rows of a list. The focus stays on the same action, or moves to a button that is always there.
function showList(list, rows, emptyText) {
  const focused = $(list).contains(document.activeElement) && document.activeElement.dataset.action;
  $(list).replaceChildren(...rows);
  if (!rows.length) $(list).append(el("li", { class: "soft" }, emptyText));
  if (focused) (document.querySelector(`[data-action="${focused}"]`) || $("skips").firstChild).focus();
}

function actionButton(item, label, path, body) {
  const run = () => { decidedIntent = item.intent; control("stripe", path, body); };
  return el("button", { "aria-label": `${label} ${title(item)}`, "data-action": `${path} ${label}`, onclick: run }, label);
}

const title = (item) => `${(item.amount / 100).toFixed(2)} ${item.currency}${item.description ? ` ${item.description}` : ""}`;

function linkRow(attempt) {
  const buttons = ["Approve", "Decline", "Expire"].map((label) =>
    actionButton(attempt, label, `intents/${attempt.intent}/${label.toLowerCase()}`));
  const time = el("time", { datetime: attempt.expires_at }, timeLeft(attempt.expires_at));
  return el("li", {}, el("p", {}, `${title(attempt)} `, time), ...buttons);
}

function paymentRow(payment) {
  const buttons = payment.actions.map(({ label, path, body }) => actionButton(payment, label, path, body));
  return el("li", {}, el("p", {}, title(payment)), ...buttons);
}

// ---- API traffic: newest on top -------------------------------------------------------------------------------------

function showTraffic(rows) {
  $("no-traffic").hidden = true;
  const scrolled = $("traffic-scroll").scrollTop;
  const height = $("traffic-scroll").scrollHeight;
  for (const row of rows) $("rows").prepend(trafficRow(row));
  while ($("rows").children.length > MAX_ROWS) $("rows").lastChild.remove();
  if (scrolled > 40) $("traffic-scroll").scrollTop = scrolled + $("traffic-scroll").scrollHeight - height;
}

function trafficRow(row) {
  const time = el("time", {}, seconds.format(new Date(row.at)));
  const result = row.result && el("span", { class: row.ok ? "result" : "result error" }, row.result);
  const details = el("details", {}, el("summary", {}, time, el("b", {}, row.direction), el("code", {}, row.call), result));
  details.addEventListener("toggle", () => details.append(el("pre", { tabindex: 0 }, row.details)), { once: true });
  return el("li", { class: CLASSES[row.direction] }, details);
}

setInterval(tick, 1000);
connect();
