// The parts of the pages that move: curves of running and finished runs, and pictures over iterations. Without it the rest still works.
"use strict";

const kinds = { iteration: "paths of every iteration", held: "held-out conditions", training: "networks that are trained on data" };
const metrics = [
  ["reward", "Mean reward"], ["kl", "KL(P^h ‖ tilted)"], ["l_sc", "Stochastic-control loss L_SC"], ["log_z", "log Ẑ"],
  ["ess_fraction", "ESS, share of the paths"], ["acceptance", "Acceptance rate"], ["loss", "Training loss"], ["seconds", "Seconds"],
];
const lines = new Map(); // by run, kind and stage: { run, name, kind, steps, values, group }
const groups = new Map(); // by run, kind and method, with all of its seeds: { label, place, hidden }
const runs = [...document.querySelectorAll(".progress")].map((e) => e.dataset.run);

function svg(tag, attributes, parent, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  if (parent) parent.append(e);
  return e;
}

function html(tag, properties, parent) {
  const e = Object.assign(document.createElement(tag), properties);
  if (parent) parent.append(e);
  return e;
}

const label = (line) => (runs.length > 1 ? line.run + " · " : "") + line.name;
const look = (group) => `line c${group.place % 6} d${Math.floor(group.place / 6) % 4}`;
const style = (line) => look(line.group) + (line.again ? " again" : "");

function show(v) {
  if (v === null || v === undefined) return "—";
  const text = v !== 0 && (Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3) ? v.toExponential(1) : String(Number(v.toPrecision(3)));
  return text.replace("-", "−");
}

// ---- what the server tells

function take(news) {
  if (news.again) for (const [key, line] of lines) if (line.run === news.run) line.steps = [], (line.values = {});
  for (const part of news.series) {
    const key = [news.run, part.kind, part.name].join("\n");
    if (!lines.has(key)) {
      const line = { run: news.run, name: part.name, kind: part.kind, steps: [], values: {} };
      const method = part.name.replace(/ · seed \d+$/, ""), of = [news.run, part.kind, method].join("\n");
      if (!groups.has(of)) {
        const place = [...groups.values()].filter((g) => g.kind === part.kind).length;
        groups.set(of, { label: label({ run: news.run, name: method }), kind: part.kind, place, hidden: false });
      }
      line.group = groups.get(of);
      line.again = method !== part.name; // a repetition
      lines.set(key, line);
    }
    const line = lines.get(key);
    line.steps.push(...part.steps);
    for (const column of part.values) (line.values[column.name] ||= []).push(...column.values);
  }
  for (const p of news.previews || []) preview(news.run, p);
  const box = [...document.querySelectorAll(".progress")].find((e) => e.dataset.run === news.run);
  const at = (name) => box.querySelector(`[data-part=${name}]`);
  at("state").textContent = news.state;
  at("state").className = "state " + news.state;
  const working = news.state !== "complete" && news.total > 0;
  at("now").textContent = working ? `${news.now}: ${news.done} of ${news.total}` : "";
  at("bar").hidden = !working;
  at("bar").max = news.total || 1;
  at("bar").value = news.done;
  const note = at("note"), said = [news.error, ...(news.warnings || [])].filter(Boolean).join(" ");
  if (note.dataset.said !== said + news.state) {
    note.dataset.said = said + news.state;
    note.replaceChildren(said + " ");
    if (news.state === "complete" && box.dataset.state !== "complete") html("a", { href: location.href, textContent: "Show the results" }, note);
  }
  workers(box, news.workers || []);
  if (news.series.length || news.again) later();
}

// workers shows those of a run, each in a row.
function workers(box, all) {
  let table = box.querySelector("table");
  if (!all.length) { if (table) table.parentNode.remove(); return; }
  if (!table) {
    table = html("table", {}, html("div", { className: "wide" }, box));
    html("caption", { className: "soft", textContent: "Workers" }, table);
    const head = html("tr", {}, html("thead", {}, table));
    for (const name of ["worker", "seen, s ago", "tasks", "paths", "paths/s", "at it for, s", "task"]) html("th", { scope: "col", textContent: name }, head);
    html("tbody", {}, table);
  }
  table.querySelector("tbody").replaceChildren(...all.map((w) => {
    const row = html("tr", {});
    const cells = [w.name, w.seen.toFixed(0), w.tasks, w.paths, w.paths_per_second.toPrecision(3), w.task ? (w.task_age || 0).toFixed(0) : "—", w.task || ""];
    for (const cell of cells) html("td", { textContent: cell }, row);
    return row;
  }));
}

// ---- curves

let asked = false, wait = 0;
function later() {
  if (asked) return;
  asked = true;
  setTimeout(() => requestAnimationFrame(() => {
    asked = false;
    const begun = performance.now();
    draw();
    wait = 4 * (performance.now() - begun); // so that it leaves time to take what comes of many runs
  }), wait);
}

