// What each page shows, as data and small functions. Nothing here asks for anything; app.js does.
// Every value is set as text: names of actors, tasks and jobs are what users typed.

export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  if (text !== "") made.textContent = text;
  if (className) made.className = className;
  return made;
}

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
const ID_SHOWN = 12;

export function amount(name, value) {
  if (!name.toLowerCase().endsWith("memory")) return String(Math.round(value * 1e4) / 1e4);
  return value >= GIB ? `${(value / GIB).toFixed(2)} GiB` : `${(value / MIB).toFixed(1)} MiB`;
}

const plain = (value) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
const moment = (ms) => (ms ? new Date(ms).toLocaleString() : "");
const goods = new Set(["ALIVE", "RUNNING", "CREATED", "SUCCEEDED", "FINISHED"]);
const bads = new Set(["DEAD", "FAILED", "STOPPED"]);

// --- lists: path, and columns as [title, value of a row, kind] -------------------------------------------------------

const id = (key) => (row) => plain(row[key]);
const amounts = (row) => {
  const names = Object.keys(row.resourcesTotal).filter((name) => !name.startsWith("node:") && !name.includes("_group_"));
  return names.sort().map((name) => {
    const total = row.resourcesTotal[name];
    return `${name} ${amount(name, total - (row.resourcesAvailable[name] ?? 0))} / ${amount(name, total)}`;
  }).join(", ");
};
const labels = (row) => Object.entries(row.labels).filter(([key]) => key !== "ray.io/node-id").map((pair) => pair.join("=")).join(", ");

export const lists = {
  nodes: {
    path: "/nodes?view=summary",
    rows: (body) => body.data.summary.map((each) => each.raylet),
    columns: [
      ["Node", id("nodeId"), "id"], ["State", id("state"), "state"], ["Why", id("stateMessage")],
      ["Role", (row) => (row.isHeadNode ? "head" : "node")], ["Address", id("nodeManagerAddress")], ["Host", id("nodeManagerHostname")],
      ["Name", id("nodeName")], ["In use", amounts], ["Labels", labels],
    ],
  },
  actors: {
    path: "/api/v0/actors?limit=1000",
    rows: (body) => body.data.result.result,
    columns: [
      ["Actor", id("actor_id"), "id"], ["Class", id("class_name")], ["Name", id("name")], ["State", id("state"), "state"],
      ["Namespace", id("ray_namespace")], ["Job", id("job_id"), "id"], ["Node", id("node_id"), "id"], ["Process", id("pid"), "number"],
    ],
  },
  tasks: {
    path: "/api/v0/tasks/summarize",
    rows: (body) => Object.values(body.data.result.result.node_id_to_summary.cluster.summary),
    columns: [
      ["Function", id("func_or_class_name")], ["Kind", (row) => plain(row.type).toLowerCase().replaceAll("_", " ")],
      ["States", (row) => Object.entries(row.state_counts).map(([state, count]) => `${count} ${state}`).join(", ")],
    ],
  },
  "placement groups": {
    path: "/api/v0/placement_groups?limit=1000&detail=1",
    rows: (body) => body.data.result.result,
    columns: [
      ["Group", id("placement_group_id"), "id"], ["Name", id("name")], ["State", id("state"), "state"], ["Job", id("creator_job_id"), "id"],
      ["Bundles", (row) => row.bundles.map((each) => plain(each.unit_resources)).join(" ")],
      ["Nodes", (row) => [...new Set(row.bundles.map((each) => plain(each.node_id).slice(0, ID_SHOWN)))].join(" ")],
    ],
  },
  jobs: {
    path: "/api/jobs/",
    rows: (body) => body.toReversed ? body.toReversed() : [...body].reverse(),
    columns: [
      ["Job", (row) => row.submission_id ?? row.job_id], ["State", id("status"), "state"], ["Kind", (row) => row.type.toLowerCase()],
      ["Program", id("entrypoint")], ["Says", id("message")], ["Began", (row) => moment(row.start_time)], ["Ended", (row) => moment(row.end_time)],
    ],
  },
};

