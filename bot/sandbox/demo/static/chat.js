// ---- The merchant's phone: people, messages, buttons ----------------------------------------------------------------

function personChoice(one) {
  const box = el("input", { type: "radio", name: "person", value: one.id, checked: one.id === me });
  box.addEventListener("change", () => { me = one.id; noReply(); showChat(); });
  const face = el("span", { class: `face ${one.part}`, "aria-hidden": "true" }, one.name[0]);
  return el("label", { "data-chat": one.id }, box, face, el("span", {}, one.name), el("small", {}, one.part));
}

function placeChoice(value, words) {
  const box = el("input", { type: "radio", name: "place", value, checked: value === place });
  box.addEventListener("change", () => { place = value; noReply(); showChat(); });
  return el("label", { "data-chat": value === "group" && setting.group.id }, box, el("span", {}, words));
}

// What was sent to the customer stands in the sender's chat with her, and in hers.
function take(message, old) {
  if (message.inline && message.chat !== "to") take({ ...message, chat: "to" }, old);
  const chat = chats.get(message.chat) || chats.set(message.chat, new Map()).get(message.chat);
  const before = chat.get(message.message_id);
  chat.set(message.message_id, message);
  if (message.chat !== chatId()) {
    if (message.bot && !old) unread.add(message.chat);
    return showUnread();
  }
  if (old) return undefined;
  const was = document.querySelector(`[data-message="${message.message_id}"]`);
  if (was) {
    const focused = was.contains(document.activeElement) && document.activeElement.textContent;
    was.replaceWith(messageItem(message, true));
    if (focused) focusAgain(message.message_id, focused);
  } else {
    append(message);
  }
  if (before && message.text !== before.text) say(`${message.name} changed a message: ${message.text}`);
  toEnd();
  return undefined;
}

// A card that is edited is a new element: whoever was on one of its buttons stays in it.
function focusAgain(id, label) {
  const keys = [...document.querySelectorAll(`[data-message="${id}"] button, [data-message="${id}"] a`)];
  (keys.find((key) => key.textContent === label) || keys.at(-1) || $("words")).focus();
}

function remove(gone) {
  chats.get(gone.chat)?.delete(gone.message_id);
  if (gone.chat === chatId()) document.querySelector(`[data-message="${gone.message_id}"]`)?.remove();
}

function showChat() {
  const her = setting.customer.name;
  const [name, face, about] = {
    private: [setting.bot.name, "✓", `bot · @${setting.bot.username}`],
    group: [setting.group.title, setting.group.title[0], `group, with ${setting.bot.name}`],
    customer: [isCustomer() ? "The shop’s people" : her, isCustomer() ? "?" : her[0], `chat without ${setting.bot.name}`],
  }[place];
  $("seller-owner").textContent = `${person(me).name}’s phone`;
  $("seller-name").textContent = name;
  $("seller-face").textContent = face;
  $("seller-face").className = `face kvit ${place}`;
  $("seller-about").textContent = about;
  $("messages").replaceChildren();
  lastDay = "";
  for (const message of (chats.get(chatId()) || new Map()).values()) append(message);
  unread.delete(chatId());
  showUnread();
  showHint();
  showChips();
  hideMenu();
  query = {};
  if (wanted()) ask();
  toEnd();
}

function showHint() {
  const empty = !$("messages").children.length;
  $("hint").hidden = !empty || place === "customer";
  $("inline-hint").hidden = !empty || place !== "customer";
}

function showUnread() {
  for (const label of document.querySelectorAll("[data-chat]")) {
    label.classList.toggle("news", unread.has(Number(label.dataset.chat)));
  }
}

let lastDay = "";

function append(message) {
  const on = day.format(message.date * 1000);
  if (on !== lastDay) $("messages").append(el("li", { class: "day" }, (lastDay = on)));
  $("messages").append(messageItem(message));
  showHint();
}

function toEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

function messageItem(message, changed) {
  const own = message.from === me;
  const bubble = el("div", { class: "bubble" });
  const via = message.inline ? `via @${setting.bot.username}` : "";
  const name = [!own && place !== "private" && message.name, via].filter(Boolean).join(" ");
  if (name) bubble.append(el("b", { class: "name" }, name));
  if (message.reply) bubble.append(cite(message.reply));
  if (message.photo) bubble.append(el("img", { alt: "Picture", src: `/files/${message.photo[0].file_id}` }));
  if (message.document) bubble.append(file(message.document));
  const [text, marks] = [message.text || message.caption || "", message.entities || message.caption_entities || []];
  bubble.append(...written(text, 0, text.length, marks));
  const edited = message.edit_date ? "edited " : "";
  bubble.append(el("span", { class: "meta" }, edited + clock.format((message.edit_date || message.date) * 1000)));
  const item = el("li", { class: "message" + (own ? " own" : ""), "data-message": message.message_id }, bubble);
  if (message.keyboard) {
    item.classList.add("keys");
    item.append(el("div", { class: "keyboard" }, ...message.keyboard.map((row) => keyRow(message, row))));
  }
  const about = (message.text || "").split("\n")[0].slice(0, 60);
  if (!message.inline) item.append(el("button", { class: "answer", "aria-label": `Reply to: ${about}`, onclick: () => reply(message) }, "↩"));
  item.classList.toggle("flash", Boolean(changed));
  return item;
}

