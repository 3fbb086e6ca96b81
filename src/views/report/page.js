"use strict";
// All texts that come from files (paths, labels) reach the page as text nodes: nothing in them is ever markup.
// `show` draws everything; a report calls it once, at the end of more.js, and serve.js again whenever there is something new.
let [data, gallery, clusters] = [null, null, []];
const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = tag.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value); else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const number = (value, digits = 3) => value === null || Number.isNaN(value) ? "-" :
  Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(digits);
// A cell that is a number stands to the right, and so does one that `figure` makes of a text.
const figure = (text) => make("td", { class: "number" }, text);
const cell = (value) => value instanceof Element ? value : typeof value === "number" ? figure(number(value)) : make("td", {}, value);
const table = (names, rows) => make("div", { class: "scroll" }, make("table", {},
  make("thead", {}, make("tr", {}, ...names.map((name, at) => make("th", typeof rows[0]?.[at] === "number" ? { class: "number" } : {}, name)))),
  make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell))))));
const seconds = (s) => s < 60 ? s.toFixed(1) + " s" : s < 3600 ? (s / 60).toFixed(1) + " min" : (s / 3600).toFixed(1) + " h";

for (const form of document.querySelectorAll("form.bar")) form.addEventListener("submit", (event) => event.preventDefault());

const heading = () => {
  $("title").textContent = data.run.name + " · dcpipe report";
  document.title = $("title").textContent;
  const told = (value) => typeof value === "number" ? number(value) : typeof value === "string" ? value :
    seconds(value.seconds) + (value.runs === 1 ? "" : ` in ${number(value.runs)} runs`);
  $("summary").replaceChildren(...data.run.facts.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, told(value)))));
  $("warnings").hidden = data.warnings.length === 0;
  $("warnings").querySelector("ul").replaceChildren(...data.warnings.map((text) => make("li", {}, text)));
};

// Curves.
const chart = (title, how, points) => {
  const [w, h, left, right, top, bottom] = [320, 150, 58, 8, 10, 22];
  const [xs, ys] = [points.map((p) => p[0]), points.map((p) => p[1])];
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  if (low === high) { low = low > 0 ? low * 0.9 : low; high = high === 0 ? 1 : high * 1.1; }
  const digits = Math.max(0, Math.min(4, 1 - Math.floor(Math.log10(high - low))));
  const [first, last] = [xs[0], xs[xs.length - 1]];
  const x = (v) => left + (last === first ? 0.5 : (v - first) / (last - first)) * (w - left - right);
  const y = (v) => top + (1 - (v - low) / (high - low)) * (h - top - bottom);
  const svg = make("svg:svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": title + ", by epoch" });
  for (const v of [low, (low + high) / 2, high]) {
    svg.append(make("svg:line", { class: "grid", x1: left, x2: w - right, y1: y(v), y2: y(v) }));
    svg.append(make("svg:text", { x: left - 5, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(digits)));
  }
  svg.append(make("svg:polyline", { class: "line", points: points.map((p) => x(p[0]) + "," + y(p[1])).join(" ") }));
  if (points.length <= 60) {
    for (const p of points) {
      const dot = make("svg:circle", { class: "dot", cx: x(p[0]), cy: y(p[1]), r: 3 });
      dot.append(make("svg:title", {}, `epoch ${p[0]}: ${number(p[1])}`));
      svg.append(dot);
    }
  }
  for (const v of new Set([first, last])) svg.append(make("svg:text", { x: x(v), y: h - 6, "text-anchor": "middle" }, String(v)));
  const end = points[points.length - 1];
  return make("figure", {}, make("figcaption", {}, `${title}: ${number(end[1])}`), svg, make("p", { class: "how" }, how));
};
const curves = () => {
  const charts = [];
  for (const [name, title, how] of data.curves) {
    const points = data.epochs.filter((e) => name in e.metrics && Number.isFinite(e.metrics[name])).map((e) => [e.epoch, e.metrics[name]]);
    if (points.length > 0) charts.push(chart(title, how, points));
  }
  if (!charts.length) charts.push(make("p", { class: "none" }, "No epoch has metrics yet."));
  document.querySelector("#curves .charts").replaceChildren(...charts);
};

