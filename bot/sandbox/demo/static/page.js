"use strict";
// The two phones of the demo. What people wrote is put on the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const ZONE = "Europe/Copenhagen";
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: ZONE });
const seconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: ZONE });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", timeZone: ZONE });

let setting = null;                 // who and where, told once
let skew = 0;                       // how far the pretend time is ahead of ours, in milliseconds
let me = 0;                         // the person who holds the merchant's phone
let place = "private";              // or "group", or "customer": the chat with her, in which the bot is not
let replyTo = null;                 // the message that the next one answers
const chats = new Map();            // chat id -> message id -> message
const unread = new Set();           // chats with something new of the bot
const waiting = new Map();          // callback query id -> the button that waits for its answer
const answered = new Map();         // answers that came before we knew their query's id
const attempts = new Map();         // intent id -> its latest link
const payments = new Map();         // intent id -> what fate may still do to its money
const offered = new Map();          // inline query id -> what the bot offers
const menus = {};
let weather = {};

const now = () => new Date(Date.now() + skew);
const isCustomer = () => me === setting.customer.id;
const herChat = () => (isCustomer() ? "to" : `to${me}`);
const chatId = () => (place === "private" ? me : place === "group" ? setting.group.id : herChat());
const person = (id) => setting.people.find((one) => one.id === id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// An element with attributes, listeners (on…) and children; a text is only ever a text.
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

function toast(words, where = "toast") {
  const shown = $(where);
  shown.textContent = words;
  shown.classList.add("up");
  clearTimeout(shown.timer);
  shown.timer = setTimeout(() => shown.classList.remove("up"), 3500);
}

const say = (words) => { $("said").textContent = words; };

async function act(vendor, what, body = {}) {
  try {
    const answer = await fetch(`/do/${vendor}/${what}`, { method: "POST", body: JSON.stringify(body) });
    const said = await answer.json();
    if (answer.ok) return said;
    toast(said.error || "That did not work.");
  } catch {
    toast("The demo does not answer. Is it still running?");
  }
  return null;
}

// ---- News -----------------------------------------------------------------------------------------------------------

function hear(news) {
  const before = skew;
  skew = Date.parse(news.now) - Date.now();
  if (news.setting) begin(news.setting);
  for (const menu of news.menus || []) menus[menu.place] = menu.commands;
  for (const one of news.weather || []) showWeather(one);
  for (const attempt of news.attempts || []) attempts.set(attempt.intent, attempt);
  for (const attempt of news.attempts || []) leaveWallet(attempt);
  for (const one of news.payments || []) payments.set(one.intent, one);
  for (const one of news.offers || []) offered.set(one.id, one.results);
  for (const message of news.messages || []) take(message, Boolean(news.setting));
  for (const gone of news.gone || []) remove(gone);
  for (const answer of news.answers || []) answered.has(answer.id) || settle(answer);
  if (news.attempts) showLinks();
  if (news.payments) showPayments();
  if (news.offers && place === "customer") showMenu();
  if (news.talk) showTalk(news.talk);
  if (news.setting) showChat();
  if (!news.setting && skew - before > 2000) timeJumped();
  tick();
}

function begin(told) {
  const first = !setting;
  setting = told;
  for (const kept of [chats, unread, attempts, payments]) kept.clear();
  $("rows").replaceChildren();
  $("lost").hidden = true;
  if (!first) return;
  me = setting.people[0].id;
  $("people").append(...setting.people.map(personChoice));
  $("places").append(placeChoice("private", "Private"), placeChoice("group", "Group"), placeChoice("customer", "Customer"));
  $("buyer-owner").textContent = `${setting.customer.name}’s phone`;
  buildDesk();
}

function listen() {
  const stream = new EventSource("/feed");
  stream.onmessage = (event) => hear(JSON.parse(event.data));
  stream.onerror = () => {
    $("lost").textContent = "The demo does not answer; this page goes on by itself once it runs again.";
    $("lost").hidden = false;
  };
}

function tick() {
  for (const shown of document.querySelectorAll(".clock")) shown.textContent = clock.format(now());
  for (const shown of document.querySelectorAll("#links time")) shown.textContent = left(shown.dateTime);
}

function left(until) {
  const rest = Math.max(0, Math.floor((Date.parse(until) - now()) / 1000));
  return `${Math.floor(rest / 60)}:${String(rest % 60).padStart(2, "0")}`;
}

// ---- The customer's phone -------------------------------------------------------------------------------------------

let opened = "";
let fated = "";                     // the intent that was decided beside the phones

const ofDemo = (url) => [setting.stripe, setting.kvit].some((base) => url.startsWith(`${base}/`));

// Whatever is tapped: a shared link opens on the customer's phone, and so does a link to a page of the demo.
function follow(url) {
  const shared = /^https:\/\/t\.me\/share\/url\?/.test(url) ? new URL(url).searchParams.get("url") : "";
  const wanted = shared || url;
  if (!ofDemo(wanted)) return toast(`This leads out of the demo: ${wanted}`);
  open(wanted);
  toast(`${shared ? "Sent to" : "Opened on"} ${setting.customer.name}’s phone`);
  if ($("buyer").getBoundingClientRect().top > innerHeight / 2) {
    $("buyer").scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
  }
}

function open(url) {
  opened = url;
  $("address").value = url;
  const allowed = "allow-scripts allow-forms allow-same-origin";
  const title = `Page on ${setting.customer.name}’s phone`;
  $("screen").replaceChildren(el("iframe", { title, sandbox: allowed, src: url }));
  $("reload").hidden = $("close").hidden = false;
}

function close() {
  opened = $("address").value = "";
  $("screen").replaceChildren(el("div", { class: "hint" }, el("p", {}, "Nothing is open.")));
  $("reload").hidden = $("close").hidden = true;
  $("address").focus();
}

// The wallet sends a customer who has decided back to Kvit; if fate decided, the page does not know it and we send him.
function leaveWallet(attempt) {
  if (attempt.link !== opened || !["approved", "declined"].includes(attempt.outcome)) return;
  opened = $("address").value = attempt.back;
  if (fated === attempt.intent) open(opened);
}

// The pages count by themselves in real time; after a jump they are opened anew.
function timeJumped() {
  if (opened) open(opened);
}

$("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const url = $("address").value.trim();
  if (url && ofDemo(url)) open(url);
  else toast("Only links of this demo open here.", "buyer-toast");
});
$("address").addEventListener("focus", () => $("address").select());
$("reload").addEventListener("click", () => opened && open(opened));
$("close").addEventListener("click", close);
