// Two timepoints side by side. The crosses move together, through the alignment that the comparison found; a row
// of changes takes both viewers to the lesions that belong together.
import { byId, element, told } from "./api.js";
import { heading } from "./table.js";

const { job, baseline, followup } = document.body.dataset;
const SIDES = { baseline, followup };
const OTHER = { baseline: "followup", followup: "baseline" };
const NAMES = { baseline: "baseline", followup: "follow-up" };
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

// Where a place of one side lies on the other: baseline = rotation * follow-up + translation, LPS in mm.
function carried(side, at, { rotation, translation_lps_mm: shift }) {
  if (side === "followup") {
    return [0, 1, 2].map((row) => shift[row] + [0, 1, 2].reduce((sum, n) => sum + rotation[3 * row + n] * at[n], 0));
  }
  return [0, 1, 2].map((row) => [0, 1, 2].reduce((sum, n) => sum + rotation[3 * n + row] * (at[n] - shift[n]), 0));
}

// While something moves a cross, that cross moves no other.
let moving = false;
function alone(act) {
  moving = true;
  try {
    act();
  } finally {
    moving = false;
  }
}

// Moving one cross moves the other to the same place of the body.
function link(shown, motion) {
  for (const side of Object.keys(SIDES)) {
    const tell = shown[side].onmove;
    shown[side].onmove = (place) => {
      tell(place);
      if (!moving && byId("linked").checked) {
        alone(() => follow(OTHER[side], carried(side, place.at, motion), shown));
      }
    };
  }
  byId("aligned").textContent = aligned(motion);
  byId("linked").addEventListener("change", () => byId("linked").checked && shown.baseline.nv.createOnLocationChange());
}

function aligned({ rotation, translation_lps_mm: shift }) {
  const cosine = (rotation[0] + rotation[4] + rotation[8] - 1) / 2;
  const degrees = (180 / Math.PI) * Math.acos(Math.min(1, Math.max(-1, cosine)));
  return `Aligned by ${Math.hypot(...shift).toFixed(1)} mm and ${degrees.toFixed(1)}°.`;
}

function follow(side, at, shown) {
  if (shown[side].holds(at)) {
    shown[side].go(at);
  } else {
    byId(`${side}-where`).textContent = `This place lies outside the ${NAMES[side]} scan.`;
  }
}

function numbers(text) {
  return String(text ?? "").split("+").filter(Boolean).map(Number);
}

// Each side to its own lesion, which need not lie at the very same place; without one, to where the other's is.
function go(change, shown, motion) {
  const places = {};
  for (const side of Object.keys(SIDES)) {
    const [first] = numbers(change[`${side}_lesions`]);
    places[side] = shown[side]?.record.lesions.find(({ number }) => number === first)?.at_lps_mm;
  }
  for (const side of Object.keys(places).filter((name) => shown[name])) {
    alone(() => {
      if (places[side]) {
        shown[side].go(places[side]);
      } else if (places[OTHER[side]]) {
        follow(side, carried(OTHER[side], places[OTHER[side]], motion), shown);
      }
    });
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
    return element("tr", { class: "pick", onclick: () => go(change, shown, record.motion) },
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
    link(shown, record.motion);
    const [first] = record.changes;
    first && go(first, shown, record.motion);
    document.body.dataset.ready = "yes";
  }
}

main();
