// The checksum of a book: CRC-32 (IEEE) of its best ten levels, as offchain/README.md says under "Stream".

const DEPTH = 10;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit += 1) remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  return remainder >>> 0;
});

/** CRC-32 of ASCII text. */
export function crc32(text) {
  let state = 0xffffffff;
  for (let index = 0; index < text.length; index += 1) {
    state = (state >>> 8) ^ TABLE[(state ^ text.charCodeAt(index)) & 0xff];
  }
  return (state ^ 0xffffffff) >>> 0;
}

/** levels: {bids, asks}, each from the best, with priceTicks and sizeLots. */
export function checksumOf({ bids, asks }) {
  const words = [...bids.slice(0, DEPTH), ...asks.slice(0, DEPTH)].map((level) => `${level.priceTicks}:${level.sizeLots}`);
  return crc32(words.join(","));
}
