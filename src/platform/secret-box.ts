import { base64url } from 'jose';
import { BoundedMap } from '../bounded-map.ts';
import type { SecretBox } from '../deps.ts';

/** How many opened texts are cached. Beyond it, the oldest is dropped. */
const MAX_OPENED = 10_000;
/** The longest sealed text to cache. A webhook secret has some 120 characters, a console session several times that. */
const MAX_CACHED_LENGTH = 256;

type Key = { id: string; key: Awaited<ReturnType<typeof crypto.subtle.importKey>> };

/**
 * Seals by AES-256-GCM, with WebCrypto. Keys are 32 bytes in base64; old keys only open. A sealed text is
 * `v1.<key id>.<nonce>.<ciphertext>`; the first two parts are authenticated. Throws for a key of another length.
 */
export function createSecretBox(key: string, oldKeys: readonly string[] = []): SecretBox {
  const raw = [key, ...oldKeys].map(keyBytes);
  const opened = new BoundedMap<string, string>(MAX_OPENED);
  let keys: Key[] | undefined;

  // Caches results, not promises: on Workers a request must not await another request's promise.
  async function importedKeys(): Promise<Key[]> {
    keys ??= await Promise.all(raw.map(importKey));
    return keys;
  }

  return {
    seal: async (text) => {
      const { id, key } = (await importedKeys())[0] as Key;
      const nonce = crypto.getRandomValues(new Uint8Array(12));
      const sealed = await crypto.subtle.encrypt(cipher(id, nonce), key, new TextEncoder().encode(text));
      return `v1.${id}.${base64url.encode(nonce)}.${base64url.encode(new Uint8Array(sealed))}`;
    },
    open: async (sealed) => {
      const known = opened.get(sealed);
      if (known !== undefined) return known;
      const text = await decrypt(sealed, await importedKeys());
      if (sealed.length <= MAX_CACHED_LENGTH) opened.set(sealed, text);
      return text;
    },
    keyIds: async () => (await importedKeys()).map(({ id }) => id),
  };
}

async function decrypt(sealed: string, keys: readonly Key[]): Promise<string> {
  const [version, id = '', nonce = '', text = '', ...rest] = sealed.split('.');
  if (version !== 'v1' || rest.length > 0) throw new Error('not a sealed text of a known version');
  const key = keys.find((candidate) => candidate.id === id)?.key;
  if (!key) throw new Error('sealed with an unknown key');
  try {
    const algorithm = cipher(id, fromBase64Url(nonce));
    return new TextDecoder().decode(await crypto.subtle.decrypt(algorithm, key, fromBase64Url(text)));
  } catch (cause) {
    throw new Error('the sealed text was altered', { cause });
  }
}

function cipher(id: string, iv: Uint8Array<ArrayBuffer>) {
  return { name: 'AES-GCM', iv, additionalData: new TextEncoder().encode(`v1.${id}`) };
}

async function importKey(raw: Uint8Array<ArrayBuffer>): Promise<Key> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', raw));
  const id = Array.from(digest.subarray(0, 4), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return { id, key: await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt', 'decrypt']) };
}

function keyBytes(base64: string): Uint8Array<ArrayBuffer> {
  const raw = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  if (raw.length !== 32) throw new Error('a sealing key must be 32 bytes in base64');
  return raw;
}

// Copied: WebCrypto's types refuse arrays that may be on shared memory.
function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(base64url.decode(text));
}
