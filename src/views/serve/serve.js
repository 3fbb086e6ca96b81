"use strict";
// What the report's page lacks in a file: all members of a cluster, other epochs, and a run that goes on.
const ask = async (address) => {
  const answer = await fetch(address);
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
};
const PER_PAGE = 60;
const AWAKE = 1500; // milliseconds between two looks at the run
let [epoch, known, asked] = [null, null, 0]; // null: the newest epoch

$("search").placeholder = "cluster, label or path";

// The run at this moment.
const bar = $("summary").insertAdjacentElement("afterend", make("section", { id: "live", "aria-label": "The run at this moment" }));
const epochs = make("select", { id: "epoch", onchange: () => load(epochs.value === "" ? null : Number(epochs.value)) });
$("clusters").querySelector("h2").insertAdjacentElement("afterend",
  make("div", { class: "bar" }, make("label", {}, "Epoch ", epochs), make("output", { id: "said" })));
const work = ({ node, for_s, saved, usual_s }) => make("p", { class: "bar" }, make("b", {}, node), `for ${seconds(for_s)}`,
  usual_s ? make("progress", { max: usual_s, value: Math.min(for_s, usual_s), "aria-label": "Progress of " + node }) : null,
  usual_s ? `the one before took ${seconds(usual_s)}` : null, saved ? `${number(saved)} parts saved` : null);
const STATES = {
  running: "Running", done: "The run is done", failed: "The run failed", interrupted: "The run was interrupted",
  killed: "No process of this machine holds the results: the run was killed, or goes on elsewhere",
};
const tell = ({ run, error }) => {
  const lines = [];
  if (error) lines.push(make("p", { class: "wrong" }, error));
  if (run) {
    lines.push(make("p", {}, make("b", {}, STATES[run.state]), run.state === "running" ?
      ` for ${seconds(run.began_s)}: ${number(run.done)} of ${number(run.nodes)} nodes done` : ` · ${seconds(run.heard_s)} ago`));
    lines.push(...run.running.map(work));
    if (run.waiting.length > 0) lines.push(make("p", {}, "Another run makes " + run.waiting.join(", ")));
    lines.push(...run.failures.map(([node, text]) => make("p", { class: "wrong" }, `${node}: ${text}`)));
    if (run.state === "running") lines.push(...run.notes.map((text) => make("p", { class: "wrong" }, text)));
  }
  bar.replaceChildren(...lines);
};
const choices = (state) => {
  const options = [["", "newest"], ...state.epochs.map(([id, shown]) => [id, id + (shown ? "" : " (no gallery)")])];
  const text = JSON.stringify(options);
  if (epochs.dataset.text === text) return;
  epochs.dataset.text = text;
  epochs.replaceChildren(...options.map(([value, title]) => make("option", { value }, title)));
  epochs.value = epoch === null ? "" : epoch;
};
const load = async (wanted) => {
  epoch = wanted;
  const mine = ++asked;
  const next = await ask("data" + (epoch === null ? "" : "?epoch=" + epoch)).catch((error) => ({ failed: error.message }));
  if (mine !== asked) return; // A later choice is on its way.
  $("said").className = next.failed || next.said ? "wrong" : "soft";
  $("said").textContent = next.failed || next.said || (next.shown === null ? "" : "Shown: epoch " + next.shown);
  if (next.failed) return;
  known = next.version;
  show(next);
  find();
};
const look = async () => {
  if (!document.hidden) {
    try {
      const state = await ask("state");
      if (known === null && asked === 0) epoch = state.first;
      tell(state);
      choices(state);
      if (state.version !== known) await load(epoch);
    } catch (error) {
      tell({ error: error instanceof TypeError ? "The server does not answer. Start it again: dcpipe serve" : error.message });
    }
  }
  setTimeout(look, AWAKE);
};

