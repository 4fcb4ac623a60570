// Several files as one ZIP, stored without compression: the files themselves are not copied into memory.
// Layout: APPNOTE 6.3 of the ZIP format, sections 4.3.7, 4.3.12 and 4.3.16.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return value;
});
const LARGEST = 0xffffffff;
const MOST = 0xffff;

export function crc32(bytes) {
  let crc = LARGEST;
  for (const byte of bytes) {
    crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 0xff];
  }
  return (crc ^ LARGEST) >>> 0;
}

// files: [{ name, file }]; progress(share) is told as the files are read.
export async function zipped(files, progress = () => {}) {
  const total = files.reduce((sum, { file }) => sum + file.size + 200, 0);
  if (files.length > MOST || total > LARGEST) {
    throw new Error("more than 65,535 files or 4 GB at once");
  }
  const parts = [];
  const entries = [];
  let offset = 0;
  for (const [index, { name, file }] of files.entries()) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const path = new TextEncoder().encode(name);
    const facts = { path, crc: crc32(bytes), size: bytes.length, offset };
    const head = header(facts, false);
    parts.push(head, file);
    entries.push(header(facts, true));
    offset += head.length + bytes.length;
    progress((index + 1) / files.length);
  }
  const length = entries.reduce((sum, entry) => sum + entry.length, 0);
  return new Blob([...parts, ...entries, ending(entries.length, length, offset)], { type: "application/zip" });
}

function header({ path, crc, size, offset }, central) {
  const fixed = central ? 46 : 30;
  const bytes = new Uint8Array(fixed + path.length);
  const view = new DataView(bytes.buffer);
  const shift = central ? 2 : 0;
  view.setUint32(0, central ? 0x02014b50 : 0x04034b50, true);
  if (central) {
    view.setUint16(4, 20, true);
    view.setUint32(42, offset, true);
  }
  view.setUint16(4 + shift, 20, true);
  view.setUint16(6 + shift, 0x0800, true); // names in UTF-8
  view.setUint16(12 + shift, 0x21, true); // 1980-01-01
  view.setUint32(14 + shift, crc, true);
  view.setUint32(18 + shift, size, true);
  view.setUint32(22 + shift, size, true);
  view.setUint16(26 + shift, path.length, true);
  bytes.set(path, fixed);
  return bytes;
}

function ending(count, length, offset) {
  const view = new DataView(new ArrayBuffer(22));
  view.setUint32(0, 0x06054b50, true);
  view.setUint16(8, count, true);
  view.setUint16(10, count, true);
  view.setUint32(12, length, true);
  view.setUint32(16, offset, true);
  return new Uint8Array(view.buffer);
}
