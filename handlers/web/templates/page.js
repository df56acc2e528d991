(() => {
const d = document, w = window, q = (s) => d.querySelector(s), main = q("main"), ua = navigator.userAgent;
const clean = location.origin + location.pathname;
let stream, told, turn;
d.documentElement.className = "js";
async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw 0;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const held = q("#rest").contains(d.activeElement);
    for (const id of ["top", "state", "rest"]) {
      const now = d.getElementById(id), then = next.getElementById(id);
      now.className = then.className;
      now.replaceChildren(...then.childNodes);
    }
    const then = next.querySelector("main");
    d.title = next.title;
    for (const name of ["state", "live", "turn"]) {
      if (name in then.dataset) main.dataset[name] = then.dataset[name]; else delete main.dataset[name];
    }
    if (held) q("#state").focus();
    follow();
  } catch { setTimeout(look, 5000); }
}
function follow() {
  clearTimeout(turn);
  if (main.dataset.turn) turn = setTimeout(look, main.dataset.turn * 1000);
  if (stream && stream.readyState < 2 && main.dataset.live) return;
  if (stream) stream.close();
  if (!main.dataset.live) return;
  stream = new EventSource(main.dataset.live);
  stream.onmessage = (news) => {
    const changed = told ? told !== news.data : JSON.parse(news.data).state !== main.dataset.state;
    told = news.data;
    if (changed) look();
  };
  stream.onerror = () => { if (stream.readyState === 2) setTimeout(look, 15000); };
}
const copy = async (button) => {
  const label = button.textContent;
  try { await navigator.clipboard.writeText(clean); } catch {
    const field = d.createElement("input");
    field.readOnly = true;
    field.value = clean;
    field.setAttribute("aria-label", label);
    button.after(field);
    field.select();
    if (!d.execCommand("copy")) return;
    field.remove();
    button.focus();
  }
  button.textContent = button.dataset.copy;
  setTimeout(() => { button.textContent = label; }, 2000);
};
d.addEventListener("click", (tap) => {
  const button = tap.target.closest("[data-copy]");
  if (button) copy(button);
});
const within = /FBA[NV]|Instagram|Line\/|Snapchat|musical_ly|TikTok|Telegram|Twitter|LinkedInApp|; wv\)/.test(ua)
  || (/iPhone|iPad/.test(ua) && !/Safari\//.test(ua));
function stuck() {
  setTimeout(() => {
    const box = q("#stuck");
    if (d.hidden || !box) return;
    q("#out").href = /Android/.test(ua)
      ? "intent://" + location.host + location.pathname + "#Intent;scheme=" + location.protocol.slice(0, -1) + ";end"
      : clean;
    box.hidden = false;
  }, 3000);
}
if (within) {
  d.addEventListener("submit", stuck);
  if (main.dataset.state === "waiting") stuck();
}
w.addEventListener("pageshow", (event) => { if (event.persisted) look(); });
d.addEventListener("visibilitychange", () => { if (!d.hidden && main.dataset.live) look(); });
follow();
})();