export function table(list, body, wanted) {
  const all = list.rows(body);
  const texts = all.map((row) => list.columns.map(([, value]) => plain(value(row))));
  const shown = texts.filter((cells) => cells.join("\n").toLowerCase().includes(wanted.toLowerCase()));
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const [title] of list.columns) head.append(element("th", title));
  const rows = made.createTBody();
  for (const cells of shown) {
    const row = rows.insertRow();
    cells.forEach((text, at) => row.append(cell(text, list.columns[at][2])));
  }
  const box = element("div", "", "scroll");
  box.append(made);
  const warning = body.data?.result?.partial_failure_warning;
  const total = body.data?.result?.total ?? all.length;
  const counted = element("p", `${shown.length} of ${Math.max(total, all.length)}${warning ? `; ${warning}` : ""}`, "faint");
  return [box, counted];
}

function cell(text, kind) {
  if (kind === "id") {
    const made = element("td", text.slice(0, ID_SHOWN), "id");
    made.title = text;
    return made;
  }
  const look = kind === "state" ? (goods.has(text) ? "good" : bads.has(text) ? "bad" : "") : kind === "number" ? "number" : "";
  return element("td", text, look);
}

// --- the overview ----------------------------------------------------------------------------------------------------

function card(title, ...content) {
  const made = element("section", "", "card");
  made.append(element("h2", title), ...content);
  return made;
}

function pair(left, right, look = "") {
  const made = element("div", "", "pair");
  made.append(element("span", left), element("span", right, look));
  return made;
}

function bar({ name, total, used }) {
  const made = element("div", "", "bar");
  const inner = element("span", "", total && used / total > 0.95 ? "full" : "");
  inner.style.width = `${total ? Math.min(100, (100 * used) / total) : 0}%`;
  made.append(inner);
  const box = element("div");
  box.append(pair(name, `${amount(name, used)} of ${amount(name, total)}`), made);
  return box;
}

function head(told) {
  const what = told.leader ? `leads, epoch ${told.epoch}` : told.lag_revisions < 0 ? "not connected" : `stands by, ${told.lag_revisions} revisions behind`;
  return pair(`${told.host}:${told.port}`, what, told.leader ? "good" : told.lag_revisions < 0 ? "bad" : "");
}

function part(told) {
  const where = told.node_id ? ` of ${told.node_id.slice(0, ID_SHOWN)}` : "";
  const since = told.is_up ? "" : ` since ${moment(told.down_since_s * 1000)}: ${told.why}`;
  return pair(`${told.name}${where}`, (told.is_up ? "up" : "down") + since + (told.failures ? ` (started again ${told.failures} times)` : ""), told.is_up ? "good" : "bad");
}

const counted = (counts) => Object.entries(counts).map(([state, count]) => pair(state, String(count)));
const orNone = (content) => (content.length ? content : [element("p", "none", "faint")]);

export function overview(told) {
  const waiting = told.demands.map((each) => element("p", `${each.count} x ${plain(each.shape)} ${each.where}`));
  const scaling = told.autoscaler.node_types ? Object.entries(told.autoscaler.node_types).map(([name, states]) => pair(name, plain(states))) : [];
  const unmet = (told.autoscaler.unmet ?? []).map((each) => element("p", `cannot be met: ${each.what}: ${each.why}`, "bad"));
  const cards = [
    card("Nodes", pair("alive", String(told.nodes.alive), "good"), pair("dead", String(told.nodes.dead), told.nodes.dead ? "bad" : "")),
    card("Resources", ...orNone(told.resources.map(bar))),
    card("Heads", ...(told.heads.length ? told.heads.map(head) : [element("p", "in the memory of its node", "faint")])),
    card("Parts", ...orNone(told.parts.map(part))),
    card("Waiting", ...orNone(waiting)),
    card("Actors", ...orNone(counted(told.counts.actors ?? {}))),
    card("Placement groups", ...orNone(counted(told.counts.placement_groups ?? {}))),
    card("Drivers", ...orNone(counted(told.counts.jobs ?? {}))),
  ];
  if (scaling.length) cards.push(card("Worker groups", ...scaling, ...unmet));
  const made = element("div", "", "cards");
  made.append(...cards);
  return made;
}