// Clusters.
const unpack = () => {
  const f32 = (name) => new Float32Array(bytes(gallery.columns[name]));
  const i32 = (name) => new Int32Array(bytes(gallery.columns[name]));
  const [size, mean, purity, iou] = [i32("size"), f32("mean_distance"), f32("purity"), f32("iou")];
  const [previous, neighbor, label] = [i32("previous_id"), i32("neighbor_id"), i32("main_label")];
  // The tightest, the loosest, the second tightest, and so on: the order in which a report chooses what it shows.
  const worth = new Int32Array(size.length).fill(-1);
  const sorted = Array.from(size.keys()).filter((id) => mean[id] >= 0).sort((a, b) => mean[a] - mean[b] || a - b);
  sorted.forEach((id, at) => { worth[id] = 2 * Math.min(at, sorted.length - 1 - at) + (2 * at >= sorted.length ? 1 : 0); });
  return Array.from(size, (n, id) => ({
    id, worth: worth[id] < 0 ? null : -worth[id], size: n, mean: mean[id] < 0 ? null : mean[id], purity: purity[id] < 0 ? null : purity[id],
    label: label[id] < 0 ? "" : gallery.labels[label[id]], previous: previous[id], iou: iou[id] < 0 ? null : iou[id],
    neighbor: neighbor[id], montage: gallery.montages[id] || null, members: gallery.members[id] || [],
  })).map((c) => ({ ...c, text: [c.label, ...c.members.map((m) => m[1])].join("\n").toLowerCase() }));
};
const SORTS = [["worth", "tightest and loosest"], ["size", "size"], ["mean", "mean distance"], ["purity", "purity"], ["iou", "stability"], ["id", "cluster"]];
const sorts = () => {
  const before = $("sort").value;
  const there = SORTS.filter(([key]) => clusters.some((c) => c[key] !== null));
  $("sort").replaceChildren(...there.map(([key, title]) => make("option", { value: key }, title)));
  if (there.some(([key]) => key === before)) $("sort").value = before;
};
const PAGE = 60;
let limit = PAGE;
// A row for each cluster; a head sorts by its column.
const COLUMNS = [["id", "cluster"], ["size", "images"], ["mean", "mean distance"], ["iou", "stability"], ["purity", "purity"], ["label", "main label"]];
const listed = (found) => {
  const sort = (key) => () => {
    $("descending").checked = $("sort").value === key ? !$("descending").checked : key !== "id";
    $("sort").value = key;
    again();
    $("rows").querySelector(`[data-key=${key}]`).focus();
  };
  const there = COLUMNS.filter(([key]) => [...$("sort").options].some((option) => option.value === key) || (key === "label" && gallery.labels.length));
  const heads = there.map(([key, title]) => key === "label" ? make("th", {}, title) : make("th", {
    ...(key === "id" ? {} : { class: "number" }),
    ...($("sort").value === key ? { "aria-sort": $("descending").checked ? "descending" : "ascending" } : {}),
  }, make("button", { type: "button", "data-key": key, onclick: sort(key) },
    title + ($("sort").value !== key ? "" : $("descending").checked ? " \u25be" : " \u25b4"))));
  const cells = (c) => there.map(([key]) => key === "id" ? make("td", {}, link(c.id, String(c.id))) : key === "label" ? make("td", {}, c.label) :
    figure(key === "size" ? number(c.size) : c[key] === null ? "-" : c[key].toFixed(key === "mean" ? 4 : 2)));
  $("rows").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...heads, make("th", {}, "nearest image"))),
    make("tbody", {}, ...found.slice(0, limit).map((c) => make("tr", { "data-cluster": c.id }, ...cells(c),
      make("td", {}, sheet(c) ? make("img", { class: "first", src: sheet(c), alt: "Nearest member of cluster " + c.id, loading: "lazy",
        width: gallery.tile, height: gallery.tile }) : null))))));
};
const facts = (c) => make("dl", {}, ...[
  ["images", number(c.size)], ["mean distance", number(c.mean)],
  c.purity === null ? null : ["purity", number(c.purity, 2)],
  c.iou === null ? null : ["stability", number(c.iou, 2)],
].filter(Boolean).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
const head = (c) => "Cluster " + c.id + (c.label ? " · mostly " + c.label : "");
const sheet = (c) => gallery.sheets && c.size ? gallery.sheets + c.id : c.montage &&
  (gallery.folder ? gallery.folder + c.id + ".jpg" : "data:image/jpeg;base64," + c.montage);
const size = (c) => ({ width: gallery.tile * gallery.tiles_a_row,
  height: gallery.tile * Math.ceil((c.members.length || Math.min(c.size, gallery.sheet_tiles)) / gallery.tiles_a_row) });
const picture = (c) => sheet(c) ? make("img", { src: sheet(c), alt: "Members of cluster " + c.id, loading: "lazy", ...size(c) }) :
  make("p", { class: "none" }, c.size ? "no montage" : "empty");
const render = () => {
  const words = $("search").value.trim().toLowerCase();
  const found = clusters.filter((c) => words === "" || String(c.id) === words || c.text.includes(words));
  const key = $("sort").value, sign = key === "worth" || $("descending").checked ? -1 : 1;
  $("descending").parentElement.hidden = key === "worth";
  found.sort((a, b) => (a[key] === null) - (b[key] === null) || sign * (a[key] - b[key]) || a.id - b.id);
  $("count").textContent = `${number(found.length)} of ${number(clusters.length)} clusters`;
  const as_table = $("view").value === "table";
  [$("cards").hidden, $("rows").hidden] = [as_table, !as_table];
  if (as_table) listed(found); else $("cards").replaceChildren(...found.slice(0, limit).map((c) =>
    make("button", { class: "card", type: "button", "data-cluster": c.id, onclick: () => open(c.id) },
      make("h3", {}, head(c)), picture(c), facts(c))));
  $("more").hidden = found.length <= limit;
};
const again = () => { limit = PAGE; render(); };
// Who types asks once, at a pause: what is drawn for a letter in between costs pictures that nobody looks at.
const PAUSE = 200; // milliseconds
let typing = 0;
const searches = [again];
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => searches.forEach((search) => search()), PAUSE);
});
$("sort").addEventListener("change", again);
$("descending").addEventListener("change", again);
$("view").addEventListener("change", again);
$("more").addEventListener("click", () => { limit += PAGE; render(); });
const cards = () => {
  clusters = gallery ? unpack() : [];
  $("clusters").querySelector("form").hidden = !gallery;
  [$("left").hidden, $("left").textContent] = [!gallery || !gallery.left_out, gallery && gallery.left_out ? `This page has ${gallery.left_out}.` : ""];
  sorts();
  if (gallery) return render();
  $("rows").hidden = true;
  $("more").hidden = true;
  $("cards").replaceChildren(make("p", { class: "none" }, data.run.no_gallery));
};
const copy = (title, text) => make("button", { type: "button", onclick: (event) => {
  const done = () => { event.target.textContent = "copied"; };
  navigator.clipboard ? navigator.clipboard.writeText(text).then(done, () => {}) : done();
} }, title);
const link = (id, text) => !clusters[id] ? make("span", {}, text) :
  make("button", { type: "button", onclick: () => open(id) }, text);
