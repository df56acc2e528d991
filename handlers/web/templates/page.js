(() => {
const find = (selector) => document.querySelector(selector), main = find("main"), agent = navigator.userAgent;
const pageUrl = location.origin + location.pathname;
let stream, lastEvent, reloadTimer;
document.documentElement.className = "js";
async function reload() {
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok) throw 0;
    const next = new DOMParser().parseFromString(await response.text(), "text/html");
    const hadFocus = find("#actions").contains(document.activeElement);
    for (const id of ["request", "state", "actions"]) {
      const current = document.getElementById(id), replacement = next.getElementById(id);
      current.className = replacement.className;
      current.replaceChildren(...replacement.childNodes);
    }
    const { dataset } = next.querySelector("main");
    document.title = next.title;
    for (const name of ["state", "live", "reloadSeconds"]) {
      if (name in dataset) main.dataset[name] = dataset[name]; else delete main.dataset[name];
    }
    if (hadFocus) find("#state").focus();
    if (inApp && main.dataset.state === "waiting") showHelp();
    listen();
  } catch { setTimeout(reload, 5000); }
}
function listen() {
  clearTimeout(reloadTimer);
  if (main.dataset.reloadSeconds) reloadTimer = setTimeout(reload, main.dataset.reloadSeconds * 1000);
  if (stream && stream.readyState < 2 && main.dataset.live) return;
  if (stream) stream.close();
  if (!main.dataset.live) return;
  stream = new EventSource(main.dataset.live);
  stream.onmessage = ({ data }) => {
    const changed = lastEvent ? lastEvent !== data : JSON.parse(data).state !== main.dataset.state;
    lastEvent = data;
    if (changed) reload();
  };
  stream.onerror = () => { if (stream.readyState === 2) setTimeout(reload, 15000); };
}
const copyUrl = async (button) => {
  const label = button.textContent;
  try { await navigator.clipboard.writeText(pageUrl); } catch {
    const field = document.createElement("input");
    field.readOnly = true;
    field.value = pageUrl;
    field.setAttribute("aria-label", label);
    button.after(field);
    field.select();
    if (!document.execCommand("copy")) return;
    field.remove();
    button.focus();
  }
  button.textContent = button.dataset.copy;
  setTimeout(() => { button.textContent = label; }, 2000);
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copyUrl(button);
});
const inApp = /FBA[NV]|Instagram|Line\/|Snapchat|musical_ly|TikTok|Telegram|Twitter|LinkedInApp|; wv\)/.test(agent)
  || (/iPhone|iPad/.test(agent) && !/Safari\//.test(agent));
function showHelp() {
  setTimeout(() => {
    const help = find("#in-app-help");
    if (document.hidden || !help) return;
    find("#open-in-browser").href = /Android/.test(agent)
      ? "intent://" + location.host + location.pathname + "#Intent;scheme=" + location.protocol.slice(0, -1) + ";end"
      : pageUrl;
    help.hidden = false;
  }, 3000);
}
if (inApp) {
  document.addEventListener("submit", showHelp);
  if (main.dataset.state === "waiting") showHelp();
}
window.addEventListener("pageshow", (event) => { if (event.persisted) reload(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && main.dataset.live) reload(); });
listen();
})();
