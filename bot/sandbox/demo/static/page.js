"use strict";
// Shared state, the event stream, and the customer's phone. Text from users is inserted as text, never as markup.

const $ = (id) => document.getElementById(id);
const ZONE = "Europe/Copenhagen";
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: ZONE });
const seconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: ZONE });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", timeZone: ZONE });

let config = null;                  // users, group, customer, bot, base URLs; sent once
let skew = 0;                       // milliseconds by which the fake clock is ahead of the real one
let me = 0;                         // id of the user who holds the merchant's phone
let chatType = "private";           // or "group", or "customer": the chat with the customer, without the bot
let replyTo = null;                 // the message that the next message replies to
const chats = new Map();            // chat id -> message id -> message
const unread = new Set();           // ids of chats with new messages of the bot
const pressed = new Map();          // callback query id -> button that waits for the answer
const answers = new Map();          // callback query id -> answer
const attempts = new Map();         // intent id -> its latest link
const payments = new Map();         // intent id -> paid or authorized payment, with its possible actions
const inlineResults = new Map();    // inline query id -> results of the bot
const menus = {};
let faults = {};

const now = () => new Date(Date.now() + skew);
const isCustomer = () => me === config.customer.id;
const customerChat = () => (isCustomer() ? "customer" : `customer-${me}`);
const chatId = () => (chatType === "private" ? me : chatType === "group" ? config.group.id : customerChat());
const user = (id) => config.users.find((other) => other.id === id);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

