// More of the page: what became of the clusters of the epoch before, images to look at, filters, labels against clusters.
const CUT = 0.25; // the share that makes a flow a part of a split or a merge; the gallery has the four largest of each end
const A_LIST = 8;
const AT_ONCE = 12; // groups of images that are shown at first
const per_cent = (share) => Math.round(100 * share) + " %";

// Flows: images that a cluster has in common with one of the epoch before.
let [into, out] = [new Map(), new Map()];
const read_flows = () => {
  [into, out] = [new Map(), new Map()];
  if (!gallery.flows) return;
  const column = (name) => new Int32Array(bytes(gallery.flows[name]));
  const [ids, before, images, size] = ["cluster", "before", "images", "before_images"].map(column);
  const put = (map, id, flow) => map.has(id) ? map.get(id).push(flow) : map.set(id, [flow]);
  ids.forEach((cluster, at) => {
    const flow = { cluster, before: before[at], images: images[at], size: size[at] };
    put(into, flow.cluster, flow);
    put(out, flow.before, flow);
  });
  for (const flows of [...into.values(), ...out.values()]) flows.sort((a, b) => b.images - a.images);
};
const large = (flows, whole) => flows.filter((flow) => flow.images >= CUT * whole);
const joined = (nodes) => nodes.flatMap((node, at) => at ? [", ", node] : [node]);
const past = (id) => make("button", { type: "button", class: "link", "aria-label": `cluster ${id} of the epoch before`, onclick: () => open_past(id) }, String(id));
// A number alone says little to who hears it.
const now = (id, text) => make("button", { type: "button", class: "link", onclick: () => open(id),
  ...(text === String(id) ? { "aria-label": "cluster " + id } : {}) }, text);
const from = (flow) => make("span", {}, `${number(flow.images)} from `, past(flow.before));
const to = (flow) => make("span", {}, `${number(flow.images)} to `, now(flow.cluster, String(flow.cluster)));
const others = (whole, flows, word) => {
  const rest = whole - flows.reduce((sum, flow) => sum + flow.images, 0);
  return rest > 0 ? `, ${number(rest)} ${word} others` : "";
};
const open_past = (id) => {
  const flows = out.get(id) || [];
  const size = flows.length ? flows[0].size : 0;
  $("detail-title").textContent = `Cluster ${id} of the epoch before`;
  $("detail").querySelector("div").replaceChildren(
    make("p", {}, `It had ${number(size)} images. This is where they are now${others(size, flows, "in")}:`),
    table(["cluster", "images", "of it", "of the cluster now"], flows.map((flow) => [
      make("td", {}, now(flow.cluster, head(clusters[flow.cluster]))), flow.images, figure(per_cent(flow.images / size)),
      figure(per_cent(flow.images / clusters[flow.cluster].size))])));
  if (!$("detail").open) $("detail").showModal();
};
details.past = (c) => {
  const flows = (into.get(c.id) || []).slice(0, 4);
  if (!flows.length) return null;
  const match = c.previous < 0 ? [] : (out.get(c.previous) || []).filter((flow) => flow.cluster !== c.id).slice(0, 4);
  return make("div", {},
    make("p", {}, `An epoch ago, of its ${number(c.size)} images: `, ...joined(flows.map(from)), others(c.size, flows, "from"), "."),
    c.previous < 0 ? null : make("p", {}, "It overlaps most with cluster ", past(c.previous), ` of the epoch before (${number(c.iou, 2)}).`,
      ...(match.length ? [" The others of that one went: ", ...joined(match.map(to)), "."] : [])));
};
const changes = () => {
  $("changes").hidden = !gallery;
  if (!gallery) return;
  read_flows();
  const place = $("changes").querySelector("div");
  if (!into.size) {
    const is_first = clusters.every((c) => c.previous < 0);
    return place.replaceChildren(make("p", { class: "none" }, is_first ? "There is nothing to compare with: this is the first epoch, or it has no gallery." :
      "An earlier dcpipe made this gallery, and did not count which images clusters have in common. The next gallery has that."));
  }
  const full = clusters.filter((c) => c.size > 0).sort((a, b) => b.size - a.size || a.id - b.id);
  const olds = [...out].map(([id, flows]) => ({ id, size: flows[0].size, flows })).sort((a, b) => b.size - a.size || a.id - b.id);
  const of = (c) => into.get(c.id) || [];
  const one = (c, ...rest) => make("li", {}, now(c.id, "Cluster " + c.id), ` (${number(c.size)} images): `, ...rest);
  const old = (o, ...rest) => make("li", {}, "Cluster ", past(o.id), ` (${number(o.size)} images): `, ...rest);
  const box = (title, how, all, line) => make("figure", {}, make("figcaption", {}, `${title}: ${number(all.length)}`),
    make("p", { class: "how" }, how), make("ul", { class: "flat" }, ...all.slice(0, A_LIST).map(line)),
    all.length > A_LIST ? make("p", { class: "soft" }, `The ${A_LIST} largest.`) : null);
  place.replaceChildren(make("div", { class: "charts" },
    box("Splits", `Clusters of the epoch before of which two or more clusters hold ${per_cent(CUT)} or more each.`,
      olds.filter((o) => large(o.flows, o.size).length > 1), (o) => old(o, ...joined(large(o.flows, o.size).map(to)))),
    box("Merges", `Clusters to which two or more clusters of the epoch before gave ${per_cent(CUT)} or more each.`,
      full.filter((c) => large(of(c), c.size).length > 1), (c) => one(c, ...joined(large(of(c), c.size).map(from)))),
    box("Births", `Clusters to which no cluster of the epoch before gave ${per_cent(CUT)} of the images.`,
      full.filter((c) => !large(of(c), c.size).length), (c) => one(c, ...joined(of(c).slice(0, 2).map(from)), ", and fewer from others")),
    box("Deaths", `Clusters of the epoch before of which no cluster holds ${per_cent(CUT)}.`,
      olds.filter((o) => !large(o.flows, o.size).length), (o) => old(o, ...joined(o.flows.slice(0, 2).map(to)), ", and fewer to others"))));
};

