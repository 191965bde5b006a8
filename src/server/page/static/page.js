// What moves on the pages. They work without it.
"use strict";
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const one = (what, where = document) => where.querySelector(what);
  const main = one("#main");
  // The server's clock, not the one of this machine.
  const skew = Number(document.body.dataset.now) - Date.now();
  const now = () => Date.now() + skew;
  const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

  // Times: as human::relative and human::duration on the server say them.
  const relative = (at) => {
    const away = Math.abs(now() - at) / 1000;
    if (away < 1) return "now";
    const days = Math.floor(away / 86400);
    const text = away < 60 ? `${Math.floor(away)} s` : away < 3600 ? `${Math.floor(away / 60)} min`
      : away < 86400 ? `${Math.floor(away / 3600)} h`
      : days < 730 ? plural(days, "day") : plural(Math.floor(days / 365), "year");
    return now() >= at ? `${text} ago` : `in ${text}`;
  };
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const lasting = (since) => {
    const s = Math.max(0, (now() - since) / 1000);
    return s < 60 ? `${Math.floor(s)}s` : s < 3600 ? `${Math.floor(s / 60)}m${two(s % 60)}s`
      : s < 86400 ? `${Math.floor(s / 3600)}h${two((s % 3600) / 60)}m`
      : `${Math.floor(s / 86400)}d${two((s % 86400) / 3600)}h`;
  };
  const tick = () => {
    for (const cell of all("[data-since]")) cell.textContent = lasting(Number(cell.dataset.since));
  };
  const age = () => {
    for (const ago of all(".ago")) {
      const at = Date.parse(ago.previousElementSibling?.dateTime);
      if (!Number.isNaN(at)) ago.textContent = relative(at);
    }
  };
  tick();
  setInterval(tick, 1000);
  setInterval(age, 10000);

  // The zone of this browser, unless the server offers it already.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const here = one("[data-zone]");
  if (here && zone && !all('[name="zone"]').some((other) => other.value === zone)) {
    here.value = zone;
    here.textContent = `${zone} (browser)`;
    here.hidden = false;
  }

  // Copying.
  for (const button of all("[data-copy]")) {
    if (!navigator.clipboard) break;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(one(`#${button.dataset.copy}`).textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // The menu closes when one goes elsewhere.
  const menu = one(".menu");
  document.addEventListener("click", (event) => {
    if (menu?.open && !menu.contains(event.target)) menu.open = false;
  });

  // What comes, as it comes.
  const live = one(".live");
  const rows = one("#rows");
  const news = one("#news");
  const isTail = rows?.dataset.tail !== undefined;
  const most = 1000;
  let source = null;
  let waiting = [];
  let lost = 0;

  const parsed = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  };
  const atEnd = () => isTail
    ? innerHeight + scrollY >= document.documentElement.scrollHeight - 120 : scrollY < 200;
  const put = (row) => {
    one("#nothing")?.classList.add("none");
    one(".empty")?.classList.add("none");
    all(".scroll.none").forEach((scroll) => scroll.classList.remove("none"));
    if (isTail) {
      rows.append(row);
      if (rows.childElementCount > most) rows.firstElementChild.remove();
      return;
    }
    const same = row.dataset.run && all("tr", rows).find((tr) => tr.dataset.run === row.dataset.run);
    if (same) {
      const focused = same.contains(document.activeElement);
      same.replaceWith(row);
      if (focused) one(".go", row).focus();
    } else {
      rows.prepend(row);
      if (rows.childElementCount > most) rows.lastElementChild.remove();
    }
  };
  const show = () => {
    waiting.forEach(put);
    waiting = [];
    if (news) news.hidden = true;
    if (isTail) scrollTo(0, document.documentElement.scrollHeight);
  };
  const take = (row) => {
    if (!row || document.getElementById(row.id)) return;
    if (atEnd() && waiting.length === 0) {
      put(row);
      if (isTail) scrollTo(0, document.documentElement.scrollHeight);
    } else {
      waiting.push(row);
      if (waiting.length > most) waiting.shift();
      if (news) {
        news.textContent = `${waiting.length} new`;
        news.hidden = false;
      } else {
        live.textContent = `Live, ${waiting.length} new`;
      }
    }
  };
  const gap = (text) => {
    const mark = document.createElement(isTail ? "li" : "tr");
    mark.id = `gap${Date.now()}`;
    if (isTail) {
      mark.className = "gap";
      mark.textContent = text;
    } else {
      const cell = document.createElement("td");
      cell.colSpan = 7;
      cell.className = "gap";
      cell.textContent = text;
      mark.append(cell);
    }
    take(mark);
  };
  const stop = () => {
    source?.close();
    source = null;
    live.setAttribute("aria-pressed", "false");
    live.textContent = "Live";
  };
  const start = () => {
    source = new EventSource(live.dataset.stream);
    live.setAttribute("aria-pressed", "true");
    source.onopen = () => {
      live.textContent = "Live";
      // It goes on behind the last record that came, so nothing is missing.
      if (lost) gap(`The connection was lost for ${Math.round((Date.now() - lost) / 1000)} s. `
        + "It goes on where it ended.");
      lost = 0;
    };
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) {
        stop();
        gap("The connection has ended. Load the page anew, or sign in again.");
      } else if (!lost) {
        lost = Date.now();
        live.textContent = "Live, connecting …";
      }
    };
    for (const kind of ["run", "event", "error"]) {
      source.addEventListener(kind, (event) => take(parsed(event.data)));
    }
    source.addEventListener("damaged", (event) => {
      gap(`Record ${event.lastEventId} cannot be read.`);
    });
  };
  const toggle = () => {
    if (source) stop(); else start();
    try { localStorage.setItem("live", source ? "on" : "off"); } catch { /* It is not kept then. */ }
  };
  if (live && window.EventSource) {
    live.hidden = false;
    live.addEventListener("click", toggle);
    news?.addEventListener("click", show);
    addEventListener("scroll", () => { if (waiting.length && atEnd()) show(); }, { passive: true });
    addEventListener("pagehide", () => source?.close());
    let kept = null;
    try { kept = localStorage.getItem("live"); } catch { /* As for a first visit. */ }
    if (kept === "on" || (isTail && kept !== "off")) start();
    if (isTail && !location.hash) scrollTo(0, document.documentElement.scrollHeight);
  }

  // Keys.
  const dialog = one("#keys");
  all(".keys").forEach((hint) => { hint.hidden = false; });
  const step = (by) => {
    const links = all(".go", main);
    if (links.length === 0) return;
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by;
    const link = links[Math.min(Math.max(next, 0), links.length - 1)];
    link.focus();
    link.scrollIntoView({ block: "nearest" });
  };
  const nextError = () => {
    const errors = all(".is-error", main);
    const at = errors.findIndex((error) => `#${error.id}` === location.hash);
    const next = errors[(at + 1) % errors.length];
    if (next) location.hash = next.id;
  };
  const fold = () => {
    const blocks = all("details.block", main);
    const open = blocks.some((block) => !block.open);
    blocks.forEach((block) => { block.open = open; });
  };
  const keys = {
    j: () => step(1), k: () => step(-1), e: nextError, x: fold,
    l: () => { if (live) toggle(); },
    "/": () => one("#find")?.focus(),
    "?": () => { if (dialog.open) dialog.close(); else dialog.showModal(); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu?.open) {
      menu.open = false;
      one("summary", menu).focus();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
})();
