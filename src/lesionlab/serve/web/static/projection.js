// A rotating maximum intensity projection about the patient's long axis, lesions marked; computed here from the
// image that the viewer has loaded. A click finds the lesion, or the brightest place, behind a pixel.
import { byId } from "./api.js";
import { colour } from "./colours.js";

export const FRAMES = 36;
const MOST = 150; // voxels along an axis, after pooling
const TURN_MS = 130;

export class Projection {
  // image, labels: NiiVue images on one grid; inverted: dark means high
  constructor(canvas, image, labels, inverted) {
    Object.assign(this, { canvas, inverted, frames: new Map() });
    const [, nx, ny, nz] = image.dimsRAS;
    this.size = [nx, ny, nz];
    this.spacing = image.pixDimsRAS.slice(1, 4);
    this.factor = this.size.map((n) => Math.max(1, Math.ceil(n / MOST)));
    this.pool(image.img2RAS(), labels.img2RAS());
  }

  // Keep the highest of each block of voxels, where it lay, and its lesion.
  pool(values, labels) {
    const [nx, ny, nz] = this.size;
    const [fx, fy, fz] = this.factor;
    this.shape = [nx, ny, nz].map((n, axis) => Math.ceil(n / this.factor[axis]));
    const [px, py, pz] = this.shape;
    this.values = new Float32Array(px * py * pz).fill(-Infinity);
    this.places = new Int32Array(px * py * pz);
    this.lesions = new Int16Array(px * py * pz);
    for (let z = 0, from = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) {
        const start = (Math.floor(z / fz) * py + Math.floor(y / fy)) * px;
        for (let x = 0; x < nx; x++, from++) {
          const to = start + Math.floor(x / fx);
          if (values[from] > this.values[to]) {
            this.values[to] = values[from];
            this.places[to] = from;
          }
          this.lesions[to] = this.lesions[to] || labels[from];
        }
      }
    }
  }

  // One frame: for each pixel the highest value, its voxel, and the lesion in front or behind.
  frame(number) {
    if (this.frames.has(number)) {
      return this.frames.get(number);
    }
    const angle = (2 * Math.PI * number) / FRAMES;
    const [px, py, pz] = this.shape;
    const [sx, sy] = [0, 1].map((axis) => this.spacing[axis] * this.factor[axis]);
    const bin = Math.max(sx, sy);
    // the corners of the square that a scan is are empty: a turn of its longer side is wide enough
    const width = Math.ceil(Math.max(px * sx, py * sy) / bin);
    const made = {
      width, height: pz, bin,
      values: new Float32Array(width * pz).fill(-Infinity),
      places: new Int32Array(width * pz).fill(-1),
      lesions: new Int16Array(width * pz),
    };
    const [cos, sin] = [Math.cos(angle) * sx / bin, Math.sin(angle) * sy / bin];
    for (let y = 0; y < py; y++) {
      for (let x = 0; x < px; x++) {
        // x grows towards the patient's right, which is on the left when seen from the front
        const u = Math.round(((px - 1) / 2 - x) * cos + (y - (py - 1) / 2) * sin + (width - 1) / 2);
        for (let z = 0; z < pz && u >= 0 && u < width; z++) {
          const from = (z * py + y) * px + x;
          const to = (pz - 1 - z) * width + u;
          if (this.values[from] > made.values[to]) {
            made.values[to] = this.values[from];
            made.places[to] = this.places[from];
          }
          if (this.lesions[from]) {
            made.lesions[to] = this.lesions[from];
          }
        }
      }
    }
    this.frames.set(number, made);
    return made;
  }

  draw(number, low, high) {
    const frame = this.frame(number);
    this.shown = frame;
    this.canvas.width = frame.width;
    // pixels are as wide as a bin; the canvas is as tall as the body in the same measure
    const tall = Math.max(1, Math.round((frame.height * this.spacing[2] * this.factor[2]) / frame.bin));
    this.canvas.height = tall;
    const context = this.canvas.getContext("2d");
    const picture = context.createImageData(frame.width, tall);
    for (let row = 0, at = 0; row < tall; row++) {
      const start = Math.min(frame.height - 1, Math.floor((row * frame.height) / tall)) * frame.width;
      for (let column = 0; column < frame.width; column++, at += 4) {
        const value = frame.values[start + column];
        const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
        const grey = 255 * (this.inverted ? 1 - share : share);
        const lesion = frame.lesions[start + column];
        const tint = lesion ? colour(lesion) : [grey, grey, grey];
        for (let part = 0; part < 3; part++) {
          picture.data[at + part] = 0.45 * grey + 0.55 * tint[part];
        }
        picture.data[at + 3] = 255;
      }
    }
    context.putImageData(picture, 0, 0);
  }

  // What lies under a click: the lesion, and the voxel (RAS) of the highest value; null outside.
  hit(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = Math.min(box.width / this.canvas.width, box.height / this.canvas.height);
    const x = Math.floor((event.clientX - box.left - (box.width - scale * this.canvas.width) / 2) / scale);
    const y = (event.clientY - box.top - (box.height - scale * this.canvas.height) / 2) / scale;
    const row = Math.floor((y * this.shown.height) / this.canvas.height);
    if (x < 0 || x >= this.shown.width || row < 0 || row >= this.shown.height) {
      return null;
    }
    const at = row * this.shown.width + x;
    const place = this.shown.places[at];
    const [nx, ny] = this.size;
    const voxel = [place % nx, Math.floor(place / nx) % ny, Math.floor(place / (nx * ny))];
    return place < 0 ? null : { lesion: this.shown.lesions[at], voxel };
  }
}

// The projection's own controls: turn, stop, an angle. `window` gives the grey scale; `go` is told of clicks.
export function controls(projection, window, go) {
  let timer = 0;
  const [play, angle, canvas] = ["play", "angle", "projection"].map(byId);
  const draw = () => projection.draw(Number(angle.value), ...window());
  const turn = () => {
    angle.value = (Number(angle.value) + 1) % FRAMES;
    draw();
  };
  play.addEventListener("click", () => {
    timer = timer ? clearInterval(timer) : setInterval(turn, TURN_MS);
    play.setAttribute("aria-pressed", Boolean(timer));
    play.textContent = timer ? "Stop" : "Turn";
  });
  angle.addEventListener("input", draw);
  canvas.addEventListener("click", (event) => {
    const hit = projection.hit(event);
    hit && go(hit);
  });
  draw();
  return draw;
}
