// Images of one result in a canvas, through NiiVue: layers, windows, the cross, lesion labels on top.
// World coordinates are DICOM's LPS in mm here, RAS within NiiVue.
import { byId } from "./api.js";
import { colour } from "./colours.js";
import * as niivue from "./vendor/niivue/niivue.js";

const HAIRLINE = 1.6; // pixels
const PLANES = { axial: 0, coronal: 1, sagittal: 2, all: 3 };
const KEYS = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1],
};
// Uptake over anatomy: nothing where there is none
const UPTAKE = {
  R: [120, 120, 220, 255, 255], G: [0, 0, 40, 170, 255], B: [0, 0, 0, 0, 170],
  A: [0, 0, 140, 220, 255], I: [0, 38, 100, 180, 255],
};
const WHITE_TO_BLACK = { R: [255, 0], G: [255, 0], B: [255, 0], A: [0, 255], I: [0, 255] };

export class Viewer {
  constructor(canvas, job, record) {
    Object.assign(this, { canvas, job, record, images: new Map(), busy: Promise.resolve() });
    this.opacity = { above: 0.5, lesions: 0.5 };
    this.onmove = () => {};
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.nv = new niivue.Niivue({
      dragAndDropEnabled: false, isColorbar: false, show3Dcrosshair: false, crosshairWidthUnit: "mm", crosshairGap: 8,
      crosshairColor: [0.95, 0.55, 0, 1], backColor: [0, 0, 0, 1], fontMinPx: 15, logLevel: "error",
      multiplanarShowRender: 0, multiplanarPadPixels: 4, sliceType: PLANES.all, isRadiologicalConvention: true,
      viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", loadingText: "",
      isNearestInterpolation: false, yoke3Dto2DZoom: true, maxDrawUndoBitmaps: 16,
      // a picture without a place in the body has no left and right
      isOrientationTextVisible: !record.flat,
    });
    this.nv.onLocationChange = (place) => this.moved(place);
  }

  async open() {
    await this.nv.attachToCanvas(this.canvas, false);
    new ResizeObserver(() => requestAnimationFrame(() => this.thinCross())).observe(this.canvas);
    this.nv.addColormap("uptake", UPTAKE);
    this.nv.addColormap("white_to_black", WHITE_TO_BLACK);
    const { channels } = this.record;
    const ct = channels.find(({ kind }) => kind === "ct");
    const pet = channels.find(({ kind }) => kind === "pet");
    const below = (ct && pet ? ct : channels.find(({ name }) => name === this.record.reference)).name;
    await this.layers(below, ct && pet ? pet.name : "");
    this.planes(this.record.flat ? "axial" : "all");
    const [first] = this.record.lesions;
    first && this.go(first.at_lps_mm);
  }

  channel(name) {
    return this.record.channels.find((channel) => channel.name === name);
  }

  async image(file, options) {
    if (!this.images.has(file)) {
      const url = `/api/jobs/${this.job}/results/${file}`;
      this.images.set(file, await niivue.NVImage.loadFromUrl({ url, name: file, ...options }));
    }
    return this.images.get(file);
  }

  // Which channel lies below and which above ("" for none); the labels are always on top.
  layers(below, above) {
    this.busy = this.busy.then(() => this.stack(below, above));
    return this.busy;
  }

  async stack(below, above) {
    const wanted = [];
    for (const [name, over] of [[below, false], [above, true]]) {
      if (name) {
        wanted.push(await this.styled(this.channel(name), over));
      }
    }
    const labels = await this.image("lesions.nii.gz", { colormap: "gray", opacity: this.opacity.lesions });
    labels.setColormapLabel(labelColours(this.record.lesions.length));
    wanted.push(labels);
    // all at once: each volume added by itself would make the textures of all anew
    this.nv.volumes = wanted.slice(0, -1);
    this.nv.addVolume(labels);
    Object.assign(this, { below, above, labels });
    const white = this.channel(below).kind === "pet";
    this.nv.opts.backColor = white ? [1, 1, 1, 1] : [0, 0, 0, 1];
    this.nv.opts.fontColor = white ? [0.1, 0.2, 0.3, 1] : [0.85, 0.85, 0.85, 1];
    this.canvas.parentElement.style.backgroundColor = white ? "white" : "black";
    this.nv.drawScene();
    this.thinCross();
  }

