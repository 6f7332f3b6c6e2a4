import { WorkerEntrypoint } from 'cloudflare:workers';

/** A dispatcher that is no good. */
export default class extends WorkerEntrypoint {
  wake(): never {
    throw new Error('out of order');
  }
}