// An element with attributes, listeners (on…) and children; strings become text nodes.
function el(name, given = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (value === false || value == null) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

function toast(text, where = "toast") {
  const shown = $(where);
  shown.textContent = text;
  shown.classList.add("up");
  clearTimeout(shown.timer);
  shown.timer = setTimeout(() => shown.classList.remove("up"), 3500);
}

// For screen readers.
const announce = (text) => { $("announcement").textContent = text; };

async function control(service, path, body = {}) {
  try {
    const response = await fetch(`/control/${service}/${path}`, { method: "POST", body: JSON.stringify(body) });
    const result = await response.json();
    if (response.ok) return result;
    toast(result.error || "That did not work.");
  } catch {
    toast("The demo does not answer. Is it still running?");
  }
  return null;
}

// ---- The event stream -----------------------------------------------------------------------------------------------

function update(data) {
  const skewBefore = skew;
  skew = Date.parse(data.now) - Date.now();
  if (data.config && config && data.config.kvit !== config.kvit) return startOver();
  if (data.config) reset(data.config);
  for (const menu of data.menus || []) menus[menu.chat_type] = menu.commands;
  for (const current of data.faults || []) showFaults(current);
  for (const attempt of data.attempts || []) attempts.set(attempt.intent, attempt);
  for (const attempt of data.attempts || []) leaveWallet(attempt);
  for (const payment of data.payments || []) payments.set(payment.intent, payment);
  for (const query of data.inline_results || []) inlineResults.set(query.id, query.results);
  for (const message of data.messages || []) addMessage(message, Boolean(data.config));
  for (const message of data.deleted || []) removeMessage(message);
  for (const answer of data.callback_answers || []) answers.has(answer.id) || showAnswer(answer);
  if (data.attempts) showLinks();
  if (data.payments) showPayments();
  if (data.inline_results && chatType === "customer") showMenu();
  if (data.traffic) showTraffic(data.traffic);
  if (data.config) showChat();
  if (!data.config && skew - skewBefore > 2000) reloadAfterTimeJump();
  tick();
  return undefined;
}

// Another run of the demo: its pages have other addresses, which this page may not show in a frame. What was typed and
// chosen is kept.
function startOver() {
  const kept = { text: $("text").value, address: isDemoUrl($("address").value) ? "" : $("address").value, me, chatType };
  sessionStorage.setItem("kept", JSON.stringify(kept));
  location.reload();
}

function takeKept() {
  const kept = JSON.parse(sessionStorage.getItem("kept") || "{}");
  sessionStorage.removeItem("kept");
  if (kept.text) $("text").value = kept.text;
  if (kept.address) $("address").value = kept.address;
  if (user(kept.me)) me = kept.me;
  if (kept.chatType) chatType = kept.chatType;
}

function reset(sent) {
  const isFirst = !config;
  config = sent;
  for (const known of [chats, unread, pressed, answers, attempts, payments, inlineResults]) known.clear();
  $("rows").replaceChildren();
  $("no-traffic").hidden = false;
  $("offline").hidden = true;
  if (!isFirst) { showLinks(); showPayments(); return; }
  me = config.users[0].id;
  takeKept();
  $("users").append(...config.users.map(userChoice));
  $("chats").append(chatChoice("private", "Private"), chatChoice("group", "Group"), chatChoice("customer", "Customer"));
  $("buyer-owner").textContent = `${config.customer.name}’s phone`;
  buildControls();
}

function connect() {
  const stream = new EventSource("/feed");
  stream.onmessage = (event) => update(JSON.parse(event.data));
  stream.onerror = () => {
    $("offline").textContent = "The demo does not answer. This page continues when the demo runs again.";
    $("offline").hidden = false;
  };
}

function tick() {
  for (const shown of document.querySelectorAll(".clock")) shown.textContent = clock.format(now());
  for (const shown of document.querySelectorAll("#links time")) shown.textContent = timeLeft(shown.dateTime);
}

function timeLeft(until) {
  const left = Math.max(0, Math.floor((Date.parse(until) - now()) / 1000));
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
}

// ---- The customer's phone -------------------------------------------------------------------------------------------

let opened = "";                    // URL of the open page
let decidedIntent = "";             // the intent that was decided by a button of the controls

const isDemoUrl = (url) => [config.stripe, config.kvit].some((base) => url.startsWith(`${base}/`));

// A shared link opens on the customer's phone, and so does a link to a page of the demo.
function follow(url) {
  const shared = /^https:\/\/t\.me\/share\/url\?/.test(url) ? new URL(url).searchParams.get("url") : "";
  const target = shared || url;
  if (!isDemoUrl(target)) return toast(`This link leads out of the demo: ${target}`);
  open(target);
  toast(`${shared ? "Sent to" : "Opened on"} ${config.customer.name}’s phone`);
  if ($("buyer").getBoundingClientRect().top > innerHeight / 2) {
    $("buyer").scrollIntoView({ behavior: reducedMotion.matches ? "auto" : "smooth" });
  }
}

function open(url) {
  opened = url;
  $("address").value = url;
  const allowed = "allow-scripts allow-forms allow-same-origin";
  const title = `Page on ${config.customer.name}’s phone`;
  $("screen").replaceChildren(el("iframe", { title, sandbox: allowed, src: url }));
  $("reload").hidden = $("close").hidden = false;
}

function close() {
  opened = $("address").value = "";
  $("screen").replaceChildren(el("div", { class: "hint" }, el("p", {}, "No page is open.")));
  $("reload").hidden = $("close").hidden = true;
  $("address").focus();
}

// The wallet redirects a customer who decides in it to Kvit. A decision by the controls does not reach the wallet's
// page, so the return URL is opened here.
function leaveWallet(attempt) {
  if (attempt.link !== opened || !["approved", "declined"].includes(attempt.outcome)) return;
  opened = $("address").value = attempt.return_url;
  if (decidedIntent === attempt.intent) open(opened);
}

// The pages count down in real time, so they are reloaded after a jump of the fake clock.
function reloadAfterTimeJump() {
  if (opened) open(opened);
}

$("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const url = $("address").value.trim();
  if (url && isDemoUrl(url)) open(url);
  else toast("Only links of this demo open here.", "buyer-toast");
});
$("address").addEventListener("focus", () => $("address").select());
$("reload").addEventListener("click", () => opened && open(opened));
$("close").addEventListener("click", close);