// Pages of images, which `get(from)` asks for; `above` stands before the buttons.
const original = (of, [image, path, label, distance]) => make("a", { href: `original/${of}/${image}`, target: "_blank", rel: "noopener", title: path },
  make("img", { src: `thumb/${of}/${image}`, alt: path, loading: "lazy", width: 128, height: 128,
    onerror: (event) => { event.target.classList.add("lost"); } }),
  make("span", {}, (distance === null ? "" : distance.toFixed(3)) + (label ? " · " + label : "")));
const pages = (get, above, tile, shown) => {
  let [from, total, turn] = [0, 0, 0];
  const place = make("output", {});
  const step = (title, to) => make("button", { type: "button", onclick: () => go(to()) }, title);
  const last = () => Math.max(0, Math.floor((total - 1) / PER_PAGE) * PER_PAGE);
  const steps = [step("First", () => 0), step("Previous", () => from - PER_PAGE), step("Next", () => from + PER_PAGE), step("Last", last)];
  const grid = make("div", { class: "grid" });
  const go = async (to) => {
    const mine = ++turn;
    const told = await get(Math.max(0, to)).catch((error) => ({ rows: [], total: 0, from: 0, error: error.message }));
    if (mine !== turn) return;
    [from, total] = [told.from, told.total];
    const rows = told.rows;
    place.textContent = told.error || (total === 0 ? "no images" :
      `${number(from + 1)} to ${number(from + rows.length)} of ${number(total)} images`);
    steps.forEach((button, nth) => { button.disabled = nth < 2 ? from === 0 : from >= last(); });
    grid.replaceChildren(...rows.map(tile));
    shown(rows);
  };
  return { parts: [make("div", { class: "bar" }, ...above, ...steps, place), grid], go };
};

// All members of a cluster.
const members = (c) => {
  const [of, seed] = [gallery.epoch, 1 + Math.floor(Math.random() * 1e9)];
  const order = make("select", { onchange: () => listed.go(0) }, ...[["near", "nearest first"], ["far", "farthest first"], ["random", "random"]]
    .map(([value, title]) => make("option", { value }, title)));
  const list = make("details", {}, make("summary", {}, "Paths"), make("div", {}));
  const tools = make("div", {});
  const get = (from) => ask(`members/${of}/${c.id}?order=${order.value}&seed=${seed}&from=${from}&count=${PER_PAGE}`);
  const listed = pages(get, [make("label", {}, "Order ", order)], (row) => original(of, row), (rows) => {
    tools.replaceChildren(copies(c, rows));
    list.querySelector("div").replaceChildren(table(["image", "path", "label", "distance"],
      rows.map(([image, path, label, distance]) => [figure(String(image)), path, label, figure(distance.toFixed(4))])));
  });
  listed.go(0);
  return [...listed.parts, tools, list];
};

// Images whose path has what is searched for.
const found = make("section", { id: "found", hidden: true, "aria-label": "Images found by their path" });
$("cards").insertAdjacentElement("beforebegin", found);
const find = () => {
  const [text, of] = [$("search").value.trim(), gallery && gallery.epoch];
  found.hidden = text === "" || of === null;
  if (found.hidden) return;
  const listed = pages((from) => ask(`find/${of}?text=${encodeURIComponent(text)}&from=${from}&count=${PER_PAGE}`), [],
    (row) => make("div", {}, original(of, row), row[4] === null ? "in no cluster" : link(row[4], "cluster " + row[4])), () => {});
  found.replaceChildren(make("h3", {}, `Images with “${text}” in their path`), ...listed.parts, make("h3", {}, "Clusters"));
  listed.go(0);
};
searches.push(find);
details.members = members;
details.picture = ([image, path]) => make("a", { href: `original/${gallery.epoch}/${image}`, target: "_blank", rel: "noopener" },
  make("img", { src: `thumb/${gallery.epoch}/${image}`, alt: path, loading: "lazy", width: 64, height: 64 }));
details.tile = (id, image) => make("img", { src: `thumb/${gallery.epoch}/${image}`, alt: "The image", width: 72, height: 72 });
look();
