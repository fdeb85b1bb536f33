// Tells how far jobs are, and shows their pictures as soon as they are there. Without it, loading the page again does.
"use strict";

const size = (n) => (n < 1e3 ? n + " B" : n < 1e6 ? (n / 1e3).toPrecision(3) + " kB" : (n / 1e6).toPrecision(3) + " MB");

function product(file, box, of) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption"), link = document.createElement("a");
  figure.dataset.file = file.name;
  if (file.name.endsWith(".png")) {
    const around = document.createElement("a"), image = document.createElement("img");
    around.href = image.src = file.url;
    image.alt = `${file.name}, ${of}`;
    around.append(image);
    figure.append(around);
  }
  link.href = file.url;
  link.download = "";
  link.textContent = file.name;
  caption.append(link, " " + size(file.bytes));
  figure.append(caption);
  box.append(figure);
}

function update(job) {
  const box = document.getElementById("job-" + job.id);
  if (!box) return;
  const at = (name) => box.querySelector(`[data-part=${name}]`), write = (e, text) => { if (e.textContent !== text) e.textContent = text; };
  const active = job.state === "queued" || job.state === "drawing";
  box.dataset.state = job.state;
  write(at("state"), job.state);
  at("state").className = "state " + job.state;
  write(at("now"), job.place ? `number ${job.place} in the queue` : job.stage || (job.seconds ? `${job.seconds.toFixed(1)} s` : ""));
  at("bar").hidden = job.state !== "drawing";
  at("bar").value = job.progress;
  at("error").hidden = !job.error;
  write(at("error"), job.error);
  const notes = at("notes");
  for (const note of job.notes.slice(notes.children.length)) {
    const p = document.createElement("p");
    p.className = "note";
    p.textContent = note;
    notes.append(p);
  }
  const of = box.getAttribute("aria-label"), files = at("files");
  for (const file of job.files) if (![...files.children].some((e) => e.dataset.file === file.name)) product(file, files, of);
  const verb = active ? "Cancel" : "Dismiss", button = at("cancel");
  if (button.textContent !== verb) {
    button.textContent = verb;
    button.setAttribute("aria-label", `${verb} ${of}`);
  }
}

async function poll() {
  if (!document.querySelector(".job[data-state=queued], .job[data-state=drawing]")) return;
  try {
    const answer = await fetch("/api/jobs");
    if (answer.ok) for (const job of (await answer.json()).jobs) update(job);
  } catch { /* the server is away: ask again */ }
  setTimeout(poll, document.hidden ? 5000 : 700);
}

poll();
