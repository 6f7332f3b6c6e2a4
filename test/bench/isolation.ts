// npm run bench:isolation [-- <part>…]: what endpoints cost each other, compared with what was promised; writes
// isolation.json beside this file. Fails if a promise is missed.
import { join } from 'node:path';
import { measureDrains } from './drains.ts';
import { measureFairness } from './fairness.ts';
import { holds, type IsolationData, isolationTable } from './isolation-section.ts';
import { besideBacklogs, besideSilentNames, besideSlow } from './neighbours.ts';
import { measureInto } from './parts.ts';
import { dataOf } from './tables.ts';

const parts = await measureInto(join(import.meta.dirname, 'isolation.json'), 'isolation', {
  slow: () => besideSlow(6, {}),
  manySlow: () => besideSlow(50, { DISPATCH_CONCURRENCY: '64' }),
  backlogs: besideBacklogs,
  hanging: measureFairness,
  silentNames: besideSilentNames,
  objects: measureDrains,
});
const data = dataOf<IsolationData>(parts);
console.log(isolationTable(data));
if (!Object.values(data).flat().every(holds)) process.exitCode = 1;
