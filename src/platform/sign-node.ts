import { hash } from 'node:crypto';
import type { Sign } from '../dispatcher/channels/sign.ts';

/** The block size of SHA-256 in bytes. */
const BLOCK = 64;

/** The inner and outer padded keys of RFC 2104; the outer one has room for the inner hash. */
type Padded = { inner: Buffer; outer: Buffer };

/**
 * Computes HMAC (RFC 2104) with Node's one-shot hash. WebCrypto uses the thread pool, and createHmac creates a native
 * object for each signature, which takes longer than hashing.
 */
export function nodeSign(): Sign {
  const padded = new WeakMap<Uint8Array, Padded>();
  let scratch = Buffer.alloc(4096);
  return (key, content) => {
    const known = padded.get(key);
    const { inner, outer } = known ?? pad(key);
    if (!known) padded.set(key, { inner, outer });
    const length = BLOCK + Buffer.byteLength(content);
    if (scratch.length < length) scratch = Buffer.alloc(2 * length);
    inner.copy(scratch);
    scratch.write(content, BLOCK);
    outer.write(hash('sha256', scratch.subarray(0, length), 'binary'), BLOCK, 'binary');
    return hash('sha256', outer, 'base64');
  };
}

// Not from Node's pool of small buffers, which share memory.
function pad(key: Uint8Array): Padded {
  const inner = Buffer.alloc(BLOCK);
  inner.set(key.length > BLOCK ? hash('sha256', key, 'buffer') : key);
  const outer = Buffer.alloc(BLOCK + 32);
  for (const [i, byte] of inner.entries()) {
    inner[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  }
  return { inner, outer };
}
