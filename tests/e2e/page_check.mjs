// Runs the dashboard's page in a document that has text and no markup. Called by test_dashboard_command.py.

import assert from "node:assert/strict";

class Element {
  constructor(name) {
    this.name = name;
    this.children = [];
    this.style = {};
    this.listeners = {};
    this.attributes = {};
    this.own = "";
    this.hidden = false;
    this.value = "";
  }
  set textContent(text) { this.own = String(text); this.children = []; }
  get textContent() { return this.own + this.children.map((child) => child.textContent).join(" "); }
  set innerHTML(_text) { throw new Error("markup"); }
  append(...more) { this.children.push(...more); }
  replaceChildren(...more) { this.own = ""; this.children = more; }
  querySelector() { return null; }
  setAttribute(key, value) { this.attributes[key] = value; }
  removeAttribute(key) { delete this.attributes[key]; }
  addEventListener(kind, call) { this.listeners[kind] = call; }
  insertRow() { const row = new Element("tr"); this.children.push(row); return row; }
  createTHead() { return this.insertRow(); }
  createTBody() { return this.insertRow(); }
}

const evil = "<img src=x onerror=alert(1)>";
const at = { age_s: 0.2, revision: 77, epoch: 4 };
const node = {
  nodeId: "ab".repeat(28), state: "ALIVE", stateMessage: "", isHeadNode: true, nodeManagerAddress: "10.0.0.1", nodeManagerHostname: evil,
  nodeName: "", resourcesTotal: { CPU: 2, memory: 2 ** 31, "node:10.0.0.1": 1 }, resourcesAvailable: { CPU: 0.5 }, labels: { zone: "a" },
};
const wrapped = (result) => ({ result: true, data: { result: { total: 1, result, partial_failure_warning: "" }, as_of: at } });
const status = {
  nodes: { alive: 1, dead: 0 }, as_of: at, resources: [{ name: "CPU", total: 2, used: 1.5 }], demands: [{ shape: { CPU: 9 }, count: 3, where: "x" }],
  heads: [{ host: "h", port: 1, leader: true, epoch: 4, lag_revisions: 0 }, { host: "h", port: 2, leader: false, epoch: 0, lag_revisions: -1 }],
  parts: [{ name: "autoscaler", is_up: false, why: evil, down_since_s: 1, failures: 2, node_id: "" }], counts: { actors: { ALIVE: 2 } },
  autoscaler: { node_types: { small: { RUNNING: 1 } }, unmet: [{ what: "a", why: evil }] },
};
const bodies = {
  "/api/cluster_status": { data: { clusterStatus: status } },
  "/nodes": { data: { summary: [{ raylet: node }], as_of: at } },
  "/api/v0/actors": wrapped([{ actor_id: "cd".repeat(16), class_name: "A", name: evil, state: "DEAD", pid: null }]),
  "/api/v0/tasks/summarize": wrapped({ node_id_to_summary: { cluster: { summary: { f: { func_or_class_name: evil, type: "NORMAL_TASK", state_counts: { RUNNING: 3 } } } } } }),
  "/api/v0/placement_groups": wrapped([{ placement_group_id: "ef", name: evil, state: "CREATED", bundles: [{ unit_resources: { CPU: 1 }, node_id: "12" }] }]),
  "/api/jobs/": [{ job_id: "01", submission_id: null, status: "RUNNING", type: "DRIVER", entrypoint: evil, message: null, start_time: 1, end_time: 0 }],
};

const byId = Object.fromEntries(["view", "as-of", "filter", "filter-box", "tabs"].map((id) => [id, new Element(id)]));
const events = {};
let asked = [];
let fails = "";
let answered = () => {};
globalThis.document = { hidden: false, createElement: (name) => new Element(name), getElementById: (id) => byId[id], addEventListener: (kind, call) => { events[kind] = call; } };
globalThis.location = { hash: "" };
globalThis.addEventListener = (kind, call) => { events[kind] = call; };
globalThis.setTimeout = () => {}; // one look for each page that is opened
globalThis.fetch = async (path) => {
  asked.push(path);
  queueMicrotask(() => queueMicrotask(() => setImmediate(answered)));
  if (fails) return { ok: false, status: 503, json: async () => ({ result: false, msg: fails }) };
  return { ok: true, status: 200, json: async () => bodies[path.split("?")[0]] };
};
AbortSignal.timeout = () => undefined;
const once = (act) => new Promise((resolve) => { answered = resolve; act(); });
const open = (name) => once(() => { location.hash = `#${encodeURIComponent(name)}`; events.hashchange(); });

await once(() => import("./app.mjs"));
const shown = () => byId.view.textContent;
for (const text of ["1.5 of 2", "leads, epoch 4", "not connected", "down since", evil, "3 x {\"CPU\":9} x", "small"]) assert.ok(shown().includes(text), `${text}: ${shown()}`);
assert.match(byId["as-of"].textContent, /^as of \d\.\d s ago, revision 77$/);
assert.ok(byId["filter-box"].hidden);
for (const [name, text] of [["nodes", "CPU 1.5 / 2"], ["actors", "DEAD"], ["tasks", "3 RUNNING"], ["placement groups", "{\"CPU\":1}"], ["jobs", "RUNNING"]]) {
  await open(name);
  assert.ok(shown().includes(evil), `${name}: ${shown()}`);
  assert.ok(shown().includes(text), `${name}: ${shown()}`);
  assert.ok(shown().includes("1 of 1"));
  assert.ok(!byId["filter-box"].hidden);
}
byId.filter.value = "nothing like it";
byId.filter.listeners.input();
assert.ok(shown().includes("0 of 1"), shown());
fails = "nothing is known of the cluster yet";
await open("nodes");
assert.ok(byId["as-of"].textContent.includes(fails), byId["as-of"].textContent);
assert.equal(byId["as-of"].className, "late");
document.hidden = true;
asked = [];
location.hash = "#jobs";
events.hashchange();
assert.deepEqual(asked, [], "nobody looks, nothing is asked");
console.log("all shown");
