// The page: which view is open, asking for it once a second while somebody looks, and how old what it shows is.

import { element, lists, overview, table } from "/static/tables.js";

const EVERY_MS = 1000;
const LATE_S = 3;
const view = document.getElementById("view");
const asOf = document.getElementById("as-of");
const filter = document.getElementById("filter");
const filterBox = document.getElementById("filter-box");
const tabs = document.getElementById("tabs");
const names = ["overview", ...Object.keys(lists)];
let shown = ""; // the view that `body` is of
let body = null;
let gotMs = 0;
let ageS = 0;
let trouble = "";
let turn = 0;

const open = () => {
  const wanted = decodeURIComponent(location.hash.slice(1));
  return names.includes(wanted) ? wanted : "overview";
};

for (const name of names) {
  const link = element("a", name[0].toUpperCase() + name.slice(1));
  link.href = `#${encodeURIComponent(name)}`;
  tabs.append(link);
}

function draw() {
  if (shown !== open() || body === null) return;
  const content = shown === "overview" ? [overview(body.data.clusterStatus)] : table(lists[shown], body, filter.value);
  const scrolled = view.querySelector(".scroll")?.scrollLeft ?? 0;
  view.replaceChildren(...content);
  const box = view.querySelector(".scroll");
  if (box) box.scrollLeft = scrolled;
}

function drawAge() {
  const age = ageS + (performance.now() - gotMs) / 1000;
  const revision = body?.data?.clusterStatus?.as_of.revision;
  const text = body === null ? "" : `as of ${age.toFixed(1)} s ago${revision ? `, revision ${revision}` : ""}`;
  asOf.textContent = [text, trouble].filter(Boolean).join("; ");
  asOf.className = trouble || age > LATE_S ? "late" : "";
}

function drawTabs() {
  [...tabs.children].forEach((link, at) => {
    if (names[at] === open()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  filterBox.hidden = open() === "overview";
}

async function look() {
  const wanted = open();
  const path = wanted === "overview" ? "/api/cluster_status" : lists[wanted].path;
  try {
    const response = await fetch(path, { signal: AbortSignal.timeout(10000) });
    if (response.status === 401) {
      location.href = "/login";
      return;
    }
    const told = await response.json();
    if (!response.ok) throw new Error(told.msg || `status ${response.status}`);
    if (wanted !== open()) return;
    [body, shown, gotMs, trouble] = [told, wanted, performance.now(), ""];
    ageS = (told.data?.clusterStatus?.as_of ?? told.data?.as_of)?.age_s ?? 0;
    draw();
  } catch (error) {
    trouble = error instanceof TypeError ? "the dashboard does not answer" : error.message;
  }
  drawAge();
}

// One look after another, never two at a time; none while nobody looks.
async function go(mine) {
  while (mine === turn) {
    if (!document.hidden) await look();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

function begin() {
  turn += 1;
  drawTabs();
  if (shown !== open()) {
    body = null;
    view.replaceChildren(element("p", "...", "faint"));
  }
  go(turn);
}

addEventListener("hashchange", () => { filter.value = ""; begin(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) begin(); });
filter.addEventListener("input", draw);
begin();