function cite(replied) {
  const jump = () => {
    const target = document.querySelector(`[data-message="${replied.id}"]`);
    target?.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
    target?.classList.remove("flash");
    requestAnimationFrame(() => target?.classList.add("flash"));
  };
  const words = replied.text.split("\n").join(" ").slice(0, 90);
  return el("button", { class: "cite", onclick: jump }, el("b", {}, replied.name), el("span", {}, words));
}

function file(kept) {
  return el("a", { href: `/files/${kept.file_id}`, download: kept.file_name }, `📎 ${kept.file_name}`);
}

// The text between two offsets with its entities, which are UTF-16 offsets like JavaScript's own and nest in order.
function written(text, from, to, marks) {
  const parts = [];
  let at = from;
  const inside = marks.filter((mark) => mark.offset >= from && mark.offset + mark.length <= to);
  while (inside.length) {
    const mark = inside.shift();
    if (mark.offset < at) continue;
    const end = mark.offset + mark.length;
    const nested = inside.filter((other) => other.offset < end);
    parts.push(text.slice(at, mark.offset), marked(mark, text.slice(mark.offset, end), written(text, mark.offset, end, nested)));
    at = end;
  }
  return [...parts, text.slice(at, to)].filter((part) => part !== "");
}

const TAGS = { bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code", pre: "pre",
  blockquote: "blockquote", expandable_blockquote: "blockquote" };

function marked(mark, words, inner) {
  if (TAGS[mark.type]) return el(TAGS[mark.type], {}, ...inner);
  if (mark.type === "spoiler") return el("span", { class: "spoiler", tabindex: 0 }, ...inner);
  if (mark.type === "url" || mark.type === "text_link") return link(mark.url || words, {}, inner);
  if (mark.type === "bot_command") {
    const type = (event) => { event.preventDefault(); $("words").value = `${words} `; $("words").focus(); };
    return el("a", { href: "#words", onclick: type }, ...inner);
  }
  return el("span", { class: "tag" }, ...inner);
}

function link(url, given, inner) {
  const whole = /^[a-z]+:/i.test(url) ? url : `https://${url}`;
  const go = (event) => { event.preventDefault(); follow(whole); };
  return el("a", { href: /^https?:/.test(whole) ? whole : "#", onclick: go, ...given }, ...inner);
}

function keyRow(message, row) {
  return el("div", {}, ...row.map((button) => key(message, button)));
}

function key(message, button) {
  const given = { class: `key ${button.style || ""}` };
  const mark = (kind, sign) => el("i", { class: kind, "aria-hidden": "true" }, sign);
  if (button.url) return link(button.url, given, [button.text, mark("out", "↗")]);
  if (button.copy_text) {
    return el("button", { ...given, onclick: () => copy(button.copy_text.text) }, button.text, mark("both", ""));
  }
  return el("button", { ...given, onclick: (event) => tap(message, button, event.currentTarget) }, button.text);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied. Paste it on the customer’s phone.");
  } catch {
    toast(`This browser does not let us copy: ${text}`);
  }
}

async function tap(message, button, shown) {
  if (shown.getAttribute("aria-busy")) return;
  shown.setAttribute("aria-busy", "true");
  const where = message.inline ? { inline_message_id: message.message_id } : { chat_id: message.chat, message_id: message.message_id };
  const tapped = await act("telegram", "taps", { ...where, from_id: me, data: button.callback_data || "" });
  if (!tapped) return shown.removeAttribute("aria-busy");
  waiting.set(tapped.callback_query_id, shown);
  setTimeout(() => shown.removeAttribute("aria-busy"), 15000);
  if (answered.has(tapped.callback_query_id)) settle(answered.get(tapped.callback_query_id));
}

// The bot's answer to a tap; it may come before we know which tap it was.
function settle(answer) {
  answered.set(answer.id, answer);
  waiting.get(answer.id)?.removeAttribute("aria-busy");
  if (!waiting.has(answer.id) || answer.told) return;
  answer.told = true;
  if (!answer.text) return;
  if (!answer.alert) return toast(answer.text);
  $("alert-text").textContent = answer.text;
  $("alert").showModal();
}

// ---- Writing ---------------------------------------------------------------------------------------------------------

const EXAMPLES = ["/pay 125 DKK Coffee", "/pay 1.234 Flowers", "/hold 300 DKK Deposit", "/status", "/help"];

