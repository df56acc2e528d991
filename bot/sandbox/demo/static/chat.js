// ---- The merchant's phone: users, messages, buttons -----------------------------------------------------------------

function userChoice(choice) {
  const input = el("input", { type: "radio", name: "user", value: choice.id, checked: choice.id === me });
  input.addEventListener("change", () => { me = choice.id; cancelReply(); showChat(); });
  const avatar = el("span", { class: `avatar ${choice.role}`, "aria-hidden": "true" }, choice.name[0]);
  return el("label", { "data-chat": choice.id }, input, avatar, el("span", {}, choice.name), el("small", {}, choice.role));
}

function chatChoice(value, label) {
  const input = el("input", { type: "radio", name: "chat", value, checked: value === chatType });
  input.addEventListener("change", () => { chatType = value; cancelReply(); showChat(); });
  return el("label", { "data-chat": value === "group" && config.group.id }, input, el("span", {}, label));
}

// An inline message is in the sender's chat with the customer and in the customer's own.
function addMessage(message, isOld) {
  if (message.inline && message.chat !== "customer") addMessage({ ...message, chat: "customer" }, isOld);
  const chat = chats.get(message.chat) || chats.set(message.chat, new Map()).get(message.chat);
  const before = chat.get(message.message_id);
  chat.set(message.message_id, message);
  if (message.chat !== chatId()) {
    if (message.bot && !isOld) unread.add(message.chat);
    return showUnread();
  }
  if (isOld) return undefined;
  const shown = document.querySelector(`[data-message="${message.message_id}"]`);
  if (shown) {
    const focused = shown.contains(document.activeElement) && document.activeElement.textContent;
    shown.replaceWith(messageItem(message, true));
    if (focused) restoreFocus(message.message_id, focused);
  } else {
    append(message);
  }
  if (before && message.text !== before.text) announce(`${message.name} edited a message: ${message.text}`);
  scrollToEnd();
  return undefined;
}

// An edited message is a new element: the focus stays on the button with the same label, or in the message.
function restoreFocus(id, label) {
  const keys = [...document.querySelectorAll(`[data-message="${id}"] button, [data-message="${id}"] a`)];
  (keys.find((key) => key.textContent === label) || keys.at(-1) || $("text")).focus();
}

function removeMessage(deleted) {
  chats.get(deleted.chat)?.delete(deleted.message_id);
  if (deleted.chat === chatId()) document.querySelector(`[data-message="${deleted.message_id}"]`)?.remove();
}

function showChat() {
  const customer = config.customer.name;
  const [name, letter, about] = {
    private: [config.bot.name, "✓", `bot · @${config.bot.username}`],
    group: [config.group.title, config.group.title[0], `group, with ${config.bot.name}`],
    customer: [isCustomer() ? "The shop’s members" : customer, isCustomer() ? "?" : customer[0], `chat without ${config.bot.name}`],
  }[chatType];
  $("seller-owner").textContent = `${user(me).name}’s phone`;
  $("seller-name").textContent = name;
  $("seller-avatar").textContent = letter;
  $("seller-avatar").className = `avatar kvit ${chatType}`;
  $("seller-about").textContent = about;
  $("messages").replaceChildren();
  lastDay = "";
  for (const message of (chats.get(chatId()) || new Map()).values()) append(message);
  unread.delete(chatId());
  showUnread();
  showHint();
  showExamples();
  hideMenu();
  query = {};
  if (inlineText()) onInput();
  scrollToEnd();
}

function showHint() {
  const isEmpty = !$("messages").children.length;
  $("hint").hidden = !isEmpty || chatType === "customer";
  $("inline-hint").hidden = !isEmpty || chatType !== "customer";
}

function showUnread() {
  for (const label of document.querySelectorAll("[data-chat]")) {
    label.classList.toggle("unread", unread.has(Number(label.dataset.chat)));
  }
}

let lastDay = "";

function append(message) {
  const date = day.format(message.date * 1000);
  if (date !== lastDay) $("messages").append(el("li", { class: "day" }, (lastDay = date)));
  $("messages").append(messageItem(message));
  showHint();
}

function scrollToEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

function messageItem(message, isChanged) {
  const isOwn = message.from === me;
  const bubble = el("div", { class: "bubble" });
  const via = message.inline ? `via @${config.bot.username}` : "";
  const name = [!isOwn && chatType !== "private" && message.name, via].filter(Boolean).join(" ");
  if (name) bubble.append(el("b", { class: "name" }, name));
  if (message.reply) bubble.append(cite(message.reply));
  if (message.photo) bubble.append(el("img", { alt: "Picture", src: `/files/${message.photo[0].file_id}` }));
  if (message.document) bubble.append(fileLink(message.document));
  const [text, entities] = [message.text || message.caption || "", message.entities || message.caption_entities || []];
  bubble.append(...formatted(text, 0, text.length, entities));
  const edited = message.edit_date ? "edited " : "";
  bubble.append(el("span", { class: "meta" }, edited + clock.format((message.edit_date || message.date) * 1000)));
  const item = el("li", { class: "message" + (isOwn ? " own" : ""), "data-message": message.message_id }, bubble);
  if (message.keyboard) {
    item.classList.add("keys");
    item.append(el("div", { class: "keyboard" }, ...message.keyboard.map((row) => keyRow(message, row))));
  }
  const start = (message.text || "").split("\n")[0].slice(0, 60);
  if (!message.inline) item.append(el("button", { class: "reply-to", "aria-label": `Reply to: ${start}`, onclick: () => reply(message) }, "↩"));
  item.classList.toggle("flash", Boolean(isChanged));
  return item;
}

