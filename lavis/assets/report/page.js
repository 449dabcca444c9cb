"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  // Light and dark. A page opened from disk may have no storage: then the choice lasts until it is closed.
  const theme = $("theme");
  const remembered = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  if (remembered()) root.dataset.theme = remembered();
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* not kept */ }
  });

  // Values of the charts under the pointer.
  for (const plot of document.querySelectorAll("[data-chart]")) {
    const chart = JSON.parse(plot.dataset.chart);
    const probe = plot.appendChild(document.createElement("i"));
    const tip = plot.appendChild(document.createElement("div"));
    probe.className = "probe";
    tip.className = "tip";
    probe.hidden = tip.hidden = true;
    const short = (value) => Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4));
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      const x = chart.low + share * chart.across;
      const rows = chart.series.map((line) => {
        const near = line.points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
        return { line, near };
      });
      const at = rows.reduce((a, b) => Math.abs(b.near[0] - x) < Math.abs(a.near[0] - x) ? b : a).near[0];
      tip.replaceChildren(`${short(at)} ${chart.unit}`);
      for (const { line, near } of rows) {
        const row = tip.appendChild(document.createElement("div"));
        row.appendChild(document.createElement("i")).className = `fill-${line.colour}`;
        row.append(`${line.name}: ${short(near[1])}`);
      }
      const place = (at - chart.low) / chart.across;
      probe.style.left = `${100 * place}%`;
      tip.style.left = place < 0.5 ? `calc(${100 * place}% + .6rem)` : "auto";
      tip.style.right = place < 0.5 ? "auto" : `calc(${100 - 100 * place}% + .6rem)`;
      probe.hidden = tip.hidden = false;
    });
    plot.addEventListener("pointerleave", () => { probe.hidden = tip.hidden = true; });
  }

  const list = $("cards");
  if (!list) return;

  // A line through frames and answers at the pointer's time.
  list.addEventListener("pointermove", (event) => {
    const timeline = event.target.closest(".timeline");
    for (const other of list.querySelectorAll(".timeline.probed")) if (other !== timeline) other.classList.remove("probed");
    if (!timeline) return;
    const box = timeline.querySelector(".track").getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    timeline.classList.toggle("probed", share >= 0 && share <= 1);
    const cursor = timeline.querySelector(".cursor");
    cursor.style.left = `${event.clientX - timeline.getBoundingClientRect().left}px`;
    cursor.dataset.label = `${(share * timeline.dataset.duration).toFixed(1)} s`;
  });
  list.addEventListener("pointerleave", () => list.querySelectorAll(".probed").forEach((t) => t.classList.remove("probed")));

  // Filter, sort, and how many are shown.
  const PAGE = 24;
  const cards = [...list.children];
  const number = (card, name, absent) => card.dataset[name] === undefined ? absent : Number(card.dataset[name]);
  const orders = {
    worst: (card) => number(card, "iou", 2),
    best: (card) => -number(card, "iou", -1),
    gain: (card) => -number(card, "gain", -2),
    loss: (card) => number(card, "gain", 2),
    order: () => 0,
  };
  let limit = PAGE;
  let shown = cards;
  const update = () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = document.querySelector("input[name=kind]:checked")?.value || "";
    const key = orders[$("sort").value];
    const matching = cards.filter((card) =>
      (!kind || card.dataset.kind === kind) && words.every((word) => card.dataset.text.includes(word)));
    matching.sort((a, b) => key(a) - key(b) || a.dataset.order - b.dataset.order);
    shown = matching.slice(0, limit);
    list.replaceChildren(...shown);
    const all = `${cards.length.toLocaleString("en")} ${cards.length === 1 ? "query" : "queries"}`;
    $("count").textContent = matching.length === cards.length ? all : `${matching.length.toLocaleString("en")} of ${all}`;
    $("nothing").hidden = matching.length > 0;
    $("more").hidden = matching.length <= limit;
    $("more").textContent = `Show ${Math.min(PAGE, matching.length - limit)} more`;
  };
  const again = () => { limit = PAGE; update(); };
  $("controls").addEventListener("input", again);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", () => {
    const next = shown.length;
    limit += PAGE;
    update();
    shown[next]?.firstElementChild.focus();
  });
  $("reset").addEventListener("click", () => { $("controls").reset(); again(); $("search").focus(); });
  addEventListener("beforeprint", () => { limit = cards.length; update(); });
  update();

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input[type=search], select, textarea");
    if (typing) {
      if (event.key === "Escape") typing.blur();
      return;
    }
    const current = shown.findIndex((card) => card.contains(document.activeElement));
    if (event.key === "/") {
      event.preventDefault();
      $("search").focus();
      $("search").select();
    } else if (event.key === "j" || event.key === "k") {
      const next = current < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, current + (event.key === "j" ? 1 : -1)));
      const article = shown[next]?.firstElementChild;
      article?.focus({ preventScroll: true });
      article?.scrollIntoView({ block: "center" });
    } else if (event.key === "Enter" && event.target.matches("article")) {
      const details = event.target.querySelector("details");
      details.open = !details.open;
    }
  });
})();