function showChips() {
  const named = ["125 DKK Coffee", "1.234 Flowers"].map((words) => `@${setting.bot.username} ${words}`);
  const [words, choose] = place === "customer" ? [named, type] : [EXAMPLES, write];
  $("chips").replaceChildren(...words.map((one) => el("button", { type: "button", onclick: () => choose(one) }, one)));
  $("words").placeholder = words[0];
}

function type(words) {
  $("words").value = words;
  $("words").focus();
  ask();
}

async function write(words) {
  const body = { chat_id: chatId(), from_id: me, text: words, language_code: "en" };
  if (replyTo) body.reply_to_message_id = replyTo.message_id;
  noReply();
  await act("telegram", "messages", body);
}

function reply(message) {
  replyTo = message;
  $("replying-name").textContent = `Reply to ${message.name}`;
  $("replying-text").textContent = (message.text || "").split("\n").join(" ");
  $("replying").hidden = false;
  $("words").focus();
}

function noReply() {
  replyTo = null;
  $("replying").hidden = true;
}

// What fits what is typed so far, commands or offers, as a list to pick from by arrow keys, Tab, Enter or tap.
let picked = 0;

function fitting() {
  const typed = $("words").value;
  if (place === "customer") {
    const choose = (offer) => act("telegram", "choose", { inline_query_id: query.id, result_id: offer.id });
    const pick = (offer) => { choose(offer); $("words").value = ""; query = {}; hideMenu(); };
    const found = (query.words === wanted() && offered.get(query.id)) || [];
    return found.map((offer) => ({ label: offer.title, about: offer.about, pick: () => pick(offer) }));
  }
  const fits = (one) => `/${one.name}`.startsWith(typed.toLowerCase());
  const found = /^\/\w*$/.test(typed) ? (menus[place] || []).filter(fits) : [];
  const pick = (name) => { $("words").value = `/${name} `; hideMenu(); };
  return found.map(({ name, about }) => ({ label: `/${name}`, about, pick: () => pick(name) }));
}

function showMenu(step = 0) {
  const found = fitting();
  picked = found.length ? (step + found.length) % found.length : 0;
  $("menu").replaceChildren(...found.map((one, index) => {
    const given = { id: `menu-${index}`, role: "option", "aria-selected": String(index === picked) };
    const choose = (event) => { event.preventDefault(); one.pick(); };
    return el("li", { ...given, onmousedown: choose }, el("b", {}, one.label), el("span", {}, one.about));
  }));
  $("menu").setAttribute("aria-label", place === "customer" ? "Offers" : "Commands");
  $("menu").hidden = !found.length;
  $("words").setAttribute("aria-expanded", String(found.length > 0));
  if (found.length) $("words").setAttribute("aria-activedescendant", `menu-${picked}`);
  else $("words").removeAttribute("aria-activedescendant");
  $("menu").children[picked]?.scrollIntoView({ block: "nearest" });
}

function hideMenu() {
  $("menu").hidden = true;
  $("words").setAttribute("aria-expanded", "false");
  $("words").removeAttribute("aria-activedescendant");
}

// Inline mode: what stands after the bot's name is asked for a moment after the last key.
let query = {};

function wanted() {
  if (place !== "customer") return "";
  const name = `@${setting.bot.username} `;
  const typed = $("words").value;
  return typed.toLowerCase().startsWith(name.toLowerCase()) ? typed.slice(name.length).trim() : "";
}

function ask() {
  showMenu();
  clearTimeout(ask.timer);
  const words = wanted();
  if (words && words !== query.words) ask.timer = setTimeout(async () => {
    const asked = await act("telegram", "inline", { from_id: me, query: words });
    query = { words, id: asked?.inline_query_id };
    showMenu();
  }, 250);
}

$("words").addEventListener("input", ask);
$("words").addEventListener("blur", hideMenu);
$("words").addEventListener("keydown", (event) => {
  const shown = !$("menu").hidden && fitting();
  if (event.key === "Escape") { hideMenu(); noReply(); }
  if (!shown) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const exact = $("words").value === shown[picked]?.label;
  if (step) showMenu(picked + step);
  else if (event.key === "Tab" && !event.shiftKey && !exact) shown[picked].pick();
  else if (event.key === "Enter" && !exact) shown[picked].pick();
  else return;
  event.preventDefault();
});
$("write").addEventListener("submit", (event) => {
  event.preventDefault();
  if (place === "customer") {
    const shown = fitting();
    if (shown.length) shown[picked].pick();
    else toast(`Only what ${setting.bot.name} offers can be sent here: type @${setting.bot.username} and an amount.`);
    return;
  }
  const words = $("words").value.trim();
  $("words").value = "";
  hideMenu();
  if (words) write(words);
});
$("no-reply").addEventListener("click", () => { noReply(); $("words").focus(); });