const sql = (c) => `select image_id, path, label, distance from 'clusters/*/*.parquet'\nwhere epoch_idx = ${gallery.epoch} and cluster_id = ${c.id} order by distance;`;
const copies = (c, members) => make("p", { class: "bar" }, copy("Copy ids", members.map((m) => m[0]).join("\n")),
  copy("Copy paths", members.map((m) => m[1]).join("\n")), copy("Copy SQL", sql(c)));
// A report has the members that its montage shows; serve.js puts all of them in their place.
// What a point of the map shows: a report has the tiles of its montages; serve.js asks for any image.
const details = { tile: (id, image) => {
  const c = clusters[id], at = c.members.findIndex((m) => m[0] === image);
  if (!sheet(c)) return null;
  const shown = Math.max(0, at), row = gallery.tiles_a_row;
  const picture = make("span", { class: "thumb", role: "img", "aria-label": at < 0 ? "The image nearest to the centroid" : "The image" });
  picture.style.cssText = `width:${gallery.tile}px;height:${gallery.tile}px;background-image:url("${sheet(c)}");` +
    `background-position:-${shown % row * gallery.tile}px -${Math.floor(shown / row) * gallery.tile}px`;
  return make("span", {}, picture, at < 0 ? " (its cluster's nearest)" : "");
}, members: (c) => [
  make("div", { class: "sheet" }, picture(c)), copies(c, c.members),
  make("p", { class: "soft" }, "All members, in the folder of the results:"), make("pre", {}, sql(c)),
  table(["image", "path", "label", "place", "distance"], c.members.map(([image, path, label, role, distance]) =>
    [figure(String(image)), path, label, role, figure(distance.toFixed(4))])),
] };
const open = (id) => {
  const c = clusters[id];
  $("detail-title").textContent = head(c);
  $("detail").querySelector("div").replaceChildren(...[facts(c),
    c.neighbor < 0 ? null : make("p", {}, "Nearest cluster: ", link(c.neighbor, "cluster " + c.neighbor)), details.past(c),
    ...details.members(c)].filter(Boolean));
  if (!$("detail").open) $("detail").showModal();
};

