// npm run test:simulation -- [--seed N] [--count N]: one history, or many starting from a seed.
import { parseArgs } from 'node:util';
import { simulate } from './history.ts';

const { values } = parseArgs({ options: { seed: { type: 'string' }, count: { type: 'string' } } });
const first = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const count = Number(values.count ?? (values.seed === undefined ? 10_000 : 1));
const start = performance.now();
let broken = 0;
for (let seed = first; seed < first + count; seed++) {
  for (const violation of await simulate(seed)) {
    broken++;
    console.error(violation);
  }
}
const seconds = ((performance.now() - start) / 1000).toFixed(1);
console.log(`${count} histories from seed ${first} in ${seconds} s: ${broken} broken promises`);
process.exitCode = broken > 0 ? 1 : 0;