function draw() {
  const present = Object.keys(kinds).filter((k) => [...lines.values()].some((l) => l.kind === k && l.steps.length));
  const choice = document.getElementById("kind");
  if (present.join() !== choice.dataset.present) {
    const before = choice.value;
    choice.dataset.present = present.join();
    choice.replaceChildren(...present.map((k) => html("option", { value: k, textContent: kinds[k] })));
    if (present.includes(before)) choice.value = before;
  }
  document.getElementById("curves").hidden = present.length === 0;
  const of = [...lines.values()].filter((l) => l.kind === choice.value && l.steps.length);
  legend(of);
  const charts = document.getElementById("charts"), open = of.filter((l) => !l.group.hidden);
  for (const [name, title] of metrics) {
    let figure = charts.querySelector(`[data-metric=${name}]`);
    const having = open.filter((l) => (l.values[name] || []).some((v) => v !== null));
    if (!having.length) { if (figure) figure.remove(); continue; }
    if (!figure) {
      figure = html("figure", { className: "chart" }, charts);
      figure.dataset.metric = name;
    }
    chart(figure, name, title, having);
  }
}

function legend(of) {
  const all = [...new Set(of.map((l) => l.group))];
  const box = document.getElementById("legend"), said = all.map((g) => g.label).join("\n");
  if (box.dataset.said === said) return;
  box.dataset.said = said;
  box.replaceChildren(...all.map((g) => {
    const e = html("label", {}), check = html("input", { type: "checkbox", checked: !g.hidden }, e);
    check.addEventListener("change", () => { g.hidden = !check.checked; later(); });
    const sample = svg("svg", { width: 22, height: 8, "aria-hidden": "true" }, e);
    svg("path", { d: "M0 4H22", class: look(g) }, sample);
    e.append(g.label);
    return e;
  }));
}

// few keeps of many points the least and the largest of each of 150 parts, so that no peak is lost.
function few(points) {
  if (points.length <= 300) return points;
  const out = [], size = Math.ceil(points.length / 150);
  for (let i = 0; i < points.length; i += size) {
    const part = points.slice(i, i + size);
    let low = part[0], high = part[0];
    for (const p of part) { if (p[1] < low[1]) low = p; if (p[1] > high[1]) high = p; }
    out.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
  }
  return out;
}

function ticks(from, to, log) {
  if (log) {
    const all = [], step = Math.max(1, Math.ceil((to - from) / 5));
    for (let e = Math.ceil(from); e <= to; e += step) all.push([e, show(10 ** e)]);
    return all.length > 1 ? all : [[from, show(10 ** from)], [to, show(10 ** to)]];
  }
  const rough = (to - from) / 4, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= rough), all = [];
  for (let v = Math.ceil(from / step) * step; v <= to + step / 1e6; v += step) all.push([v, show(Math.abs(v) < step / 1e6 ? 0 : v)]);
  return all;
}