// Map.
const map = (() => {
  let [xs, ys, cluster, label, image] = [[], [], [], [], []];
  let [axes, near] = [[[], []], null]; // two maps of the same points
  const canvas = $("canvas"), context = canvas.getContext("2d");
  const colour = (n) => n < 0 ? "#888888" : `hsl(${(n * 137.508) % 360} 65% ${45 + (n * 29) % 20}%)`;
  let view = { x: 0, y: 0, zoom: 1 };
  const place = (i) => [(0.02 + 0.96 * xs[i] - view.x) * view.zoom * canvas.width, (0.02 + 0.96 * ys[i] - view.y) * view.zoom * canvas.height];
  const draw = () => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    const by = $("colour").value === "label" ? label : cluster;
    const side = Math.min(9, (xs.length < 3000 ? 5 : xs.length < 12000 ? 3 : 2) + Math.log2(view.zoom));
    for (let i = 0; i < xs.length; i++) {
      const [x, y] = place(i);
      if (x < 0 || y < 0 || x > canvas.width || y > canvas.height) continue;
      context.fillStyle = colour(by[i]);
      context.fillRect(x - side / 2, y - side / 2, side, side);
    }
    context.strokeStyle = getComputedStyle(canvas).color;
    for (const i of picked) {
      const [x, y] = place(i);
      context.strokeRect(x - side / 2 - 1, y - side / 2 - 1, side + 2, side + 2);
    }
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * canvas.width, (event.clientY - box.top) / box.height * canvas.height];
  };
  const nearest = (event) => {
    const [mx, my] = at(event);
    let [best, found] = [400, -1];
    for (let i = 0; i < xs.length; i++) {
      const [x, y] = place(i), d = (x - mx) ** 2 + (y - my) ** 2;
      if (d < best) [best, found] = [d, i];
    }
    return found;
  };
  let [drag, picked, hovered] = [null, [], -1];
  const frame = () => {
    const [[x0, y0], [x1, y1]] = [drag.slice(0, 2), drag.frame];
    return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  };
  const pick = (points) => {
    picked = points;
    const counts = new Map();
    for (const i of picked) counts.set(cluster[i], (counts.get(cluster[i]) || 0) + 1);
    const most = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 12);
    $("picked").replaceChildren(...(picked.length === 0 ? [] : [
      make("b", {}, `${number(picked.length)} images selected`), copy("Copy ids", picked.map((i) => image[i]).join("\n")),
      ...most.map(([id, count]) => make("span", {}, link(id, "cluster " + id), ` ${number(count)}`)),
      make("button", { type: "button", onclick: () => { pick([]); draw(); } }, "Clear")]));
  };
  canvas.addEventListener("pointermove", (event) => {
    if (drag && drag.frame) {
      drag.frame = at(event);
      draw();
      const [left, top, right, bottom] = frame();
      context.strokeRect(left, top, right - left, bottom - top);
      return;
    }
    if (drag) {
      const [x, y] = at(event);
      view.x -= (x - drag[0]) / view.zoom / canvas.width;
      view.y -= (y - drag[1]) / view.zoom / canvas.height;
      drag = [x, y, true];
      return draw();
    }
    const i = nearest(event);
    if (i === hovered) return;
    hovered = i;
    $("under").replaceChildren(...(i < 0 ? [] : [head(clusters[cluster[i]]), label[i] < 0 ? "" : " · label " + gallery.labels[label[i]],
      ` · image ${image[i]} `, details.tile(cluster[i], image[i])].filter((part) => part)));
  });
  canvas.addEventListener("pointerdown", (event) => {
    drag = [...at(event), false];
    if (event.shiftKey) drag.frame = at(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && drag.frame) {
      const [left, top, right, bottom] = frame();
      const inside = (i) => { const [x, y] = place(i); return x >= left && x <= right && y >= top && y <= bottom; };
      pick(Array.from(xs.keys()).filter(inside));
      drag = null;
      return draw();
    }
    const moved = drag && drag[2];
    drag = null;
    const i = moved ? -1 : nearest(event);
    if (i >= 0) open(cluster[i]);
  });
  const zoom = (factor, px, py) => {
    const wanted = Math.min(64, Math.max(1, view.zoom * factor));
    view.x += px / canvas.width * (1 / view.zoom - 1 / wanted);
    view.y += py / canvas.height * (1 / view.zoom - 1 / wanted);
    view.zoom = wanted;
    draw();
  };
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.25 : 0.8, ...at(event)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (step) { view.x += step[0] / view.zoom; view.y += step[1] / view.zoom; event.preventDefault(); draw(); }
    if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.25 : 0.8, canvas.width / 2, canvas.height / 2);
  });
  $("reset").addEventListener("click", () => { view = { x: 0, y: 0, zoom: 1 }; draw(); });
  $("colour").addEventListener("change", draw);
  const lay = () => { [xs, ys] = near && $("axes").value === "neighbors" ? near : axes; };
  $("axes").addEventListener("change", () => { lay(); draw(); });
  return () => {
    $("map").hidden = !gallery || !gallery.map;
    if ($("map").hidden) return;
    const unit = (name) => Float32Array.from(new Uint16Array(bytes(gallery.map[name])), (v) => v / 65535);
    [axes, near] = [[unit("x"), unit("y")], gallery.map.u ? [unit("u"), unit("v")] : null];
    lay();
    [cluster, label, image] = ["cluster", "label", "image"].map((name) => new Int32Array(bytes(gallery.map[name])));
    [hovered, drag] = [-1, null];
    pick([]);
    $("axes").parentElement.hidden = near === null;
    $("colour").parentElement.hidden = gallery.labels.length === 0;
    draw();
  };
})();