function cite(replied) {
  const jump = () => {
    const target = document.querySelector(`[data-message="${replied.id}"]`);
    target?.scrollIntoView({ block: "center", behavior: reducedMotion.matches ? "auto" : "smooth" });
    target?.classList.remove("flash");
    requestAnimationFrame(() => target?.classList.add("flash"));
  };
  const text = replied.text.split("\n").join(" ").slice(0, 90);
  return el("button", { class: "cite", onclick: jump }, el("b", {}, replied.name), el("span", {}, text));
}

function fileLink(file) {
  return el("a", { href: `/files/${file.file_id}`, download: file.file_name }, `📎 ${file.file_name}`);
}

// The text between two offsets with its entities. Offsets count UTF-16 code units, as JavaScript strings do.
function formatted(text, from, to, entities) {
  const parts = [];
  let at = from;
  const inside = entities.filter((entity) => entity.offset >= from && entity.offset + entity.length <= to);
  while (inside.length) {
    const entity = inside.shift();
    if (entity.offset < at) continue;
    const end = entity.offset + entity.length;
    const nested = inside.filter((other) => other.offset < end);
    const content = formatted(text, entity.offset, end, nested);
    parts.push(text.slice(at, entity.offset), entityElement(entity, text.slice(entity.offset, end), content));
    at = end;
  }
  return [...parts, text.slice(at, to)].filter((part) => part !== "");
}

const TAGS = { bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code", pre: "pre",
  blockquote: "blockquote", expandable_blockquote: "blockquote" };

function entityElement(entity, text, content) {
  if (TAGS[entity.type]) return el(TAGS[entity.type], {}, ...content);
  if (entity.type === "spoiler") return el("span", { class: "spoiler", tabindex: 0 }, ...content);
  if (entity.type === "url" || entity.type === "text_link") return link(entity.url || text, {}, content);
  if (entity.type === "bot_command") {
    const fill = (event) => { event.preventDefault(); $("text").value = `${text} `; $("text").focus(); };
    return el("a", { href: "#text", onclick: fill }, ...content);
  }
  return el("span", { class: "tag" }, ...content);
}

function link(url, given, content) {
  const absolute = /^[a-z]+:/i.test(url) ? url : `https://${url}`;
  const go = (event) => { event.preventDefault(); follow(absolute); };
  return el("a", { href: /^https?:/.test(absolute) ? absolute : "#", onclick: go, ...given }, ...content);
}

function keyRow(message, row) {
  return el("div", {}, ...row.map((button) => key(message, button)));
}

function key(message, button) {
  const given = { class: `key ${button.style || ""}` };
  const icon = (kind, sign) => el("i", { class: kind, "aria-hidden": "true" }, sign);
  if (button.url) return link(button.url, given, [button.text, icon("out", "↗")]);
  if (button.copy_text) {
    return el("button", { ...given, onclick: () => copy(button.copy_text.text) }, button.text, icon("both", ""));
  }
  return el("button", { ...given, onclick: (event) => press(message, button, event.currentTarget) }, button.text);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied. Paste it on the customer’s phone.");
  } catch {
    toast(`This browser does not allow copying: ${text}`);
  }
}

async function press(message, button, shown) {
  if (shown.getAttribute("aria-busy")) return;
  shown.setAttribute("aria-busy", "true");
  const where = message.inline ? { inline_message_id: message.message_id } : { chat_id: message.chat, message_id: message.message_id };
  const result = await control("telegram", "taps", { ...where, from_id: me, data: button.callback_data || "" });
  if (!result) return shown.removeAttribute("aria-busy");
  pressed.set(result.callback_query_id, shown);
  setTimeout(() => shown.removeAttribute("aria-busy"), 15000);
  if (answers.has(result.callback_query_id)) showAnswer(answers.get(result.callback_query_id));
}

// The answer to a callback query. It may arrive before the id of the query, which is in the response to `press`.
function showAnswer(answer) {
  answers.set(answer.id, answer);
  pressed.get(answer.id)?.removeAttribute("aria-busy");
  if (!pressed.has(answer.id) || answer.isShown) return;
  answer.isShown = true;
  if (!answer.text) return;
  if (!answer.alert) return toast(answer.text);
  $("alert-text").textContent = answer.text;
  $("alert").showModal();
}

// ---- Sending messages -----------------------------------------------------------------------------------------------

const EXAMPLES = ["/pay 125 DKK Coffee", "/pay 1.234 Flowers", "/hold 300 DKK Deposit", "/status", "/help"];