function chart(figure, name, title, of) {
  const log = document.getElementById("log").checked && of.every((l) => l.values[name].every((v) => v === null || v > 0)), W = 380, H = 220, left = 52, right = 10, top = 8, bottom = 24;
  const scale = (v) => (v === null || v === undefined ? NaN : log ? (v > 0 ? Math.log10(v) : NaN) : v);
  let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
  const drawn = of.map((line) => {
    const values = line.values[name], errors = line.values[name + "_se"], points = [], band = [];
    line.steps.forEach((step, i) => {
      const y = scale(values[i]);
      if (!Number.isFinite(y)) return;
      points.push([step, y]);
      x0 = Math.min(x0, step); x1 = Math.max(x1, step); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
      if (errors && errors[i] !== null) {
        const lower = scale(values[i] - errors[i]), upper = scale(values[i] + errors[i]);
        band.push([step, Number.isFinite(lower) ? lower : y, upper]);
      }
    });
    return { line, points: few(points), band: band.length > 1 && band.length <= 300 ? band : [] };
  });
  const last = of.slice(0, 6).map((l) => `${label(l)} ${show(l.values[name][l.values[name].length - 1])}`).join(", ");
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title} by iteration, last: ${last}` });
  const tip = html("div", { className: "tip" });
  figure.replaceChildren(html("figcaption", { textContent: title }), picture, tip);
  if (y0 === y1) { const pad = Math.abs(y0) / 10 || 1; y0 -= pad; y1 += pad; }
  const pad = (y1 - y0) / 20;
  y0 -= pad; y1 += pad;
  if (x0 === x1) { x0 -= 1; x1 += 1; }
  const X = (v) => left + ((v - x0) / (x1 - x0)) * (W - left - right), Y = (v) => top + ((y1 - v) / (y1 - y0)) * (H - top - bottom);
  const clip = (v) => Math.min(H - bottom, Math.max(top, v));
  for (const [v, text] of ticks(y0, y1, log)) {
    svg("path", { d: `M${left} ${Y(v).toFixed(1)}H${W - right}`, class: "grid" }, picture);
    svg("text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, picture, text);
  }
  for (const [v, text] of ticks(x0, x1, false)) if (Number.isInteger(v)) svg("text", { x: X(v), y: H - 6, "text-anchor": X(v) > W - right - 14 ? "end" : "middle" }, picture, text);
  for (const { line, points, band } of drawn) {
    const at = (p, i) => `${X(p[0]).toFixed(1)} ${clip(Y(p[i])).toFixed(1)}`;
    if (band.length) svg("path", { d: "M" + [...band.map((p) => at(p, 2)), ...band.toReversed().map((p) => at(p, 1))].join("L") + "Z", class: "band " + style(line) }, picture);
    if (points.length === 1) svg("circle", { cx: X(points[0][0]), cy: Y(points[0][1]), r: 3, class: "dot " + style(line) }, picture);
    else if (points.length) svg("path", { d: "M" + points.map((p) => at(p, 1)).join("L"), class: style(line) }, picture);
  }
  const hair = svg("path", { d: "", class: "hair" }, picture);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect(), step = Math.round(x0 + (((event.clientX - box.left) / box.width) * W - left) / (W - left - right) * (x1 - x0));
    const texts = of.map((l) => [l, l.steps.indexOf(step)]).filter(([, i]) => i >= 0).map(([l, i]) => `${label(l)} ${show(l.values[name][i])}`);
    hair.setAttribute("d", texts.length ? `M${X(step)} ${top}V${H - bottom}` : "");
    tip.textContent = texts.length ? `${step}: ${texts.slice(0, 5).join(", ")}${texts.length > 5 ? ", …" : ""}` : "";
  });
  picture.addEventListener("pointerleave", () => { hair.setAttribute("d", ""); tip.textContent = ""; });
}

// ---- pictures over iterations

function wire(figure) {
  const slider = figure.querySelector("input"), picture = figure.querySelector("img"), loaded = new Map(); // so that the slider does not wait
  figure.querySelector(".frames").hidden = true;
  const frames = () => [...figure.querySelectorAll(".frames a")];
  figure.load = () => frames().forEach((a) => loaded.has(a.href) || loaded.set(a.href, Object.assign(new Image(), { src: a.href })));
  figure.load();
  slider.addEventListener("input", () => {
    const frame = frames()[Number(slider.value)];
    picture.src = frame.href;
    picture.alt = picture.alt.replace(/\d+ iterations$/, frame.dataset.step + " iterations");
    figure.querySelector("output").textContent = frame.dataset.step;
    slider.setAttribute("aria-valuetext", frame.dataset.step + " iterations");
  });
}

// preview shows a picture that a running method has told; the slider follows if it is at the end.
function preview(run, { name, step, url }) {
  const column = [...document.querySelectorAll("[data-pictures]")].find((e) => e.dataset.pictures === run);
  let figure = [...column.querySelectorAll(".previews")].find((e) => e.dataset.name === name);
  const made = !figure;
  if (made) {
    figure = html("figure", { className: "previews" });
    figure.dataset.name = name;
    html("img", { alt: `samples of ${name} from the same noise after ${step} iterations` }, figure);
    const caption = html("label", {}, html("figcaption", {}, figure));
    caption.append(name + ", the same noise after ", html("output", {}), " iterations");
    html("input", { type: "range", min: 0, max: 0, step: 1 }, caption).setAttribute("aria-label", `iterations of ${name} in ${run}`);
    html("ol", { className: "frames" }, figure);
    wire(figure);
    column.prepend(figure);
    document.getElementById("pictures").hidden = false;
  }
  const list = figure.querySelector(".frames"), slider = figure.querySelector("input");
  if ([...list.querySelectorAll("a")].some((a) => Number(a.dataset.step) === step)) return;
  const frame = html("a", { href: url, textContent: step }, html("li", {}, list));
  frame.dataset.step = step;
  figure.load();
  const last = list.children.length - 1, follow = made || slider.value === slider.max;
  slider.max = last;
  if (!follow) return;
  slider.value = last;
  slider.dispatchEvent(new Event("input"));
}

document.querySelectorAll(".previews").forEach(wire);

// ---- begin

if (runs.length) {
  for (const id of ["kind", "log"]) document.getElementById(id).addEventListener("change", later);
  const source = new EventSource("/events?" + runs.map((r) => "run=" + encodeURIComponent(r)).join("&"));
  source.addEventListener("message", (event) => take(JSON.parse(event.data)));
  source.addEventListener("error", () => { // another connection begins anew
    for (const line of lines.values()) line.steps = [], (line.values = {});
  });
}