// Images to look at. A row is image, path, label, cluster, distance, tile.
details.picture = ([, path, , , , tile]) => {
  const odd = gallery.oddities;
  if (!odd.pictures) return null;
  const picture = make("span", { class: "thumb odd-tile", role: "img", "aria-label": path });
  picture.style.cssText = `width:${odd.tile}px;height:${odd.tile}px;` +
    `background-position:-${tile % odd.columns * odd.tile}px -${Math.floor(tile / odd.columns) * odd.tile}px`;
  return picture;
};
const epoch_folder = () => "epoch=" + String(gallery.epoch).padStart(4, "0");
const nearest_sql = (where, order) => [`select a.path, b.path as nearest, a.cluster_id, b.cluster_id as nearest_cluster, n.distance`,
  `from '${gallery.oddities.folder}/${epoch_folder()}/nearest.parquet' as n`,
  `join 'clusters/*/*.parquet' as a on a.image_id = n.image_id and a.epoch_idx = ${gallery.epoch}`,
  `join 'clusters/*/*.parquet' as b on b.image_id = n.nearest_id and b.epoch_idx = ${gallery.epoch}`,
  ...(where ? ["where " + where] : []), `order by n.distance${order}, n.image_id;`].join("\n");
const ODD = {
  copies: ["Copies", (n) => `Groups of files of the same bytes: ${n}.`,
    () => "select digest, count(*) as images, min(path) as one, max(path) as another from 'images.parquet'\ngroup by digest having count(*) > 1 order by images desc, one;"],
  near_within: ["Likely near-duplicates in one cluster", (n) => `Groups of images whose vectors are nearly equal: ${n}.`,
    (limit) => nearest_sql(`n.distance <= ${limit} and a.cluster_id = b.cluster_id`, "")],
  near_across: ["Likely near-duplicates in several clusters", (n) => `Groups that lie across clusters: ${n}.`,
    (limit) => nearest_sql(`n.distance <= ${limit} and a.cluster_id <> b.cluster_id`, "")],
  lone: ["Likely outliers: far from all others", () => "The images that are farthest from their nearest.", () => nearest_sql("", " desc")],
  far: ["Likely outliers: far from their centroid", () => "The images that are farthest from their centroid, as a multiple of their cluster's mean distance.",
    () => `select image_id, path, cluster_id, distance / avg(cast(distance as double)) over (partition by cluster_id) as times\nfrom 'clusters/*/*.parquet' where epoch_idx = ${gallery.epoch} and distance > 0 order by times desc, image_id;`],
};
const odd_image = (name) => (row) => {
  const [image, path, label, cluster, distance] = row, mean = clusters[cluster] && clusters[cluster].mean;
  const measure = name === "copies" ? "" : name === "far" && mean ? ` · ${number(distance / mean, 1)} times the mean` : ` · distance ${number(distance, 4)}`;
  return make("div", { class: "odd" }, details.picture(row), make("div", {}, make("span", { class: "path" }, path), make("br"),
    link(cluster, "cluster " + cluster), make("span", { class: "soft" }, `${label ? " · " + label : ""} · image ${image}${measure}`)));
};
const odd_group = (name) => ([images, rows]) => {
  const labels = new Set(rows.map((row) => row[2]).filter(Boolean));
  const notes = [images > rows.length ? `${number(images)} images, of which ${rows.length} are shown.` : null,
    images > 1 && labels.size > 1 ? "The labels differ." : null].filter(Boolean);
  return make("li", { class: "group" }, ...rows.map(odd_image(name)), notes.length ? make("p", { class: "soft" }, notes.join(" ")) : null);
};
const odd_list = (name) => {
  const odd = gallery.oddities, groups = odd.lists[name], [title, how, sql] = ODD[name];
  const found = name in odd.found ? odd.found[name] : groups.length;
  const list = make("ul", { class: "flat groups" });
  const more = make("button", { type: "button", onclick: () => show_to(list.children.length + AT_ONCE) }, "Show more");
  const show_to = (count) => {
    list.append(...groups.slice(list.children.length, count).map(odd_group(name)));
    more.hidden = list.children.length >= groups.length;
  };
  show_to(AT_ONCE);
  const query = sql(odd.near ? odd.near[0] : 0), paths = groups.flatMap(([, rows]) => rows.map((row) => row[1]));
  return make("section", { id: "odd-" + name, "aria-label": title }, make("h3", {}, title),
    make("p", { class: "how" }, how(number(found)), found > groups.length ? ` The ${number(groups.length)} most striking are listed.` : ""),
    groups.length ? list : make("p", { class: "none" }, "None."), make("p", { class: "bar" }, more,
      groups.length ? copy("Copy paths", paths.join("\n")) : null),
    make("details", {}, make("summary", {}, "SQL that lists all"), make("p", { class: "soft" }, name.startsWith("near") ?
      "In the folder of the results; each image with its nearest, copies among them:" : "In the folder of the results:"), make("pre", {}, query)));
};
let is_dressed = false;
const oddities = () => {
  $("oddities").hidden = !gallery;
  if (!gallery) return;
  const place = $("oddities").querySelector("div"), odd = gallery.oddities;
  if (!odd) {
    return place.replaceChildren(make("p", { class: "none" }, "This epoch has no list of images to look at. This node of a pipeline " +
      "makes one, at the epochs of the gallery: oddities: { stage: oddities, from: { dataset: dataset, clusters: clusters, neighbors: neighbors, crops: crops } }"));
  }
  if (odd.pictures && !is_dressed) {
    document.styleSheets[0].insertRule(`.odd-tile { background-image: url("data:image/jpeg;base64,${odd.pictures}") }`);
    is_dressed = true;
  }
  const [limit, median] = odd.near || [];
  const about = odd.near ? `Images are near up to a squared distance of ${number(limit, 4)} between their vectors. ` +
    `Half of all images have their nearest within ${number(median, 4)}.` :
    "Near-duplicates were not looked for: connect the port neighbors of the stage oddities.";
  const names = Object.keys(ODD).filter((name) => odd.near || name === "copies" || name === "far");
  place.replaceChildren(make("p", { class: "how" }, about), ...names.map(odd_list));
};

