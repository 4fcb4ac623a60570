// Correcting a mask: brush, eraser, lesions deleted; sent back in the very file that the server gave, only its
// voxels changed, so that the grid stays what it was to the last bit.
import { ask, byId, element } from "./api.js";

const MASK = "mask.nii.gz";
const UINT8 = 2; // NIfTI-1 datatype code
const DRAWN = { R: [0, 213, 0, 230, 204], G: [0, 94, 158, 159, 121], B: [0, 0, 115, 0, 167], A: [0, 255, 255, 255, 255], I: [0, 1, 2, 3, 4], labels: ["", "1", "2", "3", "4"] };

export class Correction {
  constructor(viewer) {
    this.viewer = viewer;
    this.nv = viewer.nv;
    this.size = 3;
    this.tool = "move";
  }

  async begin() {
    const answer = await ask(`/jobs/${this.viewer.job}/results/${MASK}`);
    this.file = await through(new DecompressionStream("gzip"), await answer.arrayBuffer());
    const view = new DataView(this.file);
    if (view.getUint16(70, true) !== UINT8) {
      throw new Error("a mask of more than 255 labels cannot be corrected here");
    }
    this.start = view.getFloat32(108, true);
    this.voxels = new Uint8Array(this.file, this.start);
    this.order = order(this.viewer.labels, this.voxels.length);
    this.nv.setDrawingEnabled(true);
    this.nv.setDrawColormap(DRAWN);
    this.nv.drawBitmap.set(this.order.map((native) => this.voxels[native]));
    this.before = this.nv.drawBitmap.slice();
    this.changed();
    this.lesions = this.viewer.labels.img2RAS();
    this.shownBefore = this.viewer.opacity.lesions;
    this.viewer.showLesions(0);
    this.nv.setDrawOpacity(0.6);
    this.use("move");
  }

  use(tool) {
    this.tool = tool;
    const drawing = tool !== "move";
    this.nv.opts.drawingEnabled = drawing;
    if (drawing) {
      this.nv.setPenValue(tool === "brush" ? this.label() : 0, false);
      this.nv.opts.penSize = this.size;
    }
  }

  // New voxels take the label of the mask's first lesion; a mask of several labels keeps the others.
  label() {
    return this.voxels.find((value) => value > 0) ?? 1;
  }

  resize(size) {
    this.size = Math.min(31, Math.max(1, Math.round(size) || 1));
    this.nv.opts.penSize = this.size;
  }

  // A ball of the pen's size around the cross: what the pointer does, for the keyboard.
  apply() {
    const value = this.tool === "erase" ? 0 : this.label();
    const [, nx, ny, nz] = this.nv.back.dimsRAS;
    const [cx, cy, cz] = this.nv.frac2vox(this.nv.scene.crosshairPos);
    const radius = this.size / 2;
    const reach = Math.floor(radius);
    for (let z = Math.max(0, cz - reach); z <= Math.min(nz - 1, cz + reach); z++) {
      for (let y = Math.max(0, cy - reach); y <= Math.min(ny - 1, cy + reach); y++) {
        for (let x = Math.max(0, cx - reach); x <= Math.min(nx - 1, cx + reach); x++) {
          if (Math.hypot(x - cx, y - cy, z - cz) <= radius) {
            this.nv.drawBitmap[(z * ny + y) * nx + x] = value;
          }
        }
      }
    }
    this.changed();
  }

  remove(lesion) {
    const bitmap = this.nv.drawBitmap;
    this.lesions.forEach((number, at) => {
      if (number === lesion) {
        bitmap[at] = 0;
      }
    });
    this.changed();
  }

  changed() {
    this.nv.drawAddUndoBitmap();
    this.nv.refreshDrawing(true);
  }

  undo() {
    this.nv.drawUndo();
  }

  get touched() {
    return this.nv.drawBitmap.some((value, at) => value !== this.before[at]);
  }

  async save(note) {
    const voxels = new Uint8Array(this.file, this.start);
    this.order.forEach((native, at) => {
      voxels[native] = this.nv.drawBitmap[at];
    });
    const packed = await through(new CompressionStream("gzip"), this.file);
    const form = new FormData();
    form.append("note", note);
    form.append("file", new Blob([packed]), MASK);
    return (await ask(`/jobs/${this.viewer.job}/corrections`, { method: "POST", body: form })).json();
  }

  end() {
    this.use("move");
    this.nv.closeDrawing();
    this.viewer.showLesions(this.shownBefore);
  }
}

// For each voxel in NiiVue's order (towards right, anterior, superior) its index in the file.
function order(image, count) {
  const [, nx, ny, nz] = image.dimsRAS;
  const [sx, sy, sz] = image.img2RASstep;
  const first = image.img2RASstart.reduce((sum, part) => sum + part, 0);
  const found = new Uint32Array(count);
  for (let z = 0, at = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++, at++) {
        found[at] = first + x * sx + y * sy + z * sz;
      }
    }
  }
  return found;
}

async function through(stream, bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer();
}

export function tools(viewer, lesions) {
  const correction = new Correction(viewer);
  const said = byId("draw-said");
  const fixed = ["below", "above", "masked"].map(byId);
  const shown = (on) => {
    byId("pens").hidden = !on;
    byId("edit").hidden = on;
    fixed.forEach((input) => (input.disabled = on));
  };
  const tried = (act) => async () => {
    said.textContent = "";
    try {
      await act();
    } catch (error) {
      said.textContent = error.message;
    }
  };
  const pick = (name) => {
    document.querySelector(`[name="pen"][value="${name}"]`).checked = true;
    correction.use(name);
  };
  byId("victim").append(...lesions.map(({ number }) => element("option", { value: number }, String(number))));
  byId("edit").addEventListener("click", tried(async () => {
    await viewer.busy;
    await correction.begin();
    shown(true);
    pick("move");
    document.querySelector('[name="pen"]:checked').focus();
  }));
  document.querySelectorAll('[name="pen"]').forEach((input) =>
    input.addEventListener("change", () => correction.use(input.value)));
  byId("size").addEventListener("change", (event) => correction.resize(Number(event.target.value)));
  byId("here").addEventListener("click", () => correction.apply());
  byId("delete").addEventListener("click", () => {
    correction.remove(Number(byId("victim").value));
    said.textContent = `Lesion ${byId("victim").value} is deleted in the drawing.`;
  });
  byId("undo").addEventListener("click", () => correction.undo());
  byId("drop-edit").addEventListener("click", () => {
    correction.end();
    shown(false);
    byId("edit").focus();
  });
  byId("save").addEventListener("click", tried(async () => {
    if (!correction.touched) {
      said.textContent = "Nothing was changed.";
      return;
    }
    said.textContent = "Saving …";
    const job = await correction.save(byId("why").value);
    location.assign(`/jobs/${job.id}`);
  }));
  return correction;
}
