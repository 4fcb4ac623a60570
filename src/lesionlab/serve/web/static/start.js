// The start page: files in, jobs as they stand.
import { byId, element, post, problem, told, when } from "./api.js";
import { zipped } from "./zip.js";

const KINDS = { examine: "examination", compare: "comparison", accept: "acceptance", deliver: "delivery", fetch: "fetch" };
const UNTITLED = { deliver: "results to a PACS", fetch: "studies from a PACS" };
const OPEN = ["waiting", "running"];
const BUSY_MS = 1000;
const QUIET_MS = 4000;
const said = byId("said");
const table = byId("jobs");
let shown = "";

// What was dropped, folders walked through: [{ name, file }]
async function dropped(items) {
  // all at once: after the first wait the items are gone
  const entries = [...items].map((item) => [item.webkitGetAsEntry?.(), item.getAsFile?.()]);
  const found = [];
  for (const [entry, file] of entries) {
    if (entry) {
      await walk(entry, found);
    } else if (file) {
      found.push({ name: file.name, file });
    }
  }
  return found;
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ name: entry.fullPath.replace(/^\//, ""), file });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) {
      return;
    }
    for (const inner of some) {
      await walk(inner, found);
    }
  }
}

function chosen(list) {
  return [...list].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
}

async function send(files) {
  const wanted = files.filter(({ name }) => !name.split("/").pop().startsWith("."));
  if (!wanted.length) {
    return;
  }
  byId("sending").hidden = false;
  try {
    let [{ file, name }] = wanted;
    if (wanted.length > 1) {
      said.textContent = `Packing ${wanted.length} files …`;
      name = `${name.includes("/") ? name.split("/")[0] : `${wanted.length} files`}.zip`;
      file = await zipped(wanted, (share) => progress(share / 3));
    }
    said.textContent = "Sending …";
    const job = await upload(file, name.split("/").pop());
    said.replaceChildren("Queued: ", element("a", { href: `/jobs/${job.id}` }, job.title));
  } catch (error) {
    said.textContent = `Not taken: ${error.message}`;
  }
  byId("sending").hidden = true;
  byId("upload").reset();
  await look();
}

function upload(file, name) {
  const form = new FormData();
  form.append("route", byId("route").value);
  form.append("file", file, name);
  const request = new XMLHttpRequest();
  request.open("POST", "/api/jobs");
  request.upload.addEventListener("progress", (event) => progress(1 / 3 + (2 / 3) * (event.loaded / event.total)));
  return new Promise((resolve, reject) => {
    request.addEventListener("error", () => reject(new Error("the connection was lost")));
    request.addEventListener("load", () => {
      if (request.status === 202) {
        resolve(JSON.parse(request.responseText));
      } else {
        reject(new Error(problem(request.responseText, request.status)));
      }
    });
    request.send(form);
  });
}

function progress(share) {
  byId("sent").value = share;
}

function row(job) {
  const title = job.title || (UNTITLED[job.kind] ?? "received study");
  const state = element("td", {}, element("span", { class: `state ${job.state}` }, job.state));
  if (job.state === "running") {
    state.append(" ", job.message, element("progress", { max: 1, value: job.progress, "aria-label": "Progress" }));
  } else if (job.state === "failed") {
    state.append(element("div", { class: "why" }, job.error));
  } else if (job.state === "waiting" && job.error) {
    state.append(element("div", { class: "why" }, `again soon: ${job.error}`));
  }
  const act = (name, words) =>
    element("button", { type: "button", "aria-label": `${words}: ${title}`, "data-key": `${name}-${job.id}`,
      onclick: () => turn(job, name) }, words);
  const actions = element("td");
  if (OPEN.includes(job.state)) {
    actions.append(act("cancel", "Cancel"));
  } else if (job.state !== "done") {
    actions.append(act("retry", "Try again"));
  }
  const link = element("a", { href: `/jobs/${job.id}`, "data-key": `link-${job.id}` }, title);
  const whose = [job.patient && `patient ${job.patient}`, job.scanned].filter(Boolean).join(", ");
  const scan = element("td", {}, link, ...(whose ? [element("div", { class: "quiet" }, whose)] : []));
  const kind = KINDS[job.kind] + (job.route ? `, ${job.route}` : "");
  return element("tr", { "data-id": job.id }, scan, element("td", {}, kind),
    element("td", {}, when(job.created)), state, actions);
}

async function turn(job, name) {
  try {
    await post(`/jobs/${job.id}/${name}`);
  } catch (error) {
    said.textContent = error.message;
  }
  await look();
}

async function look() {
  const jobs = await told(`/jobs?most=${table.dataset.most}`);
  const text = JSON.stringify(jobs);
  if (text !== shown) {
    shown = text;
    const focused = document.activeElement?.dataset?.key;
    table.tBodies[0].replaceChildren(...jobs.map(row));
    byId("none").hidden = jobs.length > 0;
    table.hidden = !jobs.length;
    // the list is made anew; whoever was on one of its buttons stays there
    focused && table.querySelector(`[data-key="${focused}"]`)?.focus();
  }
  return jobs.some((job) => OPEN.includes(job.state));
}

async function watch() {
  let busy = true;
  try {
    busy = document.hidden || (await look());
  } catch (error) {
    said.textContent = `The service does not answer: ${error.message}`;
  }
  setTimeout(watch, busy ? BUSY_MS : QUIET_MS);
}

const drop = byId("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
  });
}
drop.addEventListener("drop", async (event) => send(await dropped(event.dataTransfer.items)));
for (const id of ["files", "folder"]) {
  byId(id).addEventListener("change", (event) => send(chosen(event.target.files)));
}
watch();
