// npm run test:faults [-- --only <part of a name>] [--times <n>] [--hold <ms>] [--seed <n>]: every fault, several times.
// Writes RELIABILITY.md; with --only, only those rows of it.
import { randomInt } from 'node:crypto';
import { inspect, parseArgs } from 'node:util';
import { progressOf } from '../../src/entry/progress.ts';
import { FAULTS } from './faults.ts';
import { conditions, lastRun, type Run, type Skipped, titleOf, withRows, writeReliability } from './report.ts';
import { type Row, strike, worst } from './strike.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    times: { type: 'string', default: '3' },
    hold: { type: 'string', default: '4000' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
  },
});
const seed = Number(values.seed);
const holdMs = Number(values.hold);
const asked = FAULTS.filter((fault) => titleOf(fault).includes(values.only ?? ''));
const rows: Row[] = [];
const skipped: Skipped[] = [];
const failed: string[] = [];
const began = performance.now();
const sinceBegun = () => (performance.now() - began) / 1000;

if (asked.length === 0) throw new Error(`no fault has ${values.only} in its name`);
if (!(Number(values.times) >= 1 && holdMs >= 0 && Number.isInteger(seed))) throw new Error('numbers are expected');
// What is mounted or started is removed with this process, if it exits normally.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

console.log(`seed ${seed}`);
const progress = progressOf('faults');
for (const [index, fault] of asked.entries()) {
  const title = titleOf(fault);
  const name = `${index + 1}/${asked.length} ${title}`;
  const why = fault.impossible?.();
  if (why) {
    skipped.push({ title, why });
    progress.print(`${name}: not tried: ${why}`);
    continue;
  }
  const report = (what: string) => progress.report(index, asked.length, `${title}, ${what}`);
  const row = await strike(fault, { times: Number(values.times), holdMs, seed, report }).catch((error) => {
    progress.print(`${name}: could not be struck: ${inspect(error)}`);
    failed.push(title);
    return undefined;
  });
  if (!row) continue;
  rows.push(row);
  progress.print(`${name}\n    ${figuresOf(row)}`);
  for (const wrong of [...row.lost, ...row.untrue]) progress.print(`    WRONG ${wrong}`);
}
progress.report(asked.length, asked.length);
progress.end();
if (failed.length === 0) {
  const run: Run = { rows, skipped, seed, holdMs, minutes: sinceBegun() / 60, conditions: conditions() };
  writeReliability(values.only === undefined ? run : withRows(lastRun(), rows));
}
const wrong = rows.filter(({ lost, untrue }) => lost.length + untrue.length > 0);
console.log(
  `${rows.length - wrong.length} of ${asked.length} clean, ${skipped.length} not tried, ${failed.length} failed`,
);
if (wrong.length + failed.length > 0) process.exitCode = 1;

function figuresOf(row: Row): string {
  const { accepted, refused, lost, repeated, untrue, healthP99Ms, memoryMib, sockets } = row;
  return [
    `${accepted} accepted, ${refused} refused, ${lost.length} lost, ${repeated} repeated, ${untrue.length} untrue`,
    `recovered in ${Math.round(worst(row))} ms at worst, /health p99 ${Math.round(healthP99Ms)} ms`,
    `${memoryMib.map(Math.round).join(' → ')} MiB, ${sockets.join(' → ')} sockets, ${Math.round(sinceBegun())} s so far`,
  ].join('; ');
}
