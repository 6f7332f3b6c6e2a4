import { bundle, coldStarts, compressedKib, startModules } from '../support/raw-workerd.ts';
import { median, round } from './figures.ts';

/** The API's bundle for Workers: its size, and how soon workerd answers from it after a start. */
export async function measureEdge({ starts = 10 } = {}) {
  const built = await bundle();
  try {
    const times = await coldStarts(built, starts);
    return {
      bundleKib: round(compressedKib(built, startModules(built)), 1),
      starts,
      coldStartMs: round(median(times), 1),
      bestColdStartMs: round(times[0] as number, 1),
    };
  } finally {
    built.remove();
  }
}