// Labels: where each is the commonest.
const labels = () => {
  $("labels").hidden = !gallery || gallery.labels.length < 2;
  if ($("labels").hidden) return;
  const rows = gallery.labels.map((name) => {
    const mine = clusters.filter((c) => c.label === name && c.size > 0).sort((a, b) => b.size - a.size);
    const images = mine.reduce((sum, c) => sum + c.size, 0);
    const purity = mine.reduce((sum, c) => sum + c.size * c.purity, 0) / images;
    const largest = mine.slice(0, 5).flatMap((c) => [link(c.id, String(c.id)), " "]);
    return [name, mine.length, images, figure(mine.length ? purity.toFixed(2) : "-"), make("td", {}, ...largest)];
  }).sort((a, b) => b[2] - a[2] || (a[0] < b[0] ? -1 : 1));
  const MOST = 500;
  $("labels").querySelector("div").replaceChildren(
    table(["label", "clusters", "images in them", "purity", "largest clusters"], rows.slice(0, MOST)),
    rows.length > MOST ? make("p", { class: "soft" }, `${number(rows.length - MOST)} more labels are not shown.`) : "");
};

// Time: a bar for each epoch, a part of it for each node; and the files that were left out.
const rest = () => {
  const total = data.time.reduce((sum, [, s]) => sum + s, 0);
  const hue = (name) => `hsl(${data.time.findIndex(([node]) => node === name) * 137.508 % 360} 55% 50%)`;
  const whole = (nodes) => nodes.reduce((sum, [, s]) => sum + s, 0);
  const widest = Math.max(...data.bars.map(([, nodes]) => whole(nodes)));
  const coloured = (of, name, width) => {
    const part = make("span", of);
    part.style.cssText = (width === null ? "" : `width:${width}%;`) + `background:${hue(name)}`;
    return part;
  };
  const bars = data.bars.map(([epoch, nodes]) => make("div", { class: "epoch" },
    make("span", { class: "name" }, epoch === 0 ? "before" : "epoch " + epoch),
    make("span", { class: "parts" }, ...nodes.map(([node, s]) => coloured({ title: `${node}: ${seconds(s)}` }, node, 100 * s / widest))),
    make("span", { class: "name" }, seconds(whole(nodes)))));
  const keys = data.time.slice(0, 8).map(([node]) => make("span", {}, coloured({ class: "mark" }, node, null), " " + node));
  const path = data.slowest.map(([node, s, count]) => `${count > 1 ? count + " x " : ""}${node} ${seconds(s)}`).join(", ");
  $("time").querySelector("div").replaceChildren(make("div", {}, ...bars), make("p", { class: "bar soft" }, ...keys),
    path ? make("p", { class: "how" }, `The slowest path, which no run can beat: ${path}.`) : "",
    table(["node", "nodes", "time in all", "share"],
      data.time.map(([node, s, count]) => [node, count, figure(seconds(s)), figure((100 * s / total).toFixed(0) + " %")])));
  $("files").querySelector("div").replaceChildren(data.bad.length === 0 ? make("p", {}, "Every file could be used.") :
    table(["reason", "files", "such as"], data.bad));
};

