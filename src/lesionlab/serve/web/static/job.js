// The page of a finished examination: table and images linked, review, correction, comparison.
import { byId, element, post, told } from "./api.js";
import { lesionTable, mark, totals } from "./table.js";

const id = document.body.dataset.job;

async function images(record) {
  const { Viewer, tell } = await import("./viewer.js");
  const viewer = new Viewer(byId("slices"), id, record);
  tell("where", viewer, mark);
  await viewer.open();
  const redraw = await projected(viewer, record);
  layerControls(viewer, record, redraw);
  const { tools } = await import("./draw.js");
  tools(viewer, record.lesions);
  return viewer;
}

// A projection of the channel with uptake, or of the reference where there is none.
async function projected(viewer, record) {
  const channel = record.channels.find(({ kind }) => kind === "pet") ?? viewer.channel(record.reference);
  if (record.flat || channel.kind === "ct") {
    return () => {};
  }
  const { Projection, controls } = await import("./projection.js");
  const image = await viewer.image(channel.file, { colormap: "gray" });
  const projection = new Projection(byId("projection"), image, viewer.labels, channel.kind === "pet");
  byId("turn").hidden = false;
  return controls(projection, () => channel.window ?? [channel.low, channel.high], ({ lesion, voxel }) => {
    const known = record.lesions.find(({ number }) => number === lesion);
    const { nv } = viewer;
    known ? viewer.go(known.at_lps_mm) : viewer.go(lps(nv.frac2mm(nv.vox2frac(voxel))));
  });
}

function lps([x, y, z]) {
  return [-x, -y, z];
}

function layerControls(viewer, record, redraw) {
  const options = () => record.channels.map(({ name }) => element("option", { value: name }, name));
  byId("below").append(...options());
  byId("above").append(element("option", { value: "" }, "nothing"), ...options());
  byId("above-field").hidden = record.channels.length < 2;
  const shown = () => {
    byId("below").value = viewer.below;
    byId("above").value = viewer.above;
    byId("mix-field").hidden = !viewer.above;
    const channel = viewer.channel(viewer.above || viewer.below);
    const [low, high] = channel.window ?? [channel.low, channel.high];
    [byId("low").value, byId("high").value] = [round(low), round(high)];
  };
  for (const name of ["below", "above"]) {
    byId(name).addEventListener("change", async () => {
      const above = byId("above").value === byId("below").value ? "" : byId("above").value;
      await viewer.layers(byId("below").value, above);
      shown();
    });
  }
  for (const name of ["low", "high"]) {
    byId(name).addEventListener("change", () => {
      const [low, high] = [Number(byId("low").value), Number(byId("high").value)];
      if (high > low) {
        viewer.window(viewer.above || viewer.below, low, high);
        redraw();
      }
    });
  }
  byId("mix").addEventListener("input", (event) => viewer.mix(Number(event.target.value)));
  byId("masked").addEventListener("input", (event) => viewer.showLesions(Number(event.target.value)));
  byId("outline").addEventListener("change", (event) => viewer.outline(event.target.checked));
  byId("planes").addEventListener("change", (event) => viewer.planes(event.target.value));
  byId("planes").value = record.flat ? "axial" : "all";
  byId("planes").disabled = record.flat;
  shown();
}

function round(value) {
  return Number(value.toPrecision(4));
}

function reviewing() {
  byId("review").addEventListener("submit", async (event) => {
    event.preventDefault();
    const verdict = event.submitter?.value ?? "accepted";
    try {
      const known = await post(`/jobs/${id}/reviews`, { verdict, note: byId("review-note").value });
      byId("reviews").replaceChildren(...known.map(said));
      const places = verdict === "accepted" && byId("review").dataset.sends;
      byId("review-said").textContent = `Recorded: ${verdict}.${places ? ` The results are on their way to ${places}.` : ""}`;
      byId("review").reset();
    } catch (error) {
      byId("review-said").textContent = `Not recorded: ${error.message}`;
    }
  });
}

function said({ verdict, who, time, note }) {
  const date = new Date(1000 * time).toISOString().slice(0, 16).replace("T", " ");
  const item = element("li", {}, element("b", { class: verdict }, verdict), ` by ${who}, ${date} UTC`);
  note && item.append(element("br"), note);
  return item;
}

function comparing() {
  byId("compare")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const job = await post("/comparisons", { baseline: byId("earlier").value, followup: id });
      location.assign(`/jobs/${job.id}`);
    } catch (error) {
      byId("compare-said").textContent = error.message;
    }
  });
}

async function main() {
  reviewing();
  comparing();
  const record = await told(`/jobs/${id}/results/viewer/lesions.json`);
  let viewer = null;
  lesionTable(record, (lesion) => {
    viewer?.go(lesion.at_lps_mm);
    mark(lesion.number);
  });
  totals(record);
  if (!byId("slices")) {
    return;
  }
  try {
    viewer = await images(record);
    document.body.dataset.ready = "yes";
  } catch (error) {
    byId("where").textContent = `The images cannot be shown: ${error.message}`;
    throw error;
  }
}

main();
