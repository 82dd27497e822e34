// A zip file, as PKWARE's APPNOTE describes it. Files are stored as they are: PNGs do not shrink.

const LIMIT = 0xffffffff; // bytes, without the extension Zip64
const REMAINDERS = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

export function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = REMAINDERS[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// Numbers as little-endian bytes, from pairs [number of bytes, number].
function record(...fields) {
  const bytes = fields.flatMap(([size, value]) =>
    Array.from({ length: size }, (_, place) => Math.floor(value / 256 ** place) % 256)
  );
  return Uint8Array.from(bytes);
}

// Takes an array of [name, blob], the names all different; returns a blob.
export async function zip(files) {
  const now = new Date();
  const day = (Math.max(now.getFullYear() - 1980, 0) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const [local, central] = [[], []];
  let offset = 0;
  for (const [name, blob] of files) {
    const word = new TextEncoder().encode(name);
    const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    // Version 2.0, names in UTF-8, stored, date, CRC, size twice, no extra field.
    const about = [[2, 20], [2, 0x800], [2, 0], [2, time], [2, day], [4, crc], [4, blob.size]];
    about.push([4, blob.size], [2, word.length], [2, 0]);
    local.push(record([4, 0x04034b50], ...about), word, blob);
    // Made by 2.0; no comment, disk 0, no attributes.
    const where = [[2, 0], [2, 0], [2, 0], [4, 0], [4, offset]];
    central.push(record([4, 0x02014b50], [2, 20], ...about, ...where), word);
    offset += 30 + word.length + blob.size;
  }
  const size = central.reduce((sum, part) => sum + part.length, 0);
  if (offset + size > LIMIT) throw new Error('These pictures are too large for one zip file. Save them one by one.');
  const count = [2, files.length];
  const end = record([4, 0x06054b50], [2, 0], [2, 0], count, count, [4, size], [4, offset], [2, 0]);
  return new Blob([...local, ...central, end], { type: 'application/zip' });
}