// The graph of an epoch.
const graph = () => {
  const [wide, high] = data.graph.size;
  const drawing = make("svg:svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": "Graph of one epoch", class: "graph" });
  drawing.append(...data.graph.lines.map(([path, next]) => make("svg:path", { d: path, class: next ? "edge next" : "edge" })),
    ...data.graph.spots.map(({ name, verb, is_of_epoch, at: [x, y] }) => make("svg:g", { class: is_of_epoch ? "spot" : "spot once" },
      make("svg:rect", { x: x - 52, y: y - 19, width: 104, height: 38, rx: 6 }),
      make("svg:text", { x, y: y - 2, "text-anchor": "middle", class: "strong" }, name),
      make("svg:text", { x, y: y + 12, "text-anchor": "middle" }, verb))));
  $("graph").querySelector("div").replaceChildren(make("div", { class: "scroll" }, drawing));
};

// Worth: measures of each layer beside those of the network before training.
const MEASURES = { knn: "nearest neighbours", linear: "linear classifier", linear_last: "linear classifier, last epoch",
  svm_map: "SVM, mean average precision", svm_map_11: "SVM, by eleven points", kmeans_accuracy: "k-means, one to one",
  kmeans_nmi: "k-means, NMI", kmeans_ami: "k-means, AMI", kmeans_ari: "k-means, ARI", effective_dims: "effective dimensions" };
const worth = () => {
  $("worth").hidden = !data.worth;
  document.querySelector('nav a[href="#worth"]').hidden = !data.worth;
  if (!data.worth) return;
  const { epoch, rows, verdicts } = data.worth;
  $("worth").querySelector("p").textContent = `Epoch ${epoch}, beside the network before training where that was measured. ` +
    "docs/probe.md says on which images. Accuracies at small inputs are not comparable with published ones.";
  const show = (m, value, sign) => value === null ? "-" : m === "effective_dims" ? (sign && value > 0 ? "+" : "") + value.toFixed(1) :
    (sign && value > 0 ? "+" : "") + (sign ? (100 * value).toFixed(1) : value.toFixed(3));
  $("worth").querySelector("div").replaceChildren(
    table(["layer", "measure", "how", "value", "before training", "difference in points", "images"], rows.map(([layer, m, k, how, value, random, difference, images]) =>
      [layer, (MEASURES[m] || m) + (k ? `, k = ${k}` : ""), how, figure(show(m, value)), figure(show(m, random)), figure(show(m, difference, true)), images])),
    ...(verdicts.length > 1 ? [make("ul", {}, ...verdicts.map(([at, says]) => make("li", {}, `Epoch ${at}: ${says}`)))] : []));
};

// What draws the page; more.js adds to it.
const draws = [heading, curves, worth, cards, labels, map, rest, graph];
const show = (next) => {
  data = next;
  gallery = data.gallery;
  for (const draw of draws) draw();
};