// Filters of the first convolution.
const CHANNELS = { 2: ["Filters on differences from left to right", "Filters on differences from top to bottom"], 3: ["Filters on red, green and blue"] };
const filters = () => {
  const found = data.filters;
  $("filters").hidden = !found;
  if (!found) return;
  const place = $("filters").querySelector("div");
  if (found.said) return place.replaceChildren(make("p", { class: "none" }, found.said));
  const [count, channels, high, wide] = found.shape, pixels = new Uint8Array(bytes(found.pixels));
  const across = Math.min(count, 16), down = Math.ceil(count / across);
  const sheet = (title, channel_of) => {
    const canvas = make("canvas", { class: "filters", width: across * (wide + 1) - 1, height: down * (high + 1) - 1, role: "img",
      "aria-label": `${title}: ${count} filters of ${high} by ${wide}` });
    const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
    for (let filter = 0; filter < count; filter++) {
      const [left, top] = [filter % across * (wide + 1), Math.floor(filter / across) * (high + 1)];
      for (let at = 0; at < high * wide; at++) {
        const to = 4 * ((top + Math.floor(at / wide)) * canvas.width + left + at % wide);
        const value = (channel) => pixels[(filter * channels + channel) * high * wide + at];
        image.data.set([...channel_of.map(value), 255], to);
      }
    }
    context.putImageData(image, 0, 0);
    return make("figure", {}, make("figcaption", {}, title), canvas);
  };
  const sheets = channels === 3 ? [sheet(CHANNELS[3][0], [0, 1, 2])] : Array.from({ length: Math.min(channels, 4) }, (_, channel) =>
    sheet((CHANNELS[channels] || [])[channel] || "Filters on channel " + channel, [channel, channel, channel]));
  place.replaceChildren(make("p", { class: "how" }, `The first convolution of ${found.node}: ${count} filters of ${high} by ${wide}. ` +
    "Grey is 0, white and black are the largest number of the filter." + (channels === 2 ?
      " The network sees no colours but differences of brightness (Sobel), in two directions." : "") +
    (channels > 4 ? ` The first 4 of ${channels} channels.` : "")), make("div", { class: "charts" }, ...sheets));
};

