// Two timepoints side by side; a row of changes takes both viewers to the lesions that belong together.
import { byId, element, told } from "./api.js";
import { heading } from "./table.js";

const { job, baseline, followup } = document.body.dataset;
const SIDES = { baseline, followup };
const WORDS = {
  CMR: "complete metabolic response", PMR: "partial metabolic response",
  SMD: "stable metabolic disease", PMD: "progressive metabolic disease",
};

async function viewers() {
  const { Viewer, tell } = await import("./viewer.js");
  const made = {};
  for (const [side, id] of Object.entries(SIDES)) {
    const record = await told(`/jobs/${id}/results/viewer/lesions.json`);
    made[side] = new Viewer(byId(side), id, record);
    tell(`${side}-where`, made[side]);
    await made[side].open();
  }
  return made;
}

function numbers(text) {
  return String(text ?? "").split("+").filter(Boolean).map(Number);
}

function go(change, shown) {
  for (const side of Object.keys(SIDES)) {
    const [first] = numbers(change[`${side}_lesions`]);
    const lesion = shown[side]?.record.lesions.find(({ number }) => number === first);
    lesion && shown[side].go(lesion.at_lps_mm);
  }
}

function words(value) {
  return value === null || value === undefined ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function cells(row, names) {
  return names.map((name) => {
    const change = row[`${name}_change`];
    const percent = change === null || change === undefined ? "" : ` (${change > 0 ? "+" : ""}${change.toFixed(0)} %)`;
    return element("td", {}, `${words(row[`${name}_baseline`])} → ${words(row[`${name}_followup`])}${percent}`);
  });
}

function table(record, shown) {
  const names = Object.keys(record.totals).filter((name) => name.endsWith("_change")).map((name) => name.slice(0, -7));
  const units = record.units;
  const head = element("tr", {}, element("th", { scope: "col" }, "Lesions"), element("th", { scope: "col" }, "Kind"),
    ...names.map((name) => heading({ name, unit: (units[`${name}_baseline`] ?? "").replace(/^1$|\{.*\}/g, ""), meaning: "" })));
  const rows = record.changes.map((change) => {
    const pair = `${change.baseline_lesions || "–"} → ${change.followup_lesions || "–"}`;
    const button = element("button", { type: "button", "aria-label": `Go to ${pair}` }, pair);
    return element("tr", { class: "pick", onclick: () => go(change, shown) },
      element("th", { scope: "row" }, button), element("td", {}, change.kind), ...cells(change, names));
  });
  const all = element("tr", {}, element("th", { scope: "row" }, "all"), element("td", {}, ""), ...cells(record.totals, names));
  byId("changes").tHead.replaceChildren(head);
  byId("changes").tBodies[0].replaceChildren(...rows, all);
  byId("notes").replaceChildren(...record.notes.map((note) => element("li", {}, note)));
}

async function main() {
  const record = await told(`/jobs/${job}/results/response.json`);
  const category = record.category ? `${record.category}, ${WORDS[record.category] ?? ""}: ` : "";
  byId("verdict").textContent = `PERCIST 1.0: ${category}${record.reason}`;
  const shown = {};
  table(record, shown);
  if (byId("baseline")) {
    Object.assign(shown, await viewers());
    document.body.dataset.ready = "yes";
  }
}

main();