function showExamples() {
  const inline = ["125 DKK Coffee", "1.234 Flowers"].map((text) => `@${config.bot.username} ${text}`);
  const [examples, choose] = chatType === "customer" ? [inline, type] : [EXAMPLES, send];
  $("chips").replaceChildren(...examples.map((text) => el("button", { type: "button", onclick: () => choose(text) }, text)));
  $("text").placeholder = examples[0];
}

function type(text) {
  $("text").value = text;
  $("text").focus();
  onInput();
}

async function send(text) {
  const body = { chat_id: chatId(), from_id: me, text, language_code: "en" };
  if (replyTo) body.reply_to_message_id = replyTo.message_id;
  const sent = await control("telegram", "messages", body);
  if (sent) cancelReply();
  return sent;
}

// What could not be sent stays where it was typed.
async function sendTyped(text) {
  $("text").value = "";
  hideMenu();
  if (!(await send(text)) && !$("text").value) $("text").value = text;
}

function reply(message) {
  replyTo = message;
  $("replying-name").textContent = `Reply to ${message.name}`;
  $("replying-text").textContent = (message.text || "").split("\n").join(" ");
  $("replying").hidden = false;
  $("text").focus();
}

function cancelReply() {
  replyTo = null;
  $("replying").hidden = true;
}

// The matching commands or inline results, as a list to choose from by arrow keys, Tab, Enter or tap.
let selected = 0;

function suggestions() {
  const typed = $("text").value;
  if (chatType === "customer") {
    const choose = (result) => control("telegram", "choose", { inline_query_id: query.id, result_id: result.id });
    const pick = async (result) => {
      const typed = $("text").value;
      $("text").value = "";
      hideMenu();
      if (await choose(result)) query = {};
      else if (!$("text").value) $("text").value = typed;
    };
    const found = (query.text === inlineText() && inlineResults.get(query.id)) || [];
    return found.map((result) => ({ label: result.title, description: result.description, pick: () => pick(result) }));
  }
  const matches = (command) => `/${command.name}`.startsWith(typed.toLowerCase());
  const found = /^\/\w*$/.test(typed) ? (menus[chatType] || []).filter(matches) : [];
  const pick = (name) => { $("text").value = `/${name} `; hideMenu(); };
  return found.map(({ name, description }) => ({ label: `/${name}`, description, pick: () => pick(name) }));
}

function showMenu(index = 0) {
  const found = suggestions();
  selected = found.length ? (index + found.length) % found.length : 0;
  $("menu").replaceChildren(...found.map((suggestion, number) => {
    const given = { id: `menu-${number}`, role: "option", "aria-selected": String(number === selected) };
    const choose = (event) => { event.preventDefault(); suggestion.pick(); };
    return el("li", { ...given, onmousedown: choose }, el("b", {}, suggestion.label), el("span", {}, suggestion.description));
  }));
  $("menu").setAttribute("aria-label", chatType === "customer" ? "Results" : "Commands");
  $("menu").hidden = !found.length;
  $("text").setAttribute("aria-expanded", String(found.length > 0));
  if (found.length) $("text").setAttribute("aria-activedescendant", `menu-${selected}`);
  else $("text").removeAttribute("aria-activedescendant");
  $("menu").children[selected]?.scrollIntoView({ block: "nearest" });
}

function hideMenu() {
  $("menu").hidden = true;
  $("text").setAttribute("aria-expanded", "false");
  $("text").removeAttribute("aria-activedescendant");
}

// Inline mode: the text after the bot's name is sent as a query 250 ms after the last key.
let query = {};

function inlineText() {
  if (chatType !== "customer") return "";
  const name = `@${config.bot.username} `;
  const typed = $("text").value;
  return typed.toLowerCase().startsWith(name.toLowerCase()) ? typed.slice(name.length).trim() : "";
}

function onInput() {
  showMenu();
  clearTimeout(onInput.timer);
  const text = inlineText();
  if (text && text !== query.text) onInput.timer = setTimeout(async () => {
    const result = await control("telegram", "inline", { from_id: me, query: text });
    query = { text, id: result?.inline_query_id };
    showMenu();
  }, 250);
}

$("text").addEventListener("input", onInput);
$("text").addEventListener("blur", hideMenu);
$("text").addEventListener("keydown", (event) => {
  const shown = !$("menu").hidden && suggestions();
  if (event.key === "Escape") { hideMenu(); cancelReply(); }
  if (!shown) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const isExact = $("text").value === shown[selected]?.label;
  if (step) showMenu(selected + step);
  else if (event.key === "Tab" && !event.shiftKey && !isExact) shown[selected].pick();
  else if (event.key === "Enter" && !isExact) shown[selected].pick();
  else return;
  event.preventDefault();
});
$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  if (chatType === "customer") {
    const shown = suggestions();
    if (shown.length) shown[selected].pick();
    else toast(`Only results of ${config.bot.name} can be sent here: type @${config.bot.username} and an amount.`);
    return;
  }
  const text = $("text").value.trim();
  if (text) sendTyped(text);
});
$("no-reply").addEventListener("click", () => { cancelReply(); $("text").focus(); });
