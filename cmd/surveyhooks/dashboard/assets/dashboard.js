// What the pages can do more with JavaScript: keys, copying, following live, selecting all. Everything works without it.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Buttons that only work with this script are hidden until it runs, and after htmx has brought new ones.
  function reveal(within) {
    all(".copy[hidden], .live[hidden], #help-open[hidden]", within).forEach((b) => { b.hidden = false; });
    all("[data-all]", within).forEach(settleTypes);
  }

  // "All events" stands alone.
  function settleTypes(box) {
    all("input[name=events]:not([data-all])", box.form).forEach((other) => {
      other.disabled = box.checked;
      if (box.checked) other.checked = false;
    });
  }

  async function copy(button) {
    const said = one(".copy-done", button);
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
      said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      said.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { said.textContent = ""; }, 2000);
  }

  // Live tail. Rows wait while something is selected, so that nothing moves under the pointer.
  const live = { source: null, waiting: [] };
  const picked = () => all("input[name=delivery]:checked").length;

  function follow(button) {
    if (live.source) return unfollow(button);
    button.setAttribute("aria-pressed", "true");
    live.source = new EventSource(button.dataset.live);
    live.source.addEventListener("open", () => say("Following. New deliveries appear on top."));
    live.source.addEventListener("row", (event) => arrive({ html: event.data }));
    live.source.addEventListener("gone", (event) => arrive({ gone: event.data }));
    live.source.addEventListener("reset", () => location.reload());
    live.source.addEventListener("error", () => say("The connection was lost; trying again…"));
  }

  function unfollow(button) {
    live.source.close();
    live.source = null;
    live.waiting = [];
    button.setAttribute("aria-pressed", "false");
    say("");
  }

  function arrive(change) {
    live.waiting.push(change);
    if (picked()) return say(`Paused while you select: ${live.waiting.length} changes wait.`);
    flush();
  }

  function flush() {
    const rows = document.getElementById("live-rows");
    if (!rows || !live.source) return;
    for (const change of live.waiting.splice(0)) {
      if (change.gone) {
        one(`#${CSS.escape(change.gone)}`, rows)?.remove();
        continue;
      }
      const frame = document.createElement("template");
      frame.innerHTML = change.html; // our own server's HTML, escaped there; the policy lets no script run in it
      const row = frame.content.firstElementChild;
      const old = row && document.getElementById(row.id);
      if (!row) continue;
      row.classList.add("fresh");
      setTimeout(() => row.classList.remove("fresh"), 1500);
      old ? old.replaceWith(row) : rows.prepend(row);
    }
    all("tr", rows).slice(200).forEach((row) => row.remove());
    one(".nothing")?.remove();
    all(".list-bar > [hidden]").forEach((part) => { part.hidden = false; });
    say("Following. New deliveries appear on top.");
  }

  function say(words) {
    const line = one(".live-says");
    if (!line) return;
    line.hidden = words === "";
    line.textContent = words;
  }

  function countPicked() {
    const n = picked();
    const line = one(".picked");
    if (line) line.textContent = n ? `${n} selected` : "";
    if (!n && live.waiting.length) flush();
  }

  // Keys.
  const rows = () => all("tr.row").filter((row) => row.offsetParent !== null);
  const here = () => one("tr.row.here");

  function move(step) {
    const list = rows();
    if (!list.length) return;
    const at = list.indexOf(here());
    const next = list[Math.min(Math.max(at + step, 0), list.length - 1)];
    here()?.classList.remove("here");
    next.classList.add("here");
    one(".row-link", next)?.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  function press(key) {
    const row = here();
    if (key === "r" && row && one("input[name=delivery]", row)) {
      all("input[name=delivery]").forEach((box) => { box.checked = false; });
      one("input[name=delivery]", row).checked = true;
      return one("#bulk")?.requestSubmit();
    }
    const form = (row && one(`form[data-key=${key}]`, row)) || (!row || key === "r" ? one(`main form[data-key=${key}]`) : null);
    if (form && (key !== "r" || form.id !== "bulk" || picked())) form.requestSubmit();
  }

  const keys = {
    "/": () => one("#search")?.focus(),
    j: () => move(1),
    k: () => move(-1),
    r: () => press("r"),
    t: () => press("t"),
    "?": () => one("#help").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
    if (event.key === "Escape" && event.target.id === "search") {
      event.preventDefault(); // or the browser empties the field, and it no longer says what the list shows
      return event.target.blur();
    }
    if (event.target.closest("input:not([type=checkbox]), select, textarea, [contenteditable]")) return;
    if (event.key === "Enter" && here() && !event.target.closest("a, button, summary, input")) {
      location.href = here().dataset.href;
    } else if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.matches(".copy")) return void copy(button);
    if (button?.matches(".live")) return void follow(button);
    if (button?.id === "help-open") return void one("#help").showModal();
    const row = event.target.closest("tr.row");
    if (row?.dataset.href && !event.target.closest("a, button, input, label, form, time") && String(getSelection()) === "") location.href = row.dataset.href;
  });

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches("[data-all]")) settleTypes(box);
    if (box.matches("[data-pick-all]")) all("input[name=delivery]").forEach((other) => { other.checked = box.checked; });
    if (box.matches("[data-pick-all], input[name=delivery]")) countPicked();
  });

  // A search that is answered late brings the rows anew: the place among them stays.
  let place = "";
  document.addEventListener("htmx:beforeSwap", () => { place = here()?.id ?? place; });
  document.addEventListener("htmx:afterSettle", (event) => {
    reveal(event.target);
    const fault = document.getElementById("search-fault");
    if (fault) one("#search").setAttribute("aria-invalid", String(fault.childElementCount > 0));
    const row = !here() && place && document.getElementById(place);
    if (!row) return;
    row.classList.add("here");
    if (document.activeElement === document.body) one(".row-link", row)?.focus({ preventScroll: true });
  });
  reveal(document);
})();