// Labels against clusters.
const mixed = $("labels").appendChild(make("div", {}));
const confusion = () => {
  const cells = gallery && gallery.confusion;
  mixed.hidden = !cells || cells.length === 0;
  if (mixed.hidden) return;
  const last = (a, b) => (a === "") - (b === "") || (a < b ? -1 : 1);
  const names = [...new Set(cells.map(([label]) => label))].sort(last), mains = [...new Set(cells.map(([, main]) => main))].sort(last);
  const counts = new Map(cells.map(([label, main, images]) => [JSON.stringify([label, main]), images]));
  const name = (label) => label === "" ? "all others" : label;
  const row = (label) => {
    const mine = mains.map((main) => counts.get(JSON.stringify([label, main])) || 0), whole = mine.reduce((sum, n) => sum + n, 0);
    const share = (images, at) => {
      const cell = make("td", { class: "number" }, images === 0 ? "-" : images < whole / 200 ? "<1" : String(Math.round(100 * images / whole)));
      cell.style.background = `color-mix(in srgb, var(--accent) ${Math.round(35 * images / whole)}%, transparent)`;
      if (mains[at] === label) cell.style.fontWeight = "700";
      return cell;
    };
    return make("tr", {}, make("th", { scope: "row" }, name(label)), figure(number(whole)), ...mine.map(share));
  };
  mixed.replaceChildren(make("h3", {}, "Labels against clusters"),
    make("p", { class: "how" }, "Of the images of a label (row), so many per cent are in clusters whose commonest label is that of the column. " +
      "A label without a column is the commonest in no cluster. At most 20 labels are told apart."),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Labels against clusters" }, make("table", { class: "confusion" },
      make("thead", {}, make("tr", {}, ...["label", "images", ...mains.map(name)].map((title, at) => make("th", at ? { scope: "col", class: "number" } : { scope: "col" }, title)))),
      make("tbody", {}, ...names.map(row)))));
};

draws.push(changes, confusion, oddities, filters);
if ($("data")) show(JSON.parse($("data").textContent));
