import { WorkerEntrypoint } from 'cloudflare:workers';

/** A dispatcher that always throws. */
export default class extends WorkerEntrypoint {
  wake(): never {
    throw new Error('out of order');
  }
}
