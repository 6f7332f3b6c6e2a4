import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { Sign } from '../dispatcher/channels/sign.ts';

/** Signs in this thread: WebCrypto sends each signature through the thread pool. */
export function nodeSign(): Sign {
  const known = new WeakMap<Uint8Array, KeyObject>();
  return (key, content) => {
    let secret = known.get(key);
    if (!secret) {
      // Once per key: given bytes, createHmac creates a key for every signature, which takes six times as long.
      secret = createSecretKey(key);
      known.set(key, secret);
    }
    return createHmac('sha256', secret).update(content).digest('base64');
  };
}
