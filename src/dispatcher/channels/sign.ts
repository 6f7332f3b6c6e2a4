/** Computes HMAC-SHA256 in base64. The same key is always the same array, so that implementations can cache by it. */
export type Sign = (key: Uint8Array<ArrayBuffer>, content: string) => string | Promise<string>;

const algorithm = { name: 'HMAC', hash: 'SHA-256' };

/** Signs with WebCrypto, which every runtime has. */
export function webCryptoSign(): Sign {
  const imported = new WeakMap<Uint8Array, Awaited<ReturnType<typeof crypto.subtle.importKey>>>();
  return async (key, content) => {
    const hmac = imported.get(key) ?? (await crypto.subtle.importKey('raw', key, algorithm, false, ['sign']));
    imported.set(key, hmac);
    const signature = await crypto.subtle.sign('HMAC', hmac, new TextEncoder().encode(content));
    return btoa(String.fromCharCode(...new Uint8Array(signature)));
  };
}