  async styled(channel, over) {
    const image = await this.image(channel.file, { colormap: "gray" });
    channel.window ??= [channel.low, channel.high];
    // a new colour map would choose a window of its own: ours comes after it
    image.colormap = over ? "uptake" : channel.kind === "pet" ? "white_to_black" : "gray";
    [image.cal_min, image.cal_max] = channel.window;
    image.opacity = over ? this.opacity.above : 1;
    return image;
  }

  window(name, low, high) {
    const channel = this.channel(name);
    channel.window = [low, high];
    const image = this.images.get(channel.file);
    [image.cal_min, image.cal_max] = channel.window;
    this.nv.updateGLVolume();
  }

  mix(share) {
    this.opacity.above = share;
    this.above && this.nv.setOpacity(1, share);
  }

  showLesions(share) {
    this.opacity.lesions = share;
    this.labels && this.nv.setOpacity(this.nv.volumes.indexOf(this.labels), share);
  }

  outline(on) {
    this.nv.setAtlasOutline(on ? 1 : 0);
  }

  planes(name) {
    this.nv.setSliceType(PLANES[name]);
    this.thinCross();
  }

  // NiiVue measures its cross in mm: make it as wide as a hairline at the scale that is shown now.
  thinCross() {
    const [slice] = this.nv.screenSlices;
    const pixels = slice?.leftTopWidthHeight[2];
    if (pixels > 0 && this.nv.volumes.length) {
      this.nv.setCrosshairWidth((HAIRLINE * Math.abs(slice.fovMM[0])) / pixels);
    }
  }

  go([x, y, z]) {
    this.nv.scene.crosshairPos = this.nv.mm2frac([-x, -y, z]);
    this.nv.drawScene();
    this.nv.createOnLocationChange();
  }

  // Whether a place lies within the image, half a voxel around its outermost centres included.
  holds([x, y, z]) {
    return [...this.nv.mm2frac([-x, -y, z])].every((share) => share >= 0 && share <= 1);
  }

  key(event) {
    const step = KEYS[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    // the picture is seen from the feet: the patient's right is on the left
    const [x, y, z] = step;
    this.nv.moveCrosshairInVox(this.nv.opts.isRadiologicalConvention ? -x : x, y, z);
  }

  moved({ mm, values }) {
    const at = [-mm[0], -mm[1], mm[2]];
    const value = (file) => values.find(({ name }) => name === file)?.value;
    const told = [this.below, this.above].filter(Boolean).map((name) => {
      const { file, unit } = this.channel(name);
      return `${name} ${shown(value(file))} ${unit}`.trim();
    });
    const lesion = Math.round(this.labels ? (this.labelAt(mm) ?? 0) : 0);
    this.onmove({ at, told, lesion });
  }

  labelAt(mm) {
    const [x, y, z] = this.labels.mm2vox([mm[0], mm[1], mm[2]]);
    return this.labels.getValue(x, y, z);
  }
}

function shown(value) {
  return value === undefined ? "" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function labelColours(count) {
  const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
  for (let lesion = 1; lesion <= Math.max(count, 1); lesion++) {
    const [r, g, b] = colour(lesion);
    map.R.push(r);
    map.G.push(g);
    map.B.push(b);
    map.A.push(255);
    map.I.push(lesion);
    map.labels.push(`lesion ${lesion}`);
  }
  return map;
}

// Where the cross is, in words, below a viewer.
export function tell(id, viewer, also = () => {}) {
  viewer.onmove = ({ at, told, lesion }) => {
    const place = at.map((v) => v.toFixed(1)).join(", ");
    byId(id).textContent = [`x, y, z = ${place} mm`, ...told, lesion ? `lesion ${lesion}` : ""].filter(Boolean).join(" · ");
    also(lesion, at);
  };
}
